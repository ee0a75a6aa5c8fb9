"""Rounds of a director with source NAT behind Masquerade, on the fake kernel."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from agent_world import NAME, NO_PART, SERVICE, VIP, World, destination, director, member, service

from lvs_agent.decide.kernel_state import DestinationKey, FirewallMarkKey, ServiceKey, TransportProtocol
from lvs_agent.decide.kernel_sysctls import SysctlKey
from lvs_agent.decide.packet_table import PacketRules, PacketTable, SourceNatRule
from lvs_agent.serve.plan_text import plan_lines
from lvs_api.conditions import Reason
from lvs_api.network_types import Family, ForwardingMethod, Protocol
from lvs_core.plan import MarkKey, PlannedMember, PlannedService, VirtualServerKey

MASQUERADE: dict[str, Any] = {"method": ForwardingMethod.MASQUERADE}
BEHIND: dict[str, Any] = {**MASQUERADE, "source_nat": True}
CONNTRACK = SysctlKey(("ipv4", "vs", "conntrack"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.sysctls.values[CONNTRACK] = 0
    return made


def rule(number: int, port: int = 80, server_port: int = 80) -> SourceNatRule:
    server = ip_address(f"192.168.4.{number}")
    return SourceNatRule(ip_address(VIP), TransportProtocol.TCP, port, server, server_port)


def table(*rules: SourceNatRule, kept: tuple[SourceNatRule, ...] = ()) -> PacketTable:
    return PacketTable(rules=PacketRules(source_nat=frozenset(rules), kept_sources=frozenset(kept)))


def of_port(port: int, *members: PlannedMember, **changes: Any) -> PlannedService:
    key = VirtualServerKey(address=ip_address(VIP), port=port, protocol=Protocol.TCP)
    return service(*members, key=key, **changes)


def connect(world: World, number: int, connections: int, key: ServiceKey | FirewallMarkKey = SERVICE) -> None:
    """Let a real server have so many connections."""
    state = world.ipvs.services[key]
    at = (
        destination(number)
        if isinstance(key, ServiceKey)
        else DestinationKey(address=destination(number).address, port=0)
    )
    found = state.destinations[at]._replace(active_connections=connections)
    world.ipvs.services[key] = replace(state, destinations={**state.destinations, at: found})


async def test_rules_are_for_the_members_behind_source_nat_alone(world: World) -> None:
    web = service(member(100, **BEHIND), member(101), member(102, **MASQUERADE), member(103, port=8080, **BEHIND))
    await world.do(director(web))
    assert world.packet_filter.table == table(rule(100), rule(103, server_port=8080))
    assert world.bound() == {f"{VIP}@eth0"}
    assert world.status.exceptions == []
    assert world.sysctls.values[CONNTRACK] == 1
    (row,) = [row for row in world.status.settings or () if row.name == "sysctls.conntrack"]
    assert row.message is not None
    assert "source NAT" in row.message
    writes, reads = world.packet_filter.writes, world.packet_filter.reads
    await world.later(1)
    assert (world.packet_filter.writes, world.packet_filter.reads) == (writes, reads)


def test_the_plan_says_so_in_words() -> None:
    lines = list(plan_lines(director(service(member(100, **BEHIND), member(101, **MASQUERADE)))))
    assert "      -> 192.168.4.100:80  Masquerade with source NAT  weight 1  rs100" in lines
    assert "      -> 192.168.4.101:80  Masquerade  weight 1  rs101" in lines


async def test_the_rule_comes_before_the_service(world: World) -> None:
    seen: list[bool] = []
    replaced = world.packet_filter.replace

    async def watched(rules: PacketRules) -> None:
        seen.append(SERVICE in world.ipvs.services)
        await replaced(rules)

    world.packet_filter.replace = watched  # type: ignore[method-assign]  # in place of the fake's own
    await world.do(director(service(member(100, **BEHIND))))
    assert seen == [False]


async def test_nothing_is_left_of_it(world: World) -> None:
    await world.do(director(service(member(100, **BEHIND))))
    await world.do(NO_PART)
    assert world.packet_filter.table is None
    assert world.sysctls.values[CONNTRACK] == 0
    reads = world.packet_filter.reads
    await world.later(1)
    assert world.packet_filter.reads == reads


async def test_connections_from_before_keep_the_chain_until_they_end(world: World) -> None:
    """Without a chain of type nat the kernel would rewrite their packets no more; the agent may restart meanwhile."""
    await world.do(director(service(member(100, **BEHIND), member(101, **BEHIND))))
    connect(world, 100, 1)
    without = director(service(member(100, **MASQUERADE), member(101, **MASQUERADE)))
    await world.do(without)
    assert world.packet_filter.table == table(kept=(rule(100),))
    world.restart()
    await world.do(without)
    assert world.packet_filter.table == table(kept=(rule(100),))
    connect(world, 100, 0)
    await world.later(1)
    assert world.packet_filter.table is None


async def test_it_can_be_asked_for_again_while_the_former_connections_live(world: World) -> None:
    await world.do(director(service(member(100, **BEHIND))))
    connect(world, 100, 1)
    await world.do(director(service(member(100, **MASQUERADE))))
    await world.do(director(service(member(100, **BEHIND))))
    assert world.packet_filter.table == table(rule(100))


async def test_a_member_that_vanishes_drains_with_its_chain(world: World) -> None:
    await world.do(director(service(member(100, **BEHIND), member(101, **MASQUERADE))))
    connect(world, 100, 1)
    await world.do(director(service(member(101, **MASQUERADE))))
    assert world.weights() == {"100": 0, "101": 1}
    assert world.packet_filter.table == table(kept=(rule(100),))
    connect(world, 100, 0)
    await world.later(1)
    await world.later(1)
    assert world.weights() == {"101": 1}
    assert world.packet_filter.table is None


@pytest.mark.parametrize(("before", "after"), [(BEHIND, MASQUERADE), (MASQUERADE, BEHIND)])
async def test_a_paused_service_stays_as_it_is(world: World, before: dict[str, Any], after: dict[str, Any]) -> None:
    other = of_port(81, member(101, port=81, **BEHIND))
    await world.do(director(service(member(100, **before)), other))
    found = world.packet_filter.table
    await world.do(director(service(member(100, **after), paused=True), other))
    assert world.packet_filter.table == found
    await world.do(director(service(member(100, **after)), other))
    ours = {rule(100)} if after is BEHIND else set()
    assert world.packet_filter.table == table(rule(101, 81, 81), *ours)


async def test_grouped_ports_have_a_mark_and_source_nat(world: World) -> None:
    fronts = tuple(VirtualServerKey(address=ip_address(VIP), port=port, protocol=Protocol.TCP) for port in (80, 443))
    key = MarkKey(mark=10, family=Family.IPV4)
    grouped = service(member(100, port=0, **BEHIND), key=key, vip=ip_address(VIP), port_name=None, marked=fronts)
    await world.do(director(grouped))
    found = world.packet_filter.table
    assert found is not None
    assert found.rules.source_nat == {rule(100), rule(100, port=443, server_port=443)}
    assert {one.port for one in found.rules.marks} == {80, 443}
    (kernel_key,) = world.ipvs.services
    connect(world, 100, 1, kernel_key)
    plain = replace(grouped, members=(member(100, port=0, **MASQUERADE),))
    await world.do(director(plain))
    found = world.packet_filter.table
    assert (found.rules.source_nat, len(found.rules.kept_sources)) == (frozenset(), 2)


async def test_a_rule_of_every_port_leaves_other_services_alone(world: World) -> None:
    every = of_port(0, member(100, port=0, **BEHIND))
    await world.do(director(every, of_port(81, member(100, port=81, **MASQUERADE), member(101, port=81, **MASQUERADE))))
    assert world.packet_filter.table == table(rule(100, 0, 0), kept=(rule(100, 81, 81),))


async def test_somebody_elses_mark_has_no_rule(world: World) -> None:
    key = MarkKey(mark=10, family=Family.IPV4)
    await world.do(director(service(member(100, port=0, **MASQUERADE), key=key, vip=ip_address(VIP), port_name=None)))
    assert world.packet_filter.table is None


@pytest.mark.parametrize(
    "spoilt",
    [None, replace(table(rule(100)), is_whole=False), table(), table(rule(100), rule(101)), table(kept=(rule(100),))],
    ids=["gone", "not whole", "empty", "a rule more", "kept"],
)
async def test_what_others_change_is_put_right(world: World, spoilt: PacketTable | None) -> None:
    await world.do(director(service(member(100, **BEHIND))))
    world.packet_filter.change(spoilt)
    await world.later(1)
    assert world.packet_filter.table == table(rule(100))
    assert world.metric("lvs_agent_repairs_total", kind="packet_filter") == 1


async def test_an_address_is_not_carried_before_its_real_servers_can_answer(world: World) -> None:
    world.packet_filter.is_there = False
    await world.do(director(service(member(100, **BEHIND))))
    assert world.bound() == set()
    (said,) = world.status.exceptions or ()
    assert (said.namespace, said.name) == (NAME.namespace, NAME.name)
    assert (said.reason, said.programmed) == (Reason.SOURCE_NAT_NOT_SET, False)
    assert "install nftables" in said.message
    world.packet_filter.is_there = True
    await world.later(2)
    assert world.bound() == {f"{VIP}@eth0"}
    assert world.status.exceptions == []


async def test_a_service_that_waits_for_its_successor_keeps_its_source_nat(world: World) -> None:
    """A kernel without the successor's scheduler does not make it: packets go to the service of before still."""
    await world.do(director(service(member(100, **BEHIND))))
    world.ipvs.schedulers = frozenset()
    key = MarkKey(mark=10, family=Family.IPV4)
    front = VirtualServerKey(address=ip_address(VIP), port=80, protocol=Protocol.TCP)
    grouped = service(member(100, port=0, **MASQUERADE), key=key, vip=ip_address(VIP), port_name=None, marked=(front,))
    await world.do(director(grouped))
    assert SERVICE in world.ipvs.services
    found = world.packet_filter.table
    assert found is not None
    assert found.rules.source_nat == {rule(100)}
