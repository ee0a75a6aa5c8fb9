"""A director that is a real server of its own service: what another director hands on goes to the server here."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from agent_world import NAME, SERVICE, VIP, World, director, member, real_server, record_order, service, service_on
from vrrp_world import FAULT, MASTER, SECOND_VIP, VrrpWorld, second_service, vrrp_plan

from lvs_agent.decide.kernel_state import (
    NO_SERVICE_FLAGS,
    AddressFamily,
    FirewallMarkKey,
    Route,
    RouteKind,
    ServiceFlag,
)
from lvs_agent.decide.named_table import name_entries
from lvs_agent.decide.packet_table import HANDED_ON_MARK, HandedOnRule
from lvs_api.bind_device import BindDevice
from lvs_api.network_types import Family, Protocol
from lvs_core.cluster_view import ObjectKey
from lvs_core.plan import Holding, MarkKey, NodePlan, OtherDirector, PlannedService, VirtualServerKey

MARK = FirewallMarkKey(family=AddressFamily.IPV4, mark=HANDED_ON_MARK)
OWN, OTHER = ip_address("192.168.4.5"), ip_address("192.168.4.6")
MAC, NEW_MAC = bytes.fromhex("020000000006"), bytes.fromhex("020000000016")
BY_MAC = HandedOnRule(ip_address(VIP), mac="02:00:00:00:00:06")


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.links.routes[OTHER] = Route(kind=RouteKind.UNICAST, device="eth0")
    world.links.routes[OWN] = Route(kind=RouteKind.LOCAL, device="lo")
    world.probe.neighbours["eth0", OTHER] = {MAC}
    return world


def both(*services: PlannedService, device: BindDevice = BindDevice.LO, **changes: Any) -> NodePlan:
    """A standby director of two that is a real server of the VIP."""
    here = replace(member(5), name="here", address=OWN, is_here=True)
    holding = changes.pop("holding", Holding.RELEASE)
    plan = director(*(services or (service(here, member(100)),)), holding=holding)
    (group,) = plan.directing
    others = changes.pop("others", (OtherDirector("d2", (OTHER,)),))
    group = replace(group, own_addresses=changes.pop("own", (OWN,)), others=others)
    return replace(plan, directing=(group,), bind=real_server(VIP, device=device).bind, **changes)


def rules(world: World) -> frozenset[HandedOnRule]:
    return world.packet_filter.table.rules.handed_on if world.packet_filter.table is not None else frozenset()


def state(world: World) -> tuple[str, str | None]:
    (address,) = world.status.addresses or ()
    return address.state.value, address.message


async def test_what_another_director_hands_on_goes_to_the_server_here(world: World) -> None:
    await world.do(both(), rounds=3)
    assert rules(world) == {BY_MAC}
    assert world.weights(MARK) == {"5": 1}
    assert world.weights() == {"5": 1, "100": 1}
    assert world.bound() == {f"{VIP}@lo"}
    assert state(world) == ("Bound", None)
    assert (world.status.exceptions or []) == []


@pytest.mark.parametrize(
    ("services", "flags"),
    [
        ([("TCP", False)], NO_SERVICE_FLAGS),
        ([("UDP", False)], NO_SERVICE_FLAGS),
        ([("UDP", True)], ServiceFlag.ONE_PACKET),
        ([("UDP", True), ("TCP", False)], ServiceFlag.ONE_PACKET),
        ([("UDP", True), ("UDP", False)], NO_SERVICE_FLAGS),
    ],
)
async def test_datagrams_that_are_each_for_themselves_leave_no_connection_behind(
    world: World, services: list[tuple[str, bool]], flags: ServiceFlag
) -> None:
    """It would lead the client's next ones here when this director is Master."""
    here = replace(member(5), name="here", address=OWN, is_here=True)
    planned = [
        service(
            here,
            key=VirtualServerKey(address=ip_address(VIP), port=53 + number, protocol=Protocol(protocol)),
            one_packet_scheduling=alone,
        )
        for number, (protocol, alone) in enumerate(services)
    ]
    await world.do(both(*planned), rounds=3)
    assert world.ipvs.services[MARK].settings.flags == flags


async def test_the_mark_and_its_service_come_before_the_virtual_service_and_the_vip(world: World) -> None:
    order = record_order(world)
    replaced = world.packet_filter.replace

    async def replace_rules(shall):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 -- as the seam
        order.append("rules")
        await replaced(shall)

    world.packet_filter.replace = replace_rules  # type: ignore[method-assign]  # in place of the fake's own
    await world.do(both(), rounds=3)
    services = [step for step in order if step in {"AddService", "rules", "bind"}]
    assert services == ["AddService", "rules", "bind", "AddService"]


async def test_until_then_nothing_of_the_vip_is_made_and_it_is_not_called_bound(world: World) -> None:
    world.packet_filter.is_there = False
    await world.do(both(), rounds=3)
    assert (SERVICE in world.ipvs.services, world.bound()) == (False, set())
    assert state(world)[0] == "Failed"
    assert "nft" in (state(world)[1] or "")
    assert (world.exception().reason, world.exception().programmed) == ("NotProgrammed", False)
    world.packet_filter.is_there = True
    await world.later(2)
    await world.later(1)
    assert (SERVICE in world.ipvs.services, state(world)) == (True, ("Bound", None))


async def test_a_director_that_becomes_a_real_server_keeps_what_it_serves(world: World) -> None:
    await world.do(replace(both(), bind=()))
    assert (world.weights(), rules(world), MARK in world.ipvs.services) == ({"5": 1, "100": 1}, frozenset(), False)
    world.packet_filter.is_there = False
    await world.do(both(), rounds=2)
    assert world.weights() == {"5": 1, "100": 1}
    assert state(world)[0] == "Failed"


async def test_it_ends_once_nothing_can_be_handed_on(world: World) -> None:
    await world.do(both(), rounds=3)
    await world.do(NodePlan(node="node", observed_generation=1, bind=real_server(VIP).bind))
    assert MARK in world.ipvs.services, "it goes after the services that would balance again"
    await world.later(1)
    await world.later(1)
    assert (set(world.ipvs.services), rules(world), state(world)) == (set(), frozenset(), ("Bound", None))


async def test_a_real_server_of_others_needs_nothing_of_this(world: World) -> None:
    plan = replace(both(), bind=real_server("192.168.4.16").bind)
    await world.do(plan, rounds=2)
    assert (rules(world), MARK in world.ipvs.services, state(world)) == (frozenset(), False, ("Bound", None))


async def test_a_director_that_does_not_answer_is_waited_for_no_longer_and_asked_again(world: World) -> None:
    del world.probe.neighbours["eth0", OTHER]
    await world.do(both(), rounds=3)
    assert (rules(world), state(world)) == (frozenset(), ("Bound", None))
    world.probe.neighbours["eth0", OTHER] = {MAC}
    await world.later(2)
    await world.later(1)
    assert rules(world) == {BY_MAC}


async def test_a_network_card_that_was_replaced_is_found(world: World) -> None:
    await world.do(both(), rounds=3)
    assert world.probe.asked
    assert world.probe.probed == set(), "a director that boots would leave its own address off for that"
    world.probe.neighbours["eth0", OTHER] = {NEW_MAC}
    await world.later(29)
    assert rules(world) == {BY_MAC}
    await world.later(2)
    await world.later(1)
    assert rules(world) == {BY_MAC._replace(mac=NEW_MAC.hex(":"))}


async def test_the_network_that_answers_for_the_other_director_is_not_it(world: World) -> None:
    """Clients beyond a router with proxy ARP send by its MAC address: nothing of theirs was handed on."""
    router = bytes.fromhex("02005e0001af")
    world.probe.neighbours["eth0", OTHER] = {MAC, router}
    plan = both()
    (group,) = plan.directing
    plan = replace(plan, directing=(replace(group, ignored_answers=frozenset({router})),))
    await world.do(plan, rounds=3)
    assert rules(world) == {BY_MAC}


async def test_a_director_that_is_none_any_more_may_hand_on_what_it_has(world: World) -> None:
    await world.do(both(), rounds=3)
    await world.do(both(others=()), rounds=2)
    assert rules(world) == {BY_MAC}


async def test_by_tunnel_it_is_told_by_the_device(world: World) -> None:
    world.links.add_device("tunl0", arp_capable=False)
    await world.do(both(device=BindDevice.TUNL0), rounds=3)
    assert rules(world) == {HandedOnRule(ip_address(VIP), device="tunl0")}
    assert (world.weights(MARK), world.probe.asked) == ({"5": 1}, [])


async def test_a_restarted_agent_takes_nothing_back_while_it_asks(world: World) -> None:
    await world.do(both(), rounds=3)
    said = len(world.statuses)
    world.restart()
    await world.do(both())
    assert rules(world) == {BY_MAC}
    assert {one.state.value for status in world.statuses[said:] for one in status.addresses or ()} == {"Bound"}


async def test_a_mark_that_a_service_has_is_not_taken_from_it(world: World) -> None:
    key = MarkKey(mark=HANDED_ON_MARK, family=Family.IPV4)
    marked = service(member(101), key=key)
    await world.do(both(*both().directing[0].services, marked), rounds=3)
    assert world.weights(MARK) == {"101": 1}
    assert state(world)[0] == "Failed"
    assert "firewall mark 4095 belongs to LvsVirtualService default/web" in (state(world)[1] or "")


async def test_the_active_director_has_the_vip_on_both_devices(world: World) -> None:
    await world.do(both(holding=Holding.HOLD), rounds=4)
    assert world.bound() == {f"{VIP}@eth0", f"{VIP}@lo"}
    await world.do(both(holding=Holding.RELEASE), rounds=2)
    assert world.bound() == {f"{VIP}@lo"}


async def test_a_port_more_is_made_at_once(world: World) -> None:
    await world.do(both(), rounds=3)
    key = VirtualServerKey(address=ip_address(VIP), port=443, protocol=Protocol.TCP)
    await world.do(both(*both().directing[0].services, service(member(100), key=key)))
    assert service_on(443) in world.ipvs.services


async def test_the_marks_service_is_told_by_a_name_of_its_own(world: World) -> None:
    await world.do(both(), rounds=3)
    named = {one.key: (one.service, one.port_name) for one in name_entries(world.ipvs.read(), world.agent.naming())}
    assert named == {MARK: (None, "handed-on"), SERVICE: (NAME, "http")}
    somebody_elses = {one.key: one.port_name for one in name_entries(world.ipvs.read(), None)}
    assert somebody_elses[MARK] is None


async def test_a_link_that_is_down_is_not_waited_for(world: World) -> None:
    """What cannot be asked by it does not come by it either."""
    world.probe.down_devices.add("eth0")
    await world.do(both(), rounds=3)
    assert (rules(world), state(world)) == (frozenset(), ("Bound", None))


async def test_without_an_own_address_in_the_groups_status_it_waits(world: World) -> None:
    await world.do(both(own=()), rounds=3)
    assert state(world) == ("Failed", "the director group's status does not name this node's own IPv4 address yet")


async def test_a_service_that_waits_takes_no_address_from_another_by_vrrp(tmp_path: Path) -> None:
    world = VrrpWorld(tmp_path)
    world.links.routes[OTHER] = Route(kind=RouteKind.UNICAST, device="eth0")
    world.probe.neighbours["eth0", OTHER] = {MAC}
    await world.do(vrrp_plan())
    world.say(MASTER)
    await world.later(1)
    world.packet_filter.is_there = False
    made = vrrp_plan(service(member(100)), second_service(service=ObjectKey("default", "second")))
    group = replace(made.directing[0], own_addresses=(OWN,), others=(OtherDirector("d2", (OTHER,)),))
    await world.do(replace(made, directing=(group,), bind=real_server(SECOND_VIP).bind), rounds=2)
    assert (world.table(SECOND_VIP), world.exception().reason) == ({}, "NotProgrammed")
    assert world.may_carry is True
    world.lose_supervisor()


async def test_an_address_of_which_all_services_wait_is_not_carried_by_vrrp(tmp_path: Path) -> None:
    world = VrrpWorld(tmp_path)
    world.links.routes[OTHER] = Route(kind=RouteKind.UNICAST, device="eth0")
    world.probe.neighbours["eth0", OTHER] = {MAC}
    world.packet_filter.is_there = False
    made = vrrp_plan()
    group = replace(made.directing[0], own_addresses=(OWN,), others=(OtherDirector("d2", (OTHER,)),))
    plan = replace(made, directing=(group,), bind=real_server(VIP).bind)
    await world.do(plan, rounds=2)
    assert world.may_carry is False
    world.say(FAULT)
    await world.later(1)
    assert "nft" in (world.router.message or "")
    world.packet_filter.is_there = True
    await world.later(2)
    await world.later(1)
    assert world.may_carry is True
    world.lose_supervisor()
