"""An address that a stranger has keeps no other of its virtual router away; what is added is asked for before."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from agent_world import VIP, director, member, service
from vrrp_world import BACKUP, MASTER, ROUTER, SECOND_VIP, VrrpWorld, second_service, vrrp_plan

from lvs_agent.converge.claimants import AGAIN_SECONDS, FIRST_LOOK_SECONDS, RETRY_SECONDS
from lvs_agent.decide.heard_adverts import Sender
from lvs_agent.decide.kernel_state import AddressBinding, InterfaceAddress
from lvs_agent.decide.left_out import is_old
from lvs_agent.decide.stored_plan import by_stored_view
from lvs_api.conditions import Reason
from lvs_api.lvs_node import VirtualRouterState
from lvs_api.network_types import Family, ForwardingMethod, Protocol
from lvs_core.cluster_view import ObjectKey
from lvs_core.plan import NodePlan, OtherDirector, PlannedService, VirtualServerKey
from lvs_core.vrrp import VirtualRouter

STRANGER, THEIRS = b"\x0a" * 6, b"\x0b" * 6
OTHER, VIP6 = "192.168.4.6", "2001:db8::15"
SPOKEN = frozenset({Sender("eth0", ROUTER.id, IPv4Address(OTHER))})
OLD = "v2.3.2"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[VrrpWorld]:
    made = VrrpWorld(tmp_path)
    made.probe.neighbours["eth0", ip_address(OTHER)] = {THEIRS}
    yield made
    made.lose_supervisor()


def first() -> PlannedService:
    return service(member(100))


def second() -> PlannedService:
    return second_service(service=ObjectKey("default", "second"))


def plan(*services: PlannedService, **changes: Any) -> NodePlan:
    """A director of two."""
    made = vrrp_plan(*services, **changes)
    (group,) = made.directing
    return replace(made, directing=(replace(group, others=(OtherDirector("two", (ip_address(OTHER),)),)),))


def of_both_families() -> NodePlan:
    """One virtual router with a VIP of each family."""
    key = VirtualServerKey(address=ip_address(VIP6), port=80, protocol=Protocol.TCP)
    behind = replace(member(101), address=ip_address("2001:db8::101"))
    made = plan(first(), service(behind, key=key, service=ObjectKey("default", "second")))
    (group,) = made.directing
    assert group.vrrp is not None
    (router,) = group.vrrp.routers
    families = {Family.IPV4: VIP, Family.IPV6: VIP6}
    routers = tuple(
        VirtualRouter(id=router.id, family=family, priority=150, addresses=(ip_address(address),))
        for family, address in families.items()
    )
    return replace(made, directing=(replace(group, others=(), vrrp=replace(group.vrrp, routers=routers)),))


def answer(world: VrrpWorld, *macs: bytes, address: str = SECOND_VIP) -> None:
    """From now on exactly these answer."""
    world.probe.neighbours["eth0", ip_address(address)] = set(macs)


def questions(world: VrrpWorld, address: str = SECOND_VIP) -> int:
    return sum(ip_address(address) in addresses for _, addresses in world.probe.asked)


def told(world: VrrpWorld) -> set[str]:
    """The addresses that the daemon is to carry."""
    wanted = world.vrrp.read_wanted()
    assert wanted is not None
    found = {str(one.address) for one in wanted.binds}
    assert all(address in wanted.text for address in found)
    return found


def bind(world: VrrpWorld, *addresses: str) -> None:
    """What the supervisor calls bound."""
    assert world.supervisor is not None
    bound = {AddressBinding(address=ip_address(address), device="eth0") for address in addresses}
    world.supervisor.write_bound(frozenset(bound))


async def begin(world: VrrpWorld, given: NodePlan, state: VirtualRouterState = MASTER, **changes: Any) -> None:
    """Take part with all that is free."""
    await world.do(given)
    world.say(state, **changes)
    await world.later(0)
    assert world.may_carry is True


async def leave_second_out(world: VrrpWorld) -> None:
    """Begin beside a stranger that has the second VIP."""
    answer(world, STRANGER)
    await world.do(plan(first(), second()))
    world.say(None)
    await world.later(AGAIN_SECONDS)
    world.say(None)
    await world.later(0)
    assert (world.may_carry, told(world)) == (True, {VIP})


async def test_a_stranger_that_has_one_vip_keeps_no_other_away(world: VrrpWorld) -> None:
    answer(world, STRANGER)
    await world.do(plan(first(), second()))
    world.say(None)
    assert (world.may_carry, world.status.exceptions) == (False, [])
    await world.later(AGAIN_SECONDS)
    assert (world.may_carry, told(world)) == (False, {VIP}), "the daemon may not have read it yet"
    world.say(None)
    await world.later(0)
    assert (world.may_carry, told(world)) == (True, {VIP})
    exception = world.exception()
    assert (exception.name, exception.reason, exception.programmed) == ("second", Reason.ADDRESS_CONFLICT, False)
    assert STRANGER.hex(":") in exception.message
    for _ in range(3):
        await world.later(RETRY_SECONDS)
        assert (world.may_carry, told(world)) == (True, {VIP})
        assert world.exception().name == "second"
    answer(world)
    await world.later(RETRY_SECONDS)
    assert (world.may_carry, told(world), world.status.exceptions) == (True, {VIP, SECOND_VIP}, [])


async def test_it_begins_once_the_daemon_has_let_go_of_what_is_left_out(world: VrrpWorld) -> None:
    """It takes a moment to read what it is told, and a track file is heeded at once."""
    answer(world, STRANGER)
    await world.do(plan(first(), second()))
    world.say(None)
    bind(world, VIP, SECOND_VIP)
    await world.later(AGAIN_SECONDS)
    world.say(None)
    await world.later(0)
    assert (world.may_carry, told(world)) == (False, {VIP})
    bind(world, VIP)
    await world.later(0)
    assert world.may_carry is True


async def test_where_a_stranger_has_all_nothing_is_carried(world: VrrpWorld) -> None:
    answer(world, STRANGER)
    answer(world, STRANGER, address=VIP)
    await world.do(plan(first(), second()))
    world.say(None)
    for _ in range(3):
        await world.later(RETRY_SECONDS)
        world.say(None)
    assert (world.may_carry, told(world)) == (False, {VIP, SECOND_VIP})
    assert [one.name for one in world.status.exceptions or ()] == ["second", "web"]
    answer(world, address=VIP)
    await world.later(RETRY_SECONDS)
    world.say(None)
    await world.later(0)
    assert (world.may_carry, told(world)) == (True, {VIP})


@pytest.mark.parametrize("state", [MASTER, BACKUP])
async def test_a_vip_that_is_added_waits_for_the_answer(world: VrrpWorld, state: VirtualRouterState) -> None:
    await begin(world, plan(first()), state)
    world.source.plan = plan(first(), second())
    await world.agent.round()
    assert (world.may_carry, told(world), world.claimants.is_asking) == (True, {VIP}, True)
    asked = questions(world, VIP)
    await world.do(plan(first(), second()))
    assert (world.may_carry, told(world), questions(world, VIP)) == (True, {VIP, SECOND_VIP}, asked)


@pytest.mark.parametrize("state", [MASTER, BACKUP])
async def test_a_vip_that_is_added_and_is_a_stranger_s_is_not_told(world: VrrpWorld, state: VirtualRouterState) -> None:
    await begin(world, plan(first()), state)
    answer(world, STRANGER)
    await world.do(plan(first(), second()))
    assert (told(world), world.status.exceptions) == ({VIP}, [])
    await world.later(AGAIN_SECONDS)
    assert (world.exception().name, world.exception().reason) == ("second", Reason.ADDRESS_CONFLICT)
    for _ in range(3):
        await world.later(RETRY_SECONDS)
        assert (world.may_carry, told(world)) == (True, {VIP})
    assert world.announcer.sent == []
    answer(world)
    await world.later(RETRY_SECONDS)
    assert (world.may_carry, told(world), world.status.exceptions) == (True, {VIP, SECOND_VIP}, [])


@pytest.mark.parametrize("beside", [(), (STRANGER,)])
async def test_a_vip_that_is_added_and_another_director_has_is_told(
    world: VrrpWorld, beside: tuple[bytes, ...]
) -> None:
    """It had the plan sooner. With a stranger beside it VRRP and the Master's defence settle it."""
    await begin(world, plan(first()), BACKUP, senders=SPOKEN)
    answer(world, THEIRS, *beside)
    await world.do(plan(first(), second()))
    await world.later(AGAIN_SECONDS)
    assert (world.may_carry, told(world)) == (True, {VIP, SECOND_VIP})


async def test_who_speaks_is_known_by_the_address_that_it_speaks_from(world: VrrpWorld) -> None:
    """Its Node is known by an address of another link."""
    speaker = IPv4Address("192.168.4.77")
    senders = frozenset({Sender("eth0", ROUTER.id, speaker)})
    world.probe.neighbours["eth0", speaker] = {b"\x0d" * 6}
    await begin(world, plan(first()), BACKUP, senders=senders)
    answer(world, b"\x0d" * 6)
    await world.do(plan(first(), second()))
    assert told(world) == {VIP, SECOND_VIP}


async def test_to_a_master_who_speaks_is_a_stranger(world: VrrpWorld) -> None:
    speaker = IPv4Address("192.168.4.77")
    world.probe.neighbours["eth0", speaker] = {STRANGER}
    await begin(world, plan(first()), MASTER, senders=frozenset({Sender("eth0", ROUTER.id, speaker)}))
    answer(world, STRANGER)
    await world.do(plan(first(), second()))
    for _ in range(3):
        await world.later(AGAIN_SECONDS)
    assert (world.exception().name, told(world)) == ("second", {VIP})


async def test_where_nobody_knows_who_speaks_a_backup_is_told_all(world: VrrpWorld) -> None:
    """The Master may be the one that answers."""
    world.probe.neighbours.pop(("eth0", ip_address(OTHER)))
    await begin(world, plan(first()), BACKUP, senders=SPOKEN)
    answer(world, STRANGER)
    await world.do(plan(first(), second()))
    await world.later(AGAIN_SECONDS)
    assert told(world) == {VIP, SECOND_VIP}


@pytest.mark.parametrize(("beside", "expected"), [((), {VIP}), ((THEIRS,), {VIP, SECOND_VIP})])
async def test_who_boots_beside_a_master_leaves_out_what_that_one_has_left_out(
    world: VrrpWorld, beside: tuple[bytes, ...], expected: set[str]
) -> None:
    answer(world, THEIRS, address=VIP)
    answer(world, STRANGER, *beside)
    await world.do(plan(first(), second()))
    world.say(None, senders=SPOKEN)
    for _ in range(3):
        await world.later(AGAIN_SECONDS)
        world.say(None, senders=SPOKEN)
    assert (world.may_carry, told(world)) == (True, expected)


async def test_who_waits_and_hears_another_begin_takes_no_more_than_that_one(world: VrrpWorld) -> None:
    """The answers that it has are from before, when nobody was known to speak."""
    answer(world, STRANGER)
    await world.do(plan(first(), second()))
    world.say(None)
    bind(world, VIP, SECOND_VIP)
    await world.later(AGAIN_SECONDS)
    world.say(None, senders=SPOKEN)
    for _ in range(3):
        await world.later(0)
        assert told(world) == {VIP}
    bind(world, VIP)
    await world.later(0)
    assert (world.may_carry, told(world)) == (True, {VIP})


async def test_by_the_stored_view_an_address_that_a_stranger_has_is_left_out(world: VrrpWorld) -> None:
    """After a power cut of all the API server comes last."""
    answer(world, STRANGER)
    await world.do(by_stored_view(plan(first(), second())))
    world.say(None)
    await world.later(AGAIN_SECONDS)
    world.say(None)
    await world.later(0)
    assert (world.may_carry, told(world)) == (True, {VIP})


async def test_by_the_stored_view_another_director_that_has_one_keeps_all_away(world: VrrpWorld) -> None:
    """It may carry the others without VRRP in a moment."""
    answer(world, THEIRS)
    await world.do(by_stored_view(plan(first(), second())))
    world.say(None)
    for _ in range(3):
        await world.later(RETRY_SECONDS)
    assert (world.may_carry, told(world)) == (False, {VIP, SECOND_VIP})


async def test_an_agent_that_is_restarted_tells_no_more_than_before(world: VrrpWorld) -> None:
    await leave_second_out(world)
    world.say(MASTER)
    world.restart()
    asked = questions(world, VIP)
    await world.do(plan(first(), second()))
    assert (world.may_carry, told(world), questions(world, VIP)) == (True, {VIP}, asked)
    await world.later(AGAIN_SECONDS)
    assert (world.exception().name, told(world)) == ("second", {VIP})
    answer(world)
    await world.later(RETRY_SECONDS)
    assert (world.may_carry, told(world)) == (True, {VIP, SECOND_VIP})


async def test_what_is_carried_once_stays_whoever_comes(world: VrrpWorld) -> None:
    await begin(world, plan(first(), second()))
    answer(world, STRANGER)
    await world.later(FIRST_LOOK_SECONDS)
    await world.later(AGAIN_SECONDS)
    assert world.exception().name == "second"
    world.say(BACKUP)
    for _ in range(3):
        await world.later(RETRY_SECONDS)
    world.restart()
    await world.do(plan(first(), second()))
    assert (world.may_carry, told(world)) == (True, {VIP, SECOND_VIP})


async def test_a_virtual_router_with_another_vip_altogether_goes_on_until_the_link_was_asked(world: VrrpWorld) -> None:
    await begin(world, plan(first()))
    world.source.plan = plan(second())
    await world.agent.round()
    assert (world.may_carry, told(world)) == (True, {VIP})
    await world.do(plan(second()))
    assert (world.may_carry, told(world)) == (True, {SECOND_VIP})


async def test_a_virtual_router_with_a_stranger_s_vip_altogether_carries_nothing(world: VrrpWorld) -> None:
    await begin(world, plan(first()), senders=SPOKEN)
    answer(world, STRANGER)
    await world.do(plan(second()))
    assert (world.may_carry, told(world)) == (True, {VIP})
    await world.later(AGAIN_SECONDS)
    assert (world.may_carry, told(world)) == (False, {SECOND_VIP})
    answer(world)
    await world.later(RETRY_SECONDS)
    assert (world.may_carry, told(world)) == (True, {SECOND_VIP})


async def test_an_agent_that_is_restarted_does_not_know_what_such_a_virtual_router_had(world: VrrpWorld) -> None:
    await begin(world, plan(first()), BACKUP)
    world.restart()
    world.source.plan = plan(second())
    await world.agent.round()
    assert (world.may_carry, told(world)) == (False, {SECOND_VIP})
    await world.do(plan(second()))
    assert (world.may_carry, told(world)) == (True, {SECOND_VIP})


async def test_what_an_address_lacks_that_is_left_out_keeps_no_other_away(world: VrrpWorld) -> None:
    await begin(world, plan(first()), BACKUP)
    answer(world, STRANGER)
    behind = replace(member(101), method=ForwardingMethod.MASQUERADE, source_nat=True)
    world.packet_filter.is_there = False
    await world.do(plan(first(), second_service(members=(behind,))))
    await world.later(AGAIN_SECONDS)
    assert (world.may_carry, told(world)) == (True, {VIP})


async def test_a_stranger_that_has_the_address_of_one_family_keeps_none_of_the_other_away(world: VrrpWorld) -> None:
    world.links.addresses.add(InterfaceAddress(device="eth0", address=ip_address("2001:db8::5"), prefix_length=64))
    answer(world, STRANGER, address=VIP6)
    await world.do(of_both_families())
    world.say(None)
    await world.later(AGAIN_SECONDS)
    world.say(None)
    await world.later(0)
    assert (world.may_carry, told(world)) == (True, {VIP})
    wanted = world.vrrp.read_wanted()
    assert wanted is not None
    assert "vrrp_sync_group" not in wanted.text
    world.say(MASTER)
    await world.later(0)
    assert [one.family for one in (world.status.director_groups or ())[0].virtual_routers or ()] == [Family.IPV4]
    assert VIP6 in world.exception().message
    answer(world, address=VIP6)
    await world.later(RETRY_SECONDS)
    await world.later(0)
    assert (world.may_carry, told(world)) == (True, {VIP, VIP6})
    assert set(world.vrrp.read_tracks().values()) == {True}


async def test_the_first_address_of_the_other_family_waits_for_the_answer(world: VrrpWorld) -> None:
    """Both families move together: told before, it would have the other wait with it."""
    world.links.addresses.add(InterfaceAddress(device="eth0", address=ip_address("2001:db8::5"), prefix_length=64))
    await begin(world, plan(first()))
    world.source.plan = of_both_families()
    await world.agent.round()
    assert (world.may_carry, told(world)) == (True, {VIP})
    await world.do(of_both_families())
    assert (world.may_carry, told(world)) == (True, {VIP, VIP6})


async def test_a_vip_that_was_not_carried_without_vrrp_is_not_told_when_vrrp_begins(world: VrrpWorld) -> None:
    answer(world, STRANGER)
    await world.do(director(first(), second()), rounds=3)
    assert world.bound() == {f"{VIP}@eth0"}
    await world.do(plan(first(), second()))
    assert (world.may_carry, told(world)) == (True, {VIP})


async def test_an_older_daemon_is_told_all_or_nothing(world: VrrpWorld) -> None:
    """It does not heed the adverts of one with another list of addresses: both would be Master."""
    answer(world, STRANGER)
    await world.do(plan(first(), second()))
    for _ in range(3):
        world.say(None, version=OLD)
        await world.later(RETRY_SECONDS)
    assert (world.may_carry, told(world)) == (False, {VIP, SECOND_VIP})


async def test_an_older_daemon_is_told_at_once_what_is_added(world: VrrpWorld) -> None:
    await begin(world, plan(first()), version=OLD)
    answer(world, STRANGER)
    world.source.plan = plan(first(), second())
    await world.agent.round()
    assert (world.may_carry, told(world)) == (True, {VIP, SECOND_VIP})


@pytest.mark.parametrize(
    ("version", "expected"),
    [("v2.2.8", True), ("v2.3.2", True), ("v2.3.3", False), ("v2.4.0", False), ("v3.0.0", False), ("", False)],
)
def test_versions(version: str, expected: bool) -> None:
    assert is_old(version) is expected
