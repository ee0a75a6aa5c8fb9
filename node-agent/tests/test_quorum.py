"""Quorum: when a service has it, and which addresses a director does not carry without."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from agent_world import SERVICE, VIP, World, checked, destination, director, member, service, service_on
from hypothesis import given
from hypothesis import strategies as st
from vrrp_world import FAULT, MASTER, SECOND_VIP, VrrpWorld, second_service, vrrp_plan

from lvs_agent.decide.health_verdict import Verdict
from lvs_agent.decide.prepared_plan import prepare
from lvs_agent.decide.quorum import WeightInUse, step_quorum, withdrawn_addresses
from lvs_api.network_types import Family, Protocol
from lvs_core.cluster_view import ObjectKey
from lvs_core.plan import NodePlan, PlannedMember, PlannedQuorum, PlannedService, VirtualServerKey
from lvs_core.vrrp import VirtualRouter

WITHDRAWS = PlannedQuorum(weight=1, hysteresis=0, withdraws=True)
KEEPS = PlannedQuorum(weight=1, hysteresis=0, withdraws=False)
BAND = PlannedQuorum(weight=3, hysteresis=1, withdraws=True)
"""Lost below 2, had again from 4 on."""
OTHER = ObjectKey("default", "other")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[VrrpWorld]:
    made = VrrpWorld(tmp_path)
    yield made
    made.lose_supervisor()


def web(*numbers: int, quorum: PlannedQuorum = WITHDRAWS, **changes: object) -> PlannedService:
    return service(*(checked(number) for number in numbers), quorum=quorum, **changes)


def on_port(port: int, *members: PlannedMember, **changes: object) -> PlannedService:
    key = VirtualServerKey(address=ip_address(VIP), port=port, protocol=Protocol.TCP)
    return service(*members, key=key, **changes)


async def find(world: World, verdict: Verdict, *numbers: int) -> None:
    """The checks of these say so, and the agent has acted on that."""
    for number in numbers:
        world.health.find(number, verdict)
    await world.later(1)
    await world.later(1)


@pytest.mark.parametrize(
    ("before", "sure", "possible", "is_met"),
    [
        (None, 1, 9, False),
        (None, 2, 2, True),
        (True, 2, 2, True),
        (True, 1, 1, False),
        (True, 0, 2, True),
        (False, 3, 9, False),
        (False, 4, 4, True),
    ],
)
def test_it_is_lost_below_and_had_again_above(before: bool | None, sure: int, possible: int, is_met: bool) -> None:
    assert step_quorum(before, WeightInUse(sure, possible), BAND).is_met is is_met


@given(
    st.integers(1, 9).flatmap(lambda weight: st.tuples(st.just(weight), st.integers(0, weight - 1))),
    st.lists(st.integers(0, 20)),
)
def test_the_same_weights_again_change_nothing(quorum: tuple[int, int], sums: list[int]) -> None:
    """And nothing in use is always below, everything above both thresholds never."""
    asked, met = PlannedQuorum(*quorum, withdraws=True), None
    for one in sums:
        met = step_quorum(met, WeightInUse(one, one), asked).is_met
        assert step_quorum(met, WeightInUse(one, one), asked).is_met is met
        assert one != 0 or not met
        assert met or one < sum(quorum)


async def test_an_address_is_taken_with_quorum_and_let_go_without(world: VrrpWorld) -> None:
    await world.do(director(web(100, 101)), rounds=2)
    assert (world.bound(), world.exception().reason) == (set(), "BelowQuorum")
    await find(world, Verdict.UP, 100, 101)
    assert (world.bound(), world.status.exceptions) == ({f"{VIP}@eth0"}, [])
    assert world.metric("lvs_agent_addresses_withdrawn") == 0
    await find(world, Verdict.DOWN, 100)
    assert (world.bound(), world.exception().reason) == ({f"{VIP}@eth0"}, "MembersNotReady")
    await find(world, Verdict.DOWN, 101)
    assert (world.bound(), world.holds) == (set(), False)
    assert (world.exception().reason, world.exception().programmed) == ("BelowQuorum", True)
    assert world.exception().message.startswith(
        f"below quorum: real servers of weight 0 are in use, 1 is needed; {VIP} is withdrawn here; 0 of 2"
    )
    assert world.metric("lvs_agent_addresses_withdrawn") == 1
    assert world.weights() == {"100": 0, "101": 0}
    writes = world.writes()
    await world.later(1)
    assert world.writes() == writes
    await find(world, Verdict.UP, 101)
    assert (world.bound(), world.holds) == ({f"{VIP}@eth0"}, True)


async def test_a_service_that_keeps_its_address_only_says_so(world: VrrpWorld) -> None:
    await world.do(director(web(100, quorum=KEEPS)))
    assert world.bound() == {f"{VIP}@eth0"}
    assert world.exception().reason == "BelowQuorum"
    assert f"{VIP} is kept" in world.exception().message


async def test_weights_count_and_hysteresis_holds(world: VrrpWorld) -> None:
    made = service(*(checked(number, weight=weight) for number, weight in ((100, 1), (101, 2), (102, 3))), quorum=BAND)
    await world.do(director(made))
    await find(world, Verdict.UP, 102)
    assert world.bound() == set(), "3 is not 4"
    await find(world, Verdict.UP, 100)
    assert world.bound() == {f"{VIP}@eth0"}
    await find(world, Verdict.DOWN, 102)
    assert world.bound() == {f"{VIP}@eth0"}, "of 101 nothing is known yet"
    await find(world, Verdict.DOWN, 101)
    assert world.bound() == set(), "1 is less than 2"
    await find(world, Verdict.UP, 101)
    assert world.bound() == set(), "3 is not 4"
    await find(world, Verdict.UP, 102)
    await find(world, Verdict.DOWN, 100, 102)
    assert world.bound() == {f"{VIP}@eth0"}, "2 is not less than 2"


async def test_a_restart_changes_nothing(world: VrrpWorld) -> None:
    made = director(service(*(checked(number, weight=3) for number in (100, 101)), quorum=BAND))
    await world.do(made)
    await find(world, Verdict.UP, 100, 101)
    world.source.status = world.status
    world.restart()
    await world.do(made, rounds=2)
    assert world.bound() == {f"{VIP}@eth0"}, "its real servers have weight"
    await find(world, Verdict.DOWN, 100, 101)
    await find(world, Verdict.UP, 100)
    assert world.bound() == set(), "3 is not 4"
    world.source.status = world.status
    world.restart()
    await world.do(made, rounds=2)
    assert world.bound() == set(), "it was below before"
    await find(world, Verdict.UP, 101)
    assert world.bound() == {f"{VIP}@eth0"}


async def test_what_is_not_known_yet_loses_no_quorum(world: VrrpWorld) -> None:
    """Other real servers whose checks never answer, and none of the former ones is left."""
    await world.do(director(web(100)))
    await find(world, Verdict.UP, 100)
    await world.do(director(web(101)))
    await world.later(400)
    assert world.weights() == {"101": 0}
    assert world.bound() == {f"{VIP}@eth0"}
    await find(world, Verdict.DOWN, 101)
    assert world.bound() == set()


async def test_who_drains_keeps_the_address_until_the_connections_have_ended(world: VrrpWorld) -> None:
    await world.do(director(web(100)))
    await find(world, Verdict.UP, 100)
    world.ipvs.set_connections(SERVICE, destination(100), active=1)
    await world.do(director(service(checked(100, draining_seconds=60), quorum=WITHDRAWS)), rounds=2)
    assert (world.weights(), world.bound()) == ({"100": 0}, {f"{VIP}@eth0"})
    world.ipvs.set_connections(SERVICE, destination(100), active=0)
    await world.later(5)
    await world.later(1)
    assert world.bound() == set()


async def test_a_restart_while_the_last_one_drains_takes_nothing_away(world: VrrpWorld) -> None:
    await world.do(director(web(100)))
    await find(world, Verdict.UP, 100)
    world.ipvs.set_connections(SERVICE, destination(100), active=1)
    draining = director(service(checked(100, draining_seconds=60), quorum=WITHDRAWS))
    await world.do(draining, rounds=2)
    world.source.status = world.status
    world.restart()
    await world.do(draining, rounds=2)
    assert (world.weights(), world.bound()) == ({"100": 0}, {f"{VIP}@eth0"})
    world.ipvs.set_connections(SERVICE, destination(100), active=0)
    await world.later(5)
    await world.later(1)
    assert world.bound() == set()


async def test_a_service_that_is_paused_while_its_last_one_drains_stays_as_it_is(world: VrrpWorld) -> None:
    await world.do(vrrp_plan(web(100)))
    await find(world, Verdict.UP, 100)
    world.ipvs.set_connections(SERVICE, destination(100), active=1)
    draining = checked(100, draining_seconds=60)
    await world.do(vrrp_plan(service(draining, quorum=WITHDRAWS)), rounds=2)
    assert (world.weights(), world.may_carry) == ({"100": 0}, True)
    await world.do(vrrp_plan(service(draining, quorum=WITHDRAWS, paused=True)), rounds=2)
    assert world.may_carry is True
    await world.do(vrrp_plan(web(100, paused=True)), rounds=2)
    assert world.may_carry is True


async def test_a_service_that_was_paused_below_quorum_stays_so(world: VrrpWorld) -> None:
    await world.do(vrrp_plan(web(100)))
    assert world.may_carry is False
    await world.do(vrrp_plan(web(100, paused=True)), rounds=2)
    await find(world, Verdict.UP, 100)
    assert world.may_carry is False
    await world.do(vrrp_plan(web(100)), rounds=2)
    assert world.may_carry is True


async def test_a_paused_service_keeps_what_it_has(world: VrrpWorld) -> None:
    await world.do(director(web(100)))
    await find(world, Verdict.UP, 100)
    await world.do(director(web(100, paused=True)))
    await find(world, Verdict.DOWN, 100)
    assert (world.bound(), world.weights()) == ({f"{VIP}@eth0"}, {"100": 1})
    await world.do(director(web(100)), rounds=2)
    assert (world.bound(), world.weights()) == (set(), {"100": 0})


async def test_any_port_that_is_served_keeps_the_address(world: VrrpWorld) -> None:
    both = director(web(100), on_port(443, checked(101), quorum=WITHDRAWS))
    await world.do(both)
    await find(world, Verdict.UP, 100, 101)
    await find(world, Verdict.DOWN, 100)
    assert world.bound() == {f"{VIP}@eth0"}
    assert world.exception().reason == "MembersNotReady"
    await find(world, Verdict.DOWN, 101)
    assert (world.bound(), world.exception().reason) == (set(), "BelowQuorum")
    assert world.weights(service_on(443)) == {"101": 0}


@pytest.mark.parametrize(
    "neighbour",
    [
        on_port(443, member(101), service=OTHER),
        on_port(443, service=OTHER),
        on_port(443, service=OTHER, quorum=KEEPS),
        on_port(443, member(101), service=OTHER, quorum=WITHDRAWS),
    ],
    ids=["no quorum", "no quorum and nobody", "keeps", "has its quorum"],
)
async def test_an_address_that_another_service_wants_stays(world: VrrpWorld, neighbour: PlannedService) -> None:
    await world.do(director(web(100), neighbour))
    assert world.bound() == {f"{VIP}@eth0"}


async def test_by_vrrp_the_virtual_router_is_let_go_and_taken_again(world: VrrpWorld) -> None:
    await world.do(vrrp_plan(web(100)))
    assert world.may_carry is False
    world.say(FAULT)
    await world.later(1)
    assert (world.router.state, world.router.message) == (FAULT, "every service of its addresses is below quorum here")
    await find(world, Verdict.UP, 100)
    assert world.may_carry is True
    world.say(MASTER)
    await find(world, Verdict.DOWN, 100)
    assert world.may_carry is False
    assert "withdrawn here" in world.exception().message
    world.say(FAULT)
    world.source.status = world.status
    world.restart()
    world.supervisor = None
    await world.later(1)
    assert world.may_carry is False


async def test_by_vrrp_one_service_takes_no_address_from_another(world: VrrpWorld) -> None:
    await world.do(vrrp_plan(web(100), second_service(service=OTHER)))
    assert world.may_carry is True
    (mine,) = [one for one in world.status.exceptions or () if one.reason == "BelowQuorum"]
    assert f"{VIP} is kept" in mine.message


def with_routers(plan: NodePlan, *routers: tuple[int, str]) -> NodePlan:
    """The plan with these ids and addresses instead of its virtual router."""
    (group,) = plan.directing
    assert group.vrrp is not None
    made = [
        VirtualRouter(
            id=number,
            family=Family.IPV6 if ":" in address else Family.IPV4,
            priority=150,
            addresses=(ip_address(address),),
        )
        for number, address in routers
    ]
    return replace(plan, directing=(replace(group, vrrp=replace(group.vrrp, routers=tuple(made))),))


@pytest.mark.parametrize(
    ("routers", "met", "withdrawn"),
    [
        ([(55, VIP), (56, SECOND_VIP)], {VIP: False, SECOND_VIP: True}, {VIP}),
        ([(55, VIP), (55, SECOND_VIP)], {VIP: False, SECOND_VIP: True}, set()),
        ([(55, VIP), (55, SECOND_VIP)], {VIP: False, SECOND_VIP: False}, {VIP, SECOND_VIP}),
        ([(55, VIP), (55, "192.168.4.254"), (56, SECOND_VIP)], {VIP: False, SECOND_VIP: False}, {SECOND_VIP}),
        ([(55, VIP), (55, "2001:db8::1"), (56, SECOND_VIP)], {VIP: False, SECOND_VIP: False}, {SECOND_VIP}),
    ],
    ids=["apart", "together", "both below", "with a gateway", "with another family"],
)
def test_a_virtual_router_goes_as_a_whole(
    routers: list[tuple[int, str]], met: dict[str, bool], withdrawn: set[str]
) -> None:
    plan = with_routers(vrrp_plan(web(100), second_service(service=OTHER, quorum=WITHDRAWS)), *routers)
    prepared = prepare(plan)
    known = {one.key: met[str(one.planned.vip)] for one in prepared.services}
    assert {str(one) for one in withdrawn_addresses(prepared, known)} == withdrawn
    assert withdrawn_addresses(prepared, {}) == frozenset(), "unknown is not down"
