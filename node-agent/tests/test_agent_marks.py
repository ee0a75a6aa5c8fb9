"""Rounds of a director with services of firewall marks, on the fake kernel."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from agent_world import NO_PART, VIP, World, destination, director, member, service

from lvs_agent.decide.kernel_state import AddressFamily, DestinationKey, FirewallMarkKey, InterfaceAddress
from lvs_agent.kernel.fake_kernel import FakeIpvsTable
from lvs_api.conditions import Reason
from lvs_api.network_types import Family
from lvs_core.plan import Holding, MarkKey, PlannedMember, PlannedService

KEY = MarkKey(mark=10, family=Family.IPV4)
KERNEL_KEY = FirewallMarkKey(family=AddressFamily.IPV4, mark=10)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def server(number: int) -> PlannedMember:
    return member(number, port=0)


def marked(*members: PlannedMember, vip: str | None = VIP) -> PlannedService:
    return service(*members, key=KEY, vip=None if vip is None else ip_address(vip), port_name=None)


def entries(ipvs: FakeIpvsTable) -> dict[str, int]:
    found = ipvs.services[KERNEL_KEY].destinations
    return {str(key): state.settings.weight for key, state in found.items()}


async def test_a_mark_is_programmed_before_its_address_is_carried(world: World) -> None:
    await world.do(director(marked(server(100), server(101))))
    assert set(world.ipvs.services) == {KERNEL_KEY}
    assert entries(world.ipvs) == {"192.168.4.100:0": 1, "192.168.4.101:0": 1}
    assert world.bound() == {f"{VIP}@eth0"}
    assert world.status.exceptions == []
    world.ipvs.schedulers = frozenset()
    world.ipvs.clear()
    await world.later(1)
    assert [one.reason for one in world.status.exceptions or ()] == [Reason.SCHEDULER_UNAVAILABLE]


async def test_a_mark_without_an_address_binds_nothing(world: World) -> None:
    await world.do(director(marked(server(100), vip=None)))
    assert entries(world.ipvs) == {"192.168.4.100:0": 1}
    assert world.bound() == set()
    assert world.status.exceptions == []


async def test_what_goes_of_a_mark_goes_alone(world: World) -> None:
    await world.do(director(marked(server(100)), service(member(101))))
    await world.do(director(service(member(101))))
    assert KERNEL_KEY not in world.ipvs.services
    assert world.bound() == {f"{VIP}@eth0"}


async def test_a_mark_is_remembered_and_goes_with_the_part(world: World) -> None:
    await world.do(director(marked(server(100))))
    world.restart()
    await world.do(director(marked(server(100))))
    one = DestinationKey(address=destination(100).address, port=0)
    assert world.ledger.ledger.ipvs == {KERNEL_KEY: frozenset({one})}
    await world.do(NO_PART)
    assert (world.ipvs.services, world.bound()) == ({}, set())


async def test_somebody_elses_mark_is_left_alone(world: World) -> None:
    await world.do(director(marked(server(100))))
    state = world.ipvs.services[KERNEL_KEY]
    other = World(world.directory / "other")
    other.ipvs.services[KERNEL_KEY] = replace(state, settings=replace(state.settings, scheduler="sh"))
    await other.do(director(marked(server(100))))
    assert other.ipvs.services[KERNEL_KEY].settings.scheduler == "sh"
    assert [one.reason for one in other.status.exceptions or ()] == [Reason.FOREIGN_ENTRY]


async def test_an_address_that_came_to_be_refused_later_keeps_its_mark(world: World) -> None:
    """A standby does not bind the VIP, so that what is known of its services says that it is no new claim."""
    await world.do(director(marked(server(100)), holding=Holding.RELEASE))
    world.links.gateways.add(ip_address(VIP))
    await world.do(director(marked(server(100), server(101)), holding=Holding.RELEASE))
    assert entries(world.ipvs) == {"192.168.4.100:0": 1, "192.168.4.101:0": 1}
    assert world.status.exceptions == []


async def test_an_address_of_this_node_keeps_the_mark_out(world: World) -> None:
    world.links.addresses.add(InterfaceAddress(device="eth0", address=ip_address(VIP), prefix_length=24))
    await world.do(director(marked(server(100))))
    assert world.ipvs.services == {}
    assert [one.reason for one in world.status.exceptions or ()] == [Reason.ADDRESS_CONFLICT]
