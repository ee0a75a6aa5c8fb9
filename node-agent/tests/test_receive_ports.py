"""Ports for GUE: the decision, its order in the loop, what outlives a restart, and the kernel's own ports."""

import struct
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from agent_world import NO_PART, VIP, World, full_disk, real_server, record_order
from cleaning import clean

from lvs_agent.decide.kernel_state import AddressFamily, ReceivePort
from lvs_agent.decide.node_word import Carried
from lvs_agent.decide.packet_table import ClampRule, PacketRules, PacketTable, UnwrapRule
from lvs_agent.disk.ledger import LedgerFile
from lvs_agent.errors import ReceivePortError
from lvs_agent.kernel.fake_receive_ports import FakeReceivePorts
from lvs_agent.kernel.netlink_wire import attribute
from lvs_agent.kernel.receive_ports import KernelReceivePorts, read_port, request_payload
from lvs_agent.kernel.receive_ports_contract import complaints
from lvs_agent.serve.plan_text import plan_lines
from lvs_api.bind_device import BindDevice
from lvs_api.conditions import ConditionType, find_condition
from lvs_api.lvs_node import NodeAddressState
from lvs_core.plan import NodePlan

FOUR, OTHER = ReceivePort(AddressFamily.IPV4, 6080), ReceivePort(AddressFamily.IPV4, 6081)
SIX = ReceivePort(AddressFamily.IPV6, 6080)
VIP6 = "2001:db8::15"
DIRECTOR = ip_address("192.168.4.100")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def by_gue(*ports: int, vip: str = VIP) -> NodePlan:
    """A real server with a VIP to which packets come at these ports."""
    device = BindDevice.TUNL0 if ip_address(vip).version == 4 else BindDevice.IP6TNL0
    plan = real_server(vip, device=device)
    bind = tuple(replace(bound, gue_ports=ports) for bound in plan.bind)
    return replace(plan, bind=bind, director_addresses=(DIRECTOR,))


def state(world: World) -> tuple[NodeAddressState, str | None]:
    """Of the one VIP."""
    (one,) = world.status.addresses or ()
    return one.state, one.message


async def test_a_port_is_open_before_the_address_is_bound_and_closed_after_it_went(world: World) -> None:
    order = record_order(world)
    opened, closed = world.receive_ports.open, world.receive_ports.close_port

    def open_port(port: ReceivePort) -> None:
        assert world.packet_filter.table is not None, "strangers are not kept out yet"
        order.append("open")
        opened(port)

    def close_port(port: ReceivePort) -> None:
        order.append("close")
        closed(port)

    world.receive_ports.open, world.receive_ports.close_port = open_port, close_port
    await world.do(by_gue(6080), rounds=3)
    assert world.receive_ports.present == {FOUR}
    assert state(world) == (NodeAddressState.BOUND, None)
    await world.do(NO_PART, rounds=3)
    assert world.receive_ports.present == set()
    assert [one for one in order if one in {"open", "bind", "unbind", "close"}] == ["open", "bind", "unbind", "close"]
    assert world.metric("lvs_agent_kernel_writes_total", kind="receive_port") == 2
    assert world.metric("lvs_agent_repairs_total", kind="receive_port") == 0


async def test_nothing_is_looked_at_where_nobody_speaks_gue(world: World) -> None:
    await world.do(real_server(VIP, device=BindDevice.TUNL0), rounds=3)
    assert world.receive_ports.reads == 0


async def test_directors_only_reach_the_port_and_segments_fit_into_it(world: World) -> None:
    await world.do(by_gue(6080))
    assert world.packet_filter.table == PacketTable(
        rules=PacketRules(
            unwraps=frozenset({UnwrapRule(4, DIRECTOR), UnwrapRule(17, DIRECTOR, 6080)}),
            clamps=frozenset({ClampRule(ip_address(VIP), 1420)}),
        )
    )


async def test_a_port_that_goes_is_guarded_until_it_is_closed(world: World) -> None:
    await world.do(by_gue(6080, 6081))
    assert world.receive_ports.present == {FOUR, OTHER}
    closed = world.receive_ports.close_port

    def close_port(port: ReceivePort) -> None:
        assert world.packet_filter.table is not None
        assert UnwrapRule(17, DIRECTOR, port.port) in world.packet_filter.table.rules.unwraps
        closed(port)

    world.receive_ports.close_port = close_port
    await world.do(by_gue(6081), rounds=2)
    assert world.receive_ports.present == {OTHER}
    assert world.packet_filter.table is not None
    assert UnwrapRule(17, DIRECTOR, 6080) not in world.packet_filter.table.rules.unwraps
    assert world.bound() == {f"{VIP}@tunl0"}


async def test_a_port_that_can_not_be_closed_stays_guarded_when_the_last_address_has_gone(world: World) -> None:
    await world.do(by_gue(6080))
    closed = world.receive_ports.close_port

    def refuse(port: ReceivePort) -> None:
        raise ReceivePortError(f"{port} can not be closed")

    world.receive_ports.close_port = refuse
    await world.do(replace(NO_PART, director_addresses=(DIRECTOR,)), rounds=2)
    assert world.bound() == set()
    assert world.packet_filter.table is not None
    assert world.packet_filter.table.rules.unwraps == {UnwrapRule(17, DIRECTOR, 6080)}
    world.receive_ports.close_port = closed
    await world.later(1)
    await world.later(1)
    assert world.packet_filter.table is None


async def test_each_family_has_its_port(world: World) -> None:
    both = replace(by_gue(6080), bind=by_gue(6080).bind + by_gue(6080, vip=VIP6).bind)
    await world.do(both)
    assert world.receive_ports.present == {FOUR, SIX}


async def test_a_port_that_somebody_closed_is_opened_again(world: World) -> None:
    await world.do(by_gue(6080), rounds=2)
    world.receive_ports.present.clear()
    await world.later(1)
    assert world.receive_ports.present == {FOUR}
    assert world.metric("lvs_agent_repairs_total", kind="receive_port") == 1


async def test_a_port_that_something_else_has_is_named(world: World) -> None:
    world.receive_ports.taken = {FOUR}
    await world.do(by_gue(6080), rounds=2)
    said, message = state(world)
    assert said is NodeAddressState.FAILED
    assert message is not None
    assert "UDP port 6080 for GUE by IPv4: something else on this node has it" in message
    world.receive_ports.taken = set()
    await world.later(1)
    assert world.bound() == {f"{VIP}@tunl0"}
    assert state(world) == (NodeAddressState.BOUND, None)


async def test_one_port_that_is_not_open_takes_nothing_from_what_comes_by_another(world: World) -> None:
    """Or as it is: another service, or the former port of the same one, uses the same VIP."""
    world.receive_ports.taken = {OTHER}
    await world.do(by_gue(6080, 6081), rounds=2)
    assert world.bound() == {f"{VIP}@tunl0"}
    (one,) = world.status.addresses or ()
    assert (one.state, one.closed_ports) == (NodeAddressState.FAILED, [6081])
    word = world.agent.word()
    assert word is not None
    vip = ip_address(VIP)
    assert word.carried == {Carried(vip, BindDevice.TUNL0), Carried(vip, BindDevice.TUNL0, 6080)}


async def test_an_address_whose_port_is_lost_stays_and_is_not_called_bound(world: World) -> None:
    await world.do(by_gue(6080), rounds=2)
    world.receive_ports.present, world.receive_ports.taken = set(), {FOUR}
    await world.later(1)
    assert world.bound() == {f"{VIP}@tunl0"}
    assert state(world)[0] is NodeAddressState.FAILED


async def test_without_the_module_the_error_says_what_to_load(world: World) -> None:
    world.receive_ports.module = False
    await world.do(by_gue(6080))
    message = state(world)[1]
    assert message is not None
    assert "load the module fou" in message


async def test_a_port_of_before_the_restart_is_closed_when_it_is_no_longer_wanted(world: World) -> None:
    await world.do(by_gue(6080), rounds=2)
    world.restart()
    await world.do(NO_PART, rounds=2)
    assert world.receive_ports.present == set()


async def test_a_port_of_somebody_else_that_is_not_wanted_is_left_alone(world: World) -> None:
    world.receive_ports.present = {OTHER}
    await world.do(by_gue(6080), rounds=2)
    await world.do(NO_PART, rounds=2)
    assert world.receive_ports.present == {OTHER}


async def test_strangers_to_what_something_else_has_are_not_kept_from_it(world: World) -> None:
    """A program's clients are none of our business, also where a user names its port."""
    ruled: list[PacketRules] = []
    replace_table = world.packet_filter.replace

    async def note(rules: PacketRules) -> None:
        ruled.append(rules)
        await replace_table(rules)

    world.packet_filter.replace = note
    world.receive_ports.taken = {FOUR}
    await world.do(by_gue(6080, 6081), rounds=3)
    assert ruled
    assert not [rules for rules in ruled if UnwrapRule(17, DIRECTOR, 6080) in rules.unwraps]
    assert UnwrapRule(17, DIRECTOR, 6081) in ruled[-1].unwraps
    world.receive_ports.taken = set()
    await world.later(1)
    assert UnwrapRule(17, DIRECTOR, 6080) in ruled[-1].unwraps


async def test_a_port_that_somebody_opened_before_is_used_and_left_as_it_is(world: World) -> None:
    world.receive_ports.present = {FOUR}
    await world.do(by_gue(6080), rounds=2)
    world.restart()
    await world.do(by_gue(6080), rounds=2)
    assert state(world) == (NodeAddressState.BOUND, None)
    assert world.packet_filter.table is not None
    assert world.packet_filter.table.rules.unwraps == {UnwrapRule(4, DIRECTOR)}
    said = find_condition(world.status.conditions, ConditionType.TUNNELS_UNGUARDED)
    assert said is not None
    assert (said.status, said.reason) == ("True", "TunnelShared")
    assert "somebody else opened UDP port 6080 for GUE by IPv4" in said.message
    await world.do(NO_PART, rounds=2)
    assert world.receive_ports.present == {FOUR}
    assert find_condition(world.status.conditions, ConditionType.TUNNELS_UNGUARDED) is None


@pytest.mark.parametrize("ledger", [None, b"damaged"])
async def test_a_port_of_before_the_ledger_was_lost_is_ours_with_its_address(
    world: World, ledger: bytes | None
) -> None:
    await world.do(by_gue(6080), rounds=2)
    file = world.directory / "ledger"
    if ledger is None:
        file.unlink()
    else:
        file.write_bytes(ledger)
    world.restart()
    await world.do(by_gue(6080), rounds=2)
    assert world.packet_filter.table is not None
    assert UnwrapRule(17, DIRECTOR, 6080) in world.packet_filter.table.rules.unwraps
    await world.do(NO_PART, rounds=2)
    assert world.receive_ports.present == set()


async def test_a_ledger_of_another_boot_names_no_port(world: World) -> None:
    await world.do(by_gue(6080), rounds=2)
    world.boot_id = "boot-2"
    world.links.addresses = {one for one in world.links.addresses if one.device != "tunl0"}
    world.restart()
    await world.do(NO_PART, rounds=2)
    assert world.receive_ports.present == {FOUR}, "somebody else's, opened before the agent began"


async def test_our_port_is_guarded_where_somebody_else_uses_the_tunnel(world: World) -> None:
    """Who keeps strangers out of his tunnel by his own filter does not know of our port."""
    world.links.add_device("site-b", kind="ipip")
    await world.do(by_gue(6080), rounds=2)
    assert world.packet_filter.table is not None
    assert world.packet_filter.table.rules.unwraps == {UnwrapRule(17, DIRECTOR, 6080)}


async def test_by_a_provisional_plan_no_port_is_closed(world: World) -> None:
    await world.do(by_gue(6080, 6081), rounds=2)
    world.restart()
    await world.do(replace(by_gue(6081), provisional=True), rounds=2)
    assert world.receive_ports.present == {FOUR, OTHER}
    assert world.packet_filter.table is not None
    assert UnwrapRule(17, DIRECTOR, 6080) in world.packet_filter.table.rules.unwraps


async def test_ports_that_can_not_be_read_are_not_taken_for_none(world: World) -> None:
    await world.do(by_gue(6080), rounds=2)
    read = world.receive_ports.read

    def fail() -> frozenset[ReceivePort]:
        raise ReceivePortError("ports for GUE could not be read in one piece")

    world.receive_ports.read = fail
    await world.later(1)
    assert state(world) == (NodeAddressState.FAILED, "ports for GUE could not be read in one piece")
    assert world.bound() == {f"{VIP}@tunl0"}
    await world.do(NO_PART, rounds=2)
    assert world.receive_ports.present == {FOUR}
    world.receive_ports.read = read
    await world.later(1)
    assert world.receive_ports.present == set()


async def test_a_full_disk_holds_up_new_ports(world: World) -> None:
    with full_disk():
        await world.do(by_gue(6080), rounds=2)
        assert world.receive_ports.present == set()
    await world.later(20)
    assert world.receive_ports.present == {FOUR}


async def test_cleanup_closes_ours(world: World) -> None:
    world.receive_ports.present = {OTHER}
    await world.do(by_gue(6080), rounds=2)
    assert not await clean(world)
    assert world.receive_ports.present == {OTHER}
    assert LedgerFile(world.directory / "ledger", world.boot_id).read().ports == frozenset()


async def test_cleanup_tells_what_it_could_not_close(world: World) -> None:
    await world.do(by_gue(6080), rounds=2)

    def refuse(port: ReceivePort) -> None:
        raise ReceivePortError(f"{port} can not be closed")

    world.receive_ports.close_port = refuse
    assert f"{FOUR} can not be closed" in await clean(world)
    assert LedgerFile(world.directory / "ledger", world.boot_id).read().ports == {FOUR}


def test_the_plan_s_text_tells_of_ports() -> None:
    assert f"  bind {VIP} on tunl0, silent, by GUE to UDP port 6080, 6081" in plan_lines(by_gue(6080, 6081))


def test_the_fake_answers_as_the_kernel_does() -> None:
    ports = FakeReceivePorts()
    assert set(complaints(ports, ports.occupied).values()) == {None}


def test_a_request_names_port_family_and_type() -> None:
    expected = struct.pack("=HH", 6, 1) + b"\x17\xc0\0\0" + struct.pack("=HH", 5, 2) + b"\x02\0\0\0"
    assert request_payload(FOUR) == expected + struct.pack("=HH", 5, 4) + b"\x02\0\0\0"
    assert request_payload(SIX)[8:16] == struct.pack("=HH", 5, 2) + b"\x0a\0\0\0"


LISTED = (attribute(2, b"\x02"), attribute(1, b"\x17\xc0"), attribute(10, bytes(2)), attribute(3, bytes(1)))
"""As fou_fill_info has it, without the type."""
EVERYWHERE = (attribute(11, bytes(4)), attribute(6, bytes(4)), attribute(8, bytes(4)))


@pytest.mark.parametrize(
    ("attributes", "port"),
    [
        ((*LISTED, attribute(4, b"\x02"), *EVERYWHERE), FOUR),
        ((*LISTED, attribute(4, b"\x02")), FOUR),
        ((*LISTED, attribute(4, b"\x01"), *EVERYWHERE), None),
        ((*LISTED, attribute(4, b"\x02"), attribute(6, b"\x7f\0\0\1")), None),
        ((*LISTED, attribute(4, b"\x02"), attribute(8, b"\x0a\0\0\1")), None),
        ((*LISTED, attribute(4, b"\x02"), attribute(11, b"\2\0\0\0")), None),
    ],
)
def test_only_a_port_that_takes_gue_of_anybody_is_one(attributes: Sequence[bytes], port: ReceivePort | None) -> None:
    assert read_port(b"".join(attributes)) == port


def test_without_the_module_there_is_no_port_and_none_to_close() -> None:
    """On whatever kernel runs this: nothing is loaded by looking."""
    ports = KernelReceivePorts()
    try:
        before = ports.read()
        ports.close_port(ReceivePort(AddressFamily.IPV4, 1))
        assert ports.read() == before
    finally:
        ports.close()
