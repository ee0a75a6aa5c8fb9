"""Rounds of a director with services of firewall marks, on the fake kernel."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from agent_world import NAME, NO_PART, SERVICE, VIP, World, destination, director, member, service
from inputs_in_hand import Known

from lvs_agent.decide.changes import AddService, DeleteService, IpvsChange
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import (
    AddressFamily,
    DestinationKey,
    FirewallMarkKey,
    InterfaceAddress,
    TransportProtocol,
)
from lvs_agent.decide.packet_table import MarkRule, PacketRules, PacketTable
from lvs_agent.decide.refused_addresses import ClusterFacts
from lvs_agent.errors import PacketFilterError
from lvs_agent.kernel.fake_ipvs import FakeIpvsTable
from lvs_agent.kernel.fake_packet_filter import FakePacketFilter
from lvs_agent.kernel.interface import IpvsApplied
from lvs_agent.kernel.packet_filter_contract import complaints
from lvs_api.conditions import Reason
from lvs_api.network_types import Family, Protocol, Scheduler
from lvs_core.plan import Holding, MarkKey, PlannedMember, PlannedService, VirtualServerKey

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


def endpoint(port: int) -> VirtualServerKey:
    return VirtualServerKey(address=ip_address(VIP), port=port, protocol=Protocol.TCP)


def grouped(*members: PlannedMember, ports: tuple[int, ...] = (80, 443), mark: int = 10) -> PlannedService:
    key = MarkKey(mark=mark, family=Family.IPV4)
    marked = tuple(endpoint(port) for port in ports)
    return service(*members, key=key, vip=ip_address(VIP), port_name=None, marked=marked)


def rules(*ports: int, mark: int = 10) -> set[MarkRule]:
    return {MarkRule(ip_address(VIP), TransportProtocol.TCP, port, mark) for port in ports}


def marks(*ports: int) -> PacketRules:
    return PacketRules(marks=frozenset(rules(*ports)))


def order(world: World) -> list[str]:
    """What is written from now on, in order."""
    seen: list[str] = []
    replaced, applied = world.packet_filter.replace, world.ipvs.apply

    async def replace(given: PacketRules) -> None:
        seen.append(f"{len(given)} rules")
        await replaced(given)

    def apply_ipvs(changes: Sequence[IpvsChange]) -> IpvsApplied:
        seen.extend(type(change).__name__ for change in changes if isinstance(change, AddService | DeleteService))
        return applied(changes)

    world.packet_filter.replace = replace  # type: ignore[method-assign]  # in place of the fake's own
    world.ipvs.apply = apply_ipvs  # type: ignore[method-assign]  # in place of the fake's own
    return seen


async def test_ports_are_grouped_by_marks_of_our_own(world: World) -> None:
    await world.do(director(grouped(server(100))))
    assert world.packet_filter.table == PacketTable(rules=marks(80, 443))
    assert entries(world.ipvs) == {"192.168.4.100:0": 1}
    assert world.bound() == {f"{VIP}@eth0"}
    assert world.status.exceptions == []
    writes, reads = world.packet_filter.writes, world.packet_filter.reads
    await world.later(1)
    assert (world.packet_filter.writes, world.packet_filter.reads) == (writes, reads)


async def test_a_restarted_agent_writes_no_marks_again(world: World) -> None:
    await world.do(director(grouped(server(100))))
    writes = world.packet_filter.writes
    world.restart()
    await world.do(director(grouped(server(100))))
    assert world.packet_filter.writes == writes


async def test_ports_that_are_grouped_and_separated_again_are_served_all_the_time(world: World) -> None:
    """Marks come before their service and go after it: without a service the address and port are looked for."""
    await world.do(director(service(member(100))))
    seen = order(world)
    await world.do(director(grouped(server(100), ports=(80,))))
    await world.do(director(service(member(100))))
    assert seen == ["1 rules", "AddService", "DeleteService", "AddService", "DeleteService", "0 rules"]
    assert world.packet_filter.table is None


async def test_marks_go_with_the_last_grouped_service(world: World) -> None:
    await world.do(director(grouped(server(100))))
    await world.do(director(grouped(server(100), ports=(80,))))
    assert world.packet_filter.table == PacketTable(rules=marks(80))
    await world.do(NO_PART)
    assert world.packet_filter.table is None
    reads = world.packet_filter.reads
    await world.later(1)
    assert world.packet_filter.reads == reads


@pytest.mark.parametrize(
    "spoilt",
    [
        None,
        PacketTable(rules=marks(80, 443), is_whole=False),
        PacketTable(rules=marks(80)),
        PacketTable(rules=marks(80, 443, 8080)),
        PacketTable(rules=PacketRules(marks=frozenset(rules(80) | rules(443, mark=11)))),
    ],
    ids=["gone", "not whole", "a rule less", "a rule more", "another mark"],
)
async def test_what_others_change_is_put_right(world: World, spoilt: PacketTable | None) -> None:
    await world.do(director(grouped(server(100))))
    world.packet_filter.change(spoilt)
    await world.later(1)
    assert world.packet_filter.table == PacketTable(rules=marks(80, 443))
    assert world.metric("lvs_agent_repairs_total", kind="packet_filter") >= 1
    assert world.status.exceptions == []


async def test_an_address_is_not_carried_before_its_packets_are_marked(world: World) -> None:
    world.packet_filter.is_there = False
    await world.do(director(grouped(server(100))))
    assert world.bound() == set()
    (said,) = world.status.exceptions or ()
    assert (said.reason, said.programmed) == (Reason.MARKS_NOT_SET, False)
    assert "install nftables" in said.message
    world.packet_filter.is_there = True
    await world.later(2)
    assert world.bound() == {f"{VIP}@eth0"}
    assert world.status.exceptions == []


async def test_a_failing_packet_filter_is_asked_less_and_less(world: World) -> None:
    asked = 0

    async def read() -> None:
        nonlocal asked
        asked += 1
        raise PacketFilterError("reading: no memory")

    world.packet_filter.read = read  # type: ignore[method-assign, assignment]  # in place of the fake's own
    await world.do(director(grouped(server(100))))
    for _ in range(60):
        await world.later(1)
    assert 5 <= asked <= 7


async def test_who_groups_nothing_needs_no_packet_filter(world: World) -> None:
    world.packet_filter.is_there = False
    await world.do(director(service(member(100)), marked(server(100))))
    await world.later(1)
    assert world.status.exceptions == []
    assert world.bound() == {f"{VIP}@eth0"}


async def test_a_table_from_before_goes_where_nothing_is_grouped(world: World) -> None:
    world.packet_filter.change(PacketTable(rules=marks(80)))
    await world.do(director(service(member(100))))
    assert world.packet_filter.table is None


async def test_a_service_that_is_not_wholly_known_keeps_its_marks(world: World) -> None:
    await world.do(director(grouped(server(100))))
    await world.do(director(incomplete=(NAME,)))
    assert world.packet_filter.table == PacketTable(rules=marks(80, 443))


async def test_marks_stay_while_the_kernel_has_their_service(world: World) -> None:
    """The ledger is lost, and the address has to be judged anew: the service counts as somebody else's until then."""
    plan = director(grouped(server(100)))
    await world.do(plan)
    (world.directory / "ledger").unlink()
    world.cluster = Known(Fault(reason=Reason.PENDING, message="asking the API server"))
    world.restart()
    for _ in range(3):
        await world.do(plan)
    assert entries(world.ipvs) == {"192.168.4.100:0": 1}
    assert world.packet_filter.table == PacketTable(rules=marks(80, 443))
    assert world.metric("lvs_agent_kernel_writes_total", kind="packet_filter") == 0
    world.cluster.facts = ClusterFacts()
    await world.do(director(grouped(server(100), ports=(80,))))
    assert world.packet_filter.table == PacketTable(rules=marks(80))
    assert world.metric("lvs_agent_repairs_total", kind="packet_filter") == 0


async def test_ports_stay_grouped_until_the_kernel_takes_their_own_services(world: World) -> None:
    await world.do(director(grouped(server(100), ports=(80,))))
    world.ipvs.schedulers -= {"mh"}
    apart = director(service(member(100), scheduler=Scheduler.MH))
    await world.do(apart)
    assert entries(world.ipvs) == {"192.168.4.100:0": 1}
    assert world.packet_filter.table == PacketTable(rules=marks(80))
    assert world.bound() == {f"{VIP}@eth0"}
    assert [one.reason for one in world.status.exceptions or ()] == [Reason.SCHEDULER_UNAVAILABLE]
    world.ipvs.schedulers |= {"mh"}
    await world.later(2)
    assert (set(world.ipvs.services), world.packet_filter.table) == ({SERVICE}, None)
    assert world.status.exceptions == []


async def test_ports_are_not_grouped_before_the_kernel_takes_the_service_of_their_mark(world: World) -> None:
    await world.do(director(service(member(100))))
    world.ipvs.schedulers -= {"mh"}
    together = director(replace(grouped(server(100), ports=(80,)), scheduler=Scheduler.MH))
    for _ in range(3):
        await world.do(together)
    assert (set(world.ipvs.services), world.weights()) == ({SERVICE}, {"100": 1})
    world.ipvs.schedulers |= {"mh"}
    await world.later(4)
    assert set(world.ipvs.services) == {KERNEL_KEY}
    assert world.status.exceptions == []


async def test_the_fake_keeps_the_contract_of_the_packet_filter() -> None:
    found = await complaints(FakePacketFilter)
    assert {name: text for name, text in found.items() if text} == {}
