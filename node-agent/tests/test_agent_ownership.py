"""What is not ours stays, what is ours is put right, on the fake kernel."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from agent_world import (
    NO_PART,
    SERVICE,
    VIP,
    World,
    checked,
    destination,
    director,
    member,
    service,
    service_on,
)

from lvs_agent.converge.announcements import ANNOUNCE_AFTER
from lvs_agent.decide.health_verdict import Verdict
from lvs_agent.decide.kernel_state import (
    DestinationSettings,
    DestinationState,
    InterfaceAddress,
    ServiceSettings,
    ServiceState,
)
from lvs_agent.decide.kernel_state import ForwardingMethod as KernelMethod


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_foreign_entries_are_left_alone(world: World) -> None:
    foreign = service_on(8080)
    world.ipvs.services[foreign] = ServiceState(settings=ServiceSettings(scheduler="rr"))
    await world.do(director(service(member(100))))
    await world.do(NO_PART)
    assert list(world.ipvs.services) == [foreign]


async def test_a_foreign_service_in_the_way_is_told(world: World) -> None:
    world.ipvs.services[SERVICE] = ServiceState(settings=ServiceSettings(scheduler="sh"))
    await world.do(director(service(member(100))), rounds=2)
    assert world.ipvs.services[SERVICE].settings.scheduler == "sh"
    assert (world.exception().reason, world.exception().programmed) == ("ForeignEntry", False)
    del world.ipvs.services[SERVICE]
    await world.later(1)
    assert world.weights() == {"100": 1}


async def test_entries_that_equal_the_plan_are_adopted_after_a_reboot(world: World) -> None:
    await world.do(director(service(member(100))))
    world.boot_id = "boot-2"
    world.restart()
    before = world.writes()
    await world.do(director(service(member(100))))
    assert world.writes() == before
    await world.do(NO_PART)
    assert world.ipvs.services == {}


async def test_a_hand_made_service_is_taken_over_without_a_write(world: World) -> None:
    """Real servers that are Nodes get no weight before they are prepared: a pause until then keeps it."""
    settings = DestinationSettings(weight=1, method=KernelMethod.DIRECT_ROUTE)
    by_hand = ServiceState(
        settings=ServiceSettings(scheduler="rr"),
        destinations={destination(number): DestinationState(settings=settings) for number in (100, 101)},
    )
    world.ipvs.services[SERVICE] = by_hand
    world.links.addresses.add(InterfaceAddress(device="eth0", address=ip_address(VIP), prefix_length=32))
    new = [member(number, node=f"node{number}", prepared=False) for number in (100, 101)]
    await world.do(director(service(*new, paused=True)), rounds=2)
    assert world.ipvs.services == {SERVICE: by_hand}
    losing = "; without the pause these would have no weight: rs100: its node has not prepared itself yet"
    assert (world.exception().reason, losing in world.exception().message) == ("Paused", True)
    prepared = [replace(one, prepared=True) for one in new]
    await world.do(director(service(*prepared, paused=True)), rounds=2)
    assert world.exception().message == "spec.paused: this director leaves everything as it is"
    before = world.metric("lvs_agent_kernel_writes_total", kind="ipvs")
    await world.do(director(service(*prepared)), rounds=2)
    assert world.metric("lvs_agent_kernel_writes_total", kind="ipvs") == before == 0
    assert world.ipvs.services == {SERVICE: by_hand}
    await world.do(NO_PART)
    assert (world.ipvs.services, world.bound()) == ({}, set())


async def test_an_address_of_somebody_else_is_a_conflict(world: World) -> None:
    world.links.addresses.add(InterfaceAddress(device="eth0", address=ip_address(VIP), prefix_length=24))
    await world.do(director(service(member(100))))
    assert (world.exception().reason, world.exception().programmed) == ("AddressConflict", False)


async def test_a_cleared_table_is_repaired_and_counted(world: World) -> None:
    await world.do(director(service(checked(100), member(101))))
    world.health.find(100, Verdict.UP)
    await world.later(1)
    world.ipvs.clear()
    await world.later(1)
    assert world.weights() == {"100": 1, "101": 1}
    assert world.metric("lvs_agent_repairs_total", kind="service") == 1
    assert world.metric("lvs_agent_repairs_total", kind="destination") == 2


@pytest.mark.parametrize("weight", [None, 5])
async def test_a_changed_destination_is_repaired(world: World, weight: int | None) -> None:
    await world.do(director(service(member(100), member(101))))
    state = world.ipvs.services[SERVICE]
    destinations = dict(state.destinations)
    del destinations[destination(100)]
    if weight is not None:
        settings = DestinationSettings(weight=weight, method=KernelMethod.DIRECT_ROUTE)
        destinations[destination(100)] = DestinationState(settings=settings)
    world.ipvs.services[SERVICE] = replace(state, destinations=destinations)
    await world.later(1)
    assert world.weights() == {"100": 1, "101": 1}
    assert world.metric("lvs_agent_repairs_total", kind="destination") == 1


async def test_a_removed_address_is_bound_again_and_counted(world: World) -> None:
    await world.do(director(service(member(100))))
    world.links.remove_behind_our_back(InterfaceAddress(device="eth0", address=ip_address(VIP), prefix_length=32))
    await world.later(20)
    assert world.bound() == {f"{VIP}@eth0"}
    assert world.metric("lvs_agent_repairs_total", kind="address") == 1
    for _ in range(20):
        await world.later(1)
    assert len(world.announcer.sent) == 1 + len(ANNOUNCE_AFTER)


async def test_planned_changes_are_no_repairs(world: World) -> None:
    await world.do(director(service(member(100))))
    await world.do(director(service(member(100, weight=2), member(101))))
    await world.do(NO_PART)
    await world.do(director(service(member(100))))
    for kind in ("service", "destination", "address", "sysctl"):
        assert world.metric("lvs_agent_repairs_total", kind=kind) == 0
