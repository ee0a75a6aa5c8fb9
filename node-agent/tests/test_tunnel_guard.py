"""What a real server's packet filter does for its tunnels, on the fake kernel and by itself."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from agent_world import NAME, NO_PART, VIP, World, director, member, real_server, record_order, service

from lvs_agent.decide.kernel_state import (
    AddressFamily,
    Device,
    InterfaceAddress,
    KernelLinks,
    ReceivePort,
    Route,
    RouteKind,
)
from lvs_agent.decide.packet_table import ClampRule, PacketRules, PacketTable, UnwrapRule
from lvs_agent.decide.tunnel_guard import PortSight, TunnelGuard, guard_tunnels
from lvs_agent.serve.plan_text import plan_lines
from lvs_api.bind_device import BindDevice
from lvs_api.conditions import ConditionType, Reason
from lvs_api.network_types import ForwardingMethod, TunnelType
from lvs_core.plan import NodePlan, PlannedTunnel

VIP6 = "2001:db8::15"
DIRECTOR, OTHER, DIRECTOR6 = "192.168.4.100", "192.168.4.101", "2001:db8:4::5"
UNGUARDED = ConditionType.TUNNELS_UNGUARDED


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def tunnelled(*directors: str, vip: str = VIP) -> NodePlan:
    """A real server with one VIP by tunnel, told of these directors."""
    device = BindDevice.TUNL0 if ip_address(vip).version == 4 else BindDevice.IP6TNL0
    plan = real_server(vip, device=device)
    return replace(plan, director_addresses=tuple(map(ip_address, directors)))


def rules(*sources: str, size: int = 1440) -> PacketRules:
    return PacketRules(
        unwraps=frozenset(UnwrapRule(4, ip_address(source)) for source in sources),
        clamps=frozenset({ClampRule(ip_address(VIP), size)}),
    )


async def test_the_rules_are_there_before_the_address_and_go_after_it(world: World) -> None:
    order = record_order(world)
    replaced = world.packet_filter.replace

    async def replace_rules(given: PacketRules) -> None:
        order.append(f"{len(given)} rules")
        await replaced(given)

    world.packet_filter.replace = replace_rules  # type: ignore[method-assign]  # in place of the fake's own
    await world.do(tunnelled(DIRECTOR, OTHER))
    assert world.packet_filter.table == PacketTable(rules=rules(DIRECTOR, OTHER))
    await world.do(NO_PART)
    assert world.packet_filter.table is None
    assert [one for one in order if "bind" in one or "rules" in one] == ["3 rules", "bind", "unbind", "0 rules"]
    assert world.condition(UNGUARDED) is None


async def test_while_the_directors_are_not_known_nobody_is_kept_out(world: World) -> None:
    await world.do(tunnelled())
    assert world.packet_filter.table == PacketTable(rules=rules())
    said = world.condition(UNGUARDED)
    assert said is not None
    assert said[0] == Reason.DIRECTORS_UNKNOWN
    await world.do(tunnelled(DIRECTOR))
    assert world.packet_filter.table == PacketTable(rules=rules(DIRECTOR))
    assert world.condition(UNGUARDED) is None
    await world.do(tunnelled())
    assert world.packet_filter.table == PacketTable(rules=rules())


async def test_what_others_use_is_left_open_as_soon_as_they_do(world: World) -> None:
    await world.do(tunnelled(DIRECTOR))
    world.links.addresses.add(InterfaceAddress(device="tunl0", address=ip_address("10.1.0.1"), prefix_length=32))
    await world.do(tunnelled(DIRECTOR), rounds=2)
    assert world.packet_filter.table == PacketTable(rules=rules())
    said = world.condition(UNGUARDED)
    assert said is not None
    assert said[0] == Reason.TUNNEL_SHARED
    assert "address 10.1.0.1 on tunl0" in said[1]


async def test_rules_that_can_not_be_set_do_not_keep_the_address_away(world: World) -> None:
    world.packet_filter.is_there = False
    await world.do(tunnelled(DIRECTOR))
    assert world.bound() == {f"{VIP}@tunl0"}
    said = world.condition(UNGUARDED)
    assert said is not None
    assert said[0] == Reason.TUNNEL_RULES_NOT_SET
    world.packet_filter.is_there = True
    await world.later(2)
    assert world.packet_filter.table == PacketTable(rules=rules(DIRECTOR))
    assert world.condition(UNGUARDED) is None


async def test_a_changed_table_is_put_right(world: World) -> None:
    await world.do(tunnelled(DIRECTOR), rounds=2)
    world.packet_filter.change(None)
    await world.later(1)
    assert world.packet_filter.table == PacketTable(rules=rules(DIRECTOR))
    assert world.metric("lvs_agent_repairs_total", kind="packet_filter") == 1


async def test_a_provisional_plan_narrows_nothing(world: World) -> None:
    """The view on disk may name fewer directors than there are."""
    await world.do(tunnelled(DIRECTOR, OTHER))
    world.restart()
    await world.do(replace(tunnelled(DIRECTOR), provisional=True))
    assert world.packet_filter.table == PacketTable(rules=rules(DIRECTOR, OTHER))


async def test_nobody_is_kept_out_while_services_stay_as_they_are(world: World) -> None:
    """A director that joins sends at once, whatever holds up the table."""
    both = replace(tunnelled(DIRECTOR, vip="192.168.4.16"), directing=director(service()).directing)
    await world.do(both, rounds=2)
    opened = replace(both, director_addresses=(), directing=director(service(), incomplete=(NAME,)).directing)
    await world.do(opened, rounds=2)
    assert world.packet_filter.table is not None
    assert world.packet_filter.table.rules.unwraps == frozenset()
    assert world.metric("lvs_agent_repairs_total", kind="packet_filter") == 0


async def test_a_way_with_a_smaller_mtu_makes_smaller_segments(world: World) -> None:
    route = Route(kind=RouteKind.UNICAST, device="eth0", mtu=1400)
    world.links.routes[ip_address(OTHER)] = route
    await world.do(tunnelled(DIRECTOR, OTHER))
    assert world.packet_filter.table == PacketTable(rules=rules(DIRECTOR, OTHER, size=1340))


async def test_a_node_that_is_also_a_director_keeps_both(world: World) -> None:
    both = replace(tunnelled(DIRECTOR, vip="192.168.4.16"), directing=director(service()).directing)
    await world.do(both)
    assert world.packet_filter.table is not None
    assert world.packet_filter.table.rules.unwraps == {UnwrapRule(4, ip_address(DIRECTOR))}


def test_the_plan_s_text_tells_of_tunnels() -> None:
    assert "  unwrap from 192.168.4.100, 192.168.4.101 only" in plan_lines(tunnelled(DIRECTOR, OTHER))
    by_gre = member(100, method=ForwardingMethod.TUNNEL, tunnel=PlannedTunnel(TunnelType.GRE))
    assert any("Tunnel by GRE" in line for line in plan_lines(director(service(by_gre))))


def device(name: str, mtu: int = 1500, kind: str = "") -> Device:
    return Device(index=len(name), name=name, kind=kind, up=True, arp_capable=True, mtu=mtu)


def links(*devices: Device, default: str | None = "eth0", addresses: Mapping[str, str] | None = None) -> KernelLinks:
    return KernelLinks(
        devices={one.name: one for one in devices},
        addresses=frozenset(
            InterfaceAddress(device=name, address=ip_address(text), prefix_length=24)
            for text, name in (addresses or {}).items()
        ),
        default_devices={family: default for family in AddressFamily if default is not None},
    )


ETH0, JUMBO = device("eth0"), device("eth1", 9000)


def by_gre(*directors: str) -> NodePlan:
    return replace(real_server(VIP, device=BindDevice.GRE0), director_addresses=tuple(map(ip_address, directors)))


def guard(plan: NodePlan, given: KernelLinks, **routes: Route) -> TunnelGuard:
    return guard_tunnels(plan, given, frozenset(), {ip_address(DIRECTOR): route for route in routes.values()})


def test_ipv6_has_its_own_protocol_and_overhead() -> None:
    found = guard(tunnelled(DIRECTOR, DIRECTOR6, vip=VIP6), links(ETH0))
    assert found.rules == PacketRules(
        unwraps=frozenset({UnwrapRule(41, ip_address(DIRECTOR6))}),
        clamps=frozenset({ClampRule(ip_address(VIP6), 1400)}),
    )
    assert found.fault is None


@pytest.mark.parametrize(
    ("given", "others"),
    [
        (
            links(ETH0, device("gre0", kind="gre"), device("gretap0", kind="gretap"), device("erspan0", kind="erspan")),
            False,
        ),
        (links(ETH0, device("gretap0", kind="gretap"), addresses={"10.1.0.1": "gretap0"}), True),
        (links(ETH0, device("gretap1", kind="gretap")), True),
        (links(ETH0, device("gre1", kind="gre")), True),
        (links(ETH0, device("tunl1", kind="ipip")), False),
    ],
)
def test_who_else_uses_gre(given: KernelLinks, *, others: bool) -> None:
    """The kernel's module makes three devices at once."""
    found = guard(by_gre(DIRECTOR), given)
    assert (found.fault is not None) is others
    assert found.rules.unwraps == (frozenset() if others else {UnwrapRule(47, ip_address(DIRECTOR))})
    assert found.rules.clamps == {ClampRule(ip_address(VIP), 1436)}


def test_a_port_for_gue_that_is_ours_is_for_directors_whoever_uses_the_device() -> None:
    """Who keeps strangers out of his tunnel by a filter of his own does not know of our port."""
    by_two = tunnelled(DIRECTOR)
    by_two = replace(by_two, bind=tuple(replace(one, gue_ports=(6080,)) for one in by_two.bind) + by_gre(DIRECTOR).bind)
    port = ReceivePort(AddressFamily.IPV4, 6080)
    ours = PortSight(ours=frozenset({port}))
    gre = UnwrapRule(47, ip_address(DIRECTOR))
    alone = guard_tunnels(by_two, links(ETH0), frozenset(), {}, ours)
    assert alone.rules.unwraps == {gre, UnwrapRule(4, gre.source), UnwrapRule(17, gre.source, 6080)}
    shared = guard_tunnels(by_two, links(ETH0, device("site-b", kind="ipip")), frozenset(), {}, ours)
    assert shared.rules.unwraps == {gre, UnwrapRule(17, gre.source, 6080)}
    assert shared.rules.clamps == alone.rules.clamps == {ClampRule(ip_address(VIP), 1420)}


def test_a_port_for_gue_of_somebody_else_is_open_to_him() -> None:
    plan = replace(tunnelled(DIRECTOR), bind=tuple(replace(one, gue_ports=(6080,)) for one in tunnelled(DIRECTOR).bind))
    port = ReceivePort(AddressFamily.IPV4, 6080)
    found = guard_tunnels(plan, links(ETH0), frozenset(), {}, PortSight(theirs=frozenset({port})))
    assert found.rules.unwraps == {UnwrapRule(4, ip_address(DIRECTOR))}
    assert found.fault is not None
    assert found.fault.reason is Reason.TUNNEL_SHARED
    assert str(port) in found.fault.message


def test_a_vip_that_comes_by_two_kinds_fits_into_both() -> None:
    plan = tunnelled(DIRECTOR)
    found = guard(replace(plan, bind=plan.bind + by_gre(DIRECTOR).bind), links(ETH0))
    assert found.rules.clamps == {ClampRule(ip_address(VIP), 1436)}
    assert {rule.protocol for rule in found.rules.unwraps} == {4, 47}


@pytest.mark.parametrize(
    ("vip", "device", "sender"), [(VIP6, BindDevice.GRE0, DIRECTOR), (VIP, BindDevice.IP6GRE0, DIRECTOR6)]
)
def test_a_vip_of_the_other_family_comes_from_directors_of_the_device_s(
    vip: str, device: BindDevice, sender: str
) -> None:
    plan = replace(real_server(vip, device=device), director_addresses=(ip_address(DIRECTOR), ip_address(DIRECTOR6)))
    found = guard_tunnels(plan, links(ETH0), frozenset(), {})
    assert found.rules.unwraps == {UnwrapRule(47, ip_address(sender))}
    assert found.rules.clamps == {ClampRule(ip_address(vip), 1416)}
    assert found.fault is None


def test_directors_without_an_address_of_the_family_are_not_known() -> None:
    found = guard(tunnelled(DIRECTOR, vip=VIP6), links(ETH0))
    assert found.rules.unwraps == frozenset()
    assert found.fault is not None
    assert found.fault.reason is Reason.DIRECTORS_UNKNOWN


@pytest.mark.parametrize(
    ("given", "route", "size"),
    [
        (links(ETH0, JUMBO), Route(kind=RouteKind.UNICAST, device="eth1"), 8940),
        (links(ETH0, JUMBO), Route(kind=RouteKind.UNICAST, device="eth1", mtu=2000), 1940),
        (links(ETH0, JUMBO), Route(kind=RouteKind.UNREACHABLE), 1440),
        (links(ETH0, JUMBO, default="eth1"), Route(kind=RouteKind.LOCAL, device="lo"), 8940),
        (links(ETH0, JUMBO, default=None, addresses={"10.0.0.1": "eth1"}), Route(kind=RouteKind.UNREACHABLE), 8940),
        (links(device("ib0", 65535)), Route(kind=RouteKind.UNICAST, device="ib0"), 65475),
    ],
)
def test_the_way_to_the_directors_counts(given: KernelLinks, route: Route, size: int) -> None:
    found = guard(tunnelled(DIRECTOR), given, route=route)
    assert found.rules.clamps == {ClampRule(ip_address(VIP), size)}


def test_a_node_of_which_no_way_is_known_clamps_nothing() -> None:
    assert guard(tunnelled(DIRECTOR), links(ETH0, default=None)).rules.clamps == frozenset()


@pytest.mark.parametrize(
    ("given", "others"),
    [
        (links(ETH0, device("tunl0", kind="ipip")), False),
        (links(ETH0, device("tunl0", kind="ipip"), addresses={VIP: "tunl0"}), False),
        (links(ETH0, device("tunl0", kind="ipip"), addresses={"10.1.0.1": "tunl0"}), True),
        (links(ETH0, device("site-b", kind="ipip")), True),
        (links(ETH0, device("ip6tnl0", kind="ip6tnl"), addresses={"fe80::1": "tunl0"}), False),
        (links(ETH0, device("gre1", kind="gre")), False),
    ],
)
def test_who_else_uses_the_tunnel(given: KernelLinks, *, others: bool) -> None:
    found = guard(tunnelled(DIRECTOR), given)
    assert (found.fault is not None) is others
    assert bool(found.rules.unwraps) is not others
