"""A kernel without memory for more entries: what it has goes on, what it lacks is said and made later."""

from ipaddress import ip_address
from pathlib import Path

import pytest
from agent_world import SERVICE, VIP, World, director, member, service, service_on

from lvs_api.conditions import Reason
from lvs_api.network_types import Protocol
from lvs_core.cluster_view import ObjectKey
from lvs_core.plan import PlannedService, VirtualServerKey

OTHER = ObjectKey("default", "other")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def other(*numbers: int) -> PlannedService:
    key = VirtualServerKey(address=ip_address(VIP), port=81, protocol=Protocol.TCP)
    return service(*(member(number, port=81) for number in numbers), key=key, service=OTHER, service_uid="o")


async def test_a_service_without_memory_says_so_and_the_others_go_on(world: World) -> None:
    await world.do(director(service(member(100), member(101))))
    world.ipvs.room = 3
    await world.do(director(service(member(100), member(101)), other(102)))
    assert world.weights() == {"100": 1, "101": 1}
    assert service_on(81) not in world.ipvs.services
    said = world.exception()
    assert (said.name, said.reason, said.programmed) == ("other", Reason.KERNEL_REFUSED, False)
    assert "the kernel has no memory for it" in said.message
    world.ipvs.room = None
    await world.later(60)
    assert world.weights(service_on(81)) == {"102": 1}
    assert world.status.exceptions == []


async def test_a_real_server_without_memory_is_named(world: World) -> None:
    world.ipvs.room = 2
    await world.do(director(service(member(100), member(101))))
    assert world.weights() == {"100": 1}
    assert "192.168.4.101:80 of service TCP 192.168.4.15:80" in world.exception().message
    assert "the kernel has no memory for it" in world.exception().message


async def test_what_is_there_is_edited_without_memory_for_more(world: World) -> None:
    await world.do(director(service(member(100), member(101))))
    world.ipvs.room = 0
    await world.do(director(service(member(100, weight=7), member(101))))
    assert world.weights() == {"100": 7, "101": 1}
    await world.do(director(service(member(101))), rounds=3)
    assert world.weights(SERVICE) == {"101": 1}
    assert world.status.exceptions == []
