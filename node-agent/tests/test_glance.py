"""What is seen of the IPVS table between two readings of all of it."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from agent_world import SERVICE, VIP, World, destination, director, member, service

from lvs_agent.decide.kernel_state import (
    DestinationSettings,
    DestinationState,
    ForwardingMethod,
    KernelIpvs,
    ServiceSettings,
    ServiceState,
)
from lvs_agent.errors import IpvsReadFailed
from lvs_agent.kernel.ipvs_summary import TableSummary, digest_of
from lvs_api.network_types import ForwardingMethod as Method
from lvs_api.network_types import Protocol
from lvs_core.plan import VirtualServerKey

NAT = DestinationSettings(weight=1, method=ForwardingMethod.MASQUERADE)
PLAN = director(service(member(100), member(101)))
HEADING = b"""\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
"""
SHOWN = (
    HEADING
    + b"""\
TCP  C0A80A64:0050 wrr persistent 300 FFFFFFFF
  -> C0A80A15:0050      Masq    1      0          0         \n\
  -> C0A80A16:0050      Tunnel  2147483647 2147483647 12        \n\
TCP  [2001:0db8:0000:0000:0000:0000:0000:0001]:0050 rr\x20
  -> [2001:0db8:0000:0000:0000:0000:0000:0021]:0050      Route   1      3          4         \n\
FWM  00000007 rr\x20
"""
)
"""As ip_vs_info_seq_show writes it: names and weights take as many columns as they need, connections always ten."""


@pytest.mark.parametrize(
    ("shown", "instead"),
    [
        (b"Masq    1      0          0         \n", b"Masq    1      7          1234567890\n"),
        (b"2147483647 2147483647 12        \n", b"2147483647 0          0         \n"),
        (b"Route   1      3          4         \n", b"Route   1      0          0         \n"),
        (b"(size=4096)", b"(size=8192)"),
    ],
)
def test_connections_do_not_count(shown: bytes, instead: bytes) -> None:
    assert shown in SHOWN
    assert digest_of(SHOWN.replace(shown, instead)) == digest_of(SHOWN)


@pytest.mark.parametrize(
    ("shown", "instead"),
    [
        (b"Masq    1 ", b"Masq    2 "),
        (b"Masq    1 ", b"Route   1 "),
        (b"Tunnel  2147483647 ", b"Tunnel  2147483646 "),
        (b"wrr persistent", b"wlc persistent"),
        (b"persistent 300", b"persistent 360"),
        (b"C0A80A16:0050", b"C0A80A17:0050"),
        (b"FWM  00000007 rr \n", b""),
        (b"0021]:0050      Route   1 ", b"0021]:0050      Route   0 "),
    ],
)
def test_everything_else_does(shown: bytes, instead: bytes) -> None:
    assert shown in SHOWN
    assert digest_of(SHOWN.replace(shown, instead)) != digest_of(SHOWN)


def test_the_file_is_read_from_its_beginning_each_time(tmp_path: Path) -> None:
    path = tmp_path / "ip_vs"
    summary = TableSummary(path)
    assert summary.read() is None
    path.write_bytes(SHOWN)
    assert [summary.read(), summary.read()] == [digest_of(SHOWN)] * 2
    path.write_bytes(HEADING)
    assert summary.read() == digest_of(HEADING)
    summary.close()
    path.unlink()
    assert summary.read() is None


class Slow:
    """A kernel that takes a hundredth of a second to show its table in short, and a tenth to tell all of it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._glance, self._read = world.ipvs.glance, world.ipvs.read
        self.reads = 0

    def glance(self) -> bytes | None:
        self._world.now += 0.01
        return self._glance()

    def read(self) -> KernelIpvs:
        self._world.now += 0.1
        self.reads += 1
        return self._read()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def slow(world: World, monkeypatch: pytest.MonkeyPatch) -> Slow:
    made = Slow(world)
    monkeypatch.setattr(world.ipvs, "glance", made.glance)
    monkeypatch.setattr(world.ipvs, "read", made.read)
    return made


async def settled(world: World, slow: Slow) -> None:
    """The plan is carried out, the table read once more after that, and then it is quiet for a while."""
    await world.do(PLAN)
    await world.later(60)
    await world.later(6)
    slow.reads = 0


def weigh(world: World, number: int, weight: int) -> None:
    """Somebody else sets a weight."""
    state = world.ipvs.services[SERVICE]
    found = state.destinations[destination(number)]
    changed = found._replace(settings=replace(found.settings, weight=weight))
    world.ipvs.services[SERVICE] = replace(state, destinations={**state.destinations, destination(number): changed})


async def test_a_foreign_weight_is_seen_by_a_glance_and_put_right(world: World, slow: Slow) -> None:
    await settled(world, slow)
    await world.later(1.5)
    assert slow.reads == 0
    weigh(world, 100, 7)
    await world.later(1.5)
    assert world.weights() == {"100": 1, "101": 1}
    assert slow.reads == 1


async def test_changes_one_after_the_other_do_not_have_all_read_all_the_time(world: World, slow: Slow) -> None:
    """Another director's entries beside ours: reading takes a fiftieth of the time at most."""
    await settled(world, slow)
    other = replace(SERVICE, port=81)
    for turn in range(10):
        changed = {destination(number): DestinationState(settings=NAT) for number in range(turn + 1)}
        world.ipvs.services[other] = ServiceState(settings=ServiceSettings(scheduler="rr"), destinations=changed)
        await world.later(1.5)
    assert 2 <= slow.reads <= 4


async def test_without_glances_it_is_seen_when_all_is_read(world: World, slow: Slow) -> None:
    world.ipvs.shows_summary = False
    await settled(world, slow)
    await world.later(1.5)
    weigh(world, 100, 7)
    await world.later(1.5)
    assert world.weights() == {"100": 7, "101": 1}
    await world.later(30)
    assert world.weights() == {"100": 1, "101": 1}


async def test_a_change_that_a_glance_showed_is_not_forgotten_when_reading_fails(
    world: World, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settled(world, slow)
    weigh(world, 100, 7)

    def fail() -> KernelIpvs:
        raise IpvsReadFailed("the table could not be read in one piece")

    monkeypatch.setattr(world.ipvs, "read", fail)
    await world.later(1.5)
    monkeypatch.setattr(world.ipvs, "read", slow.read)
    await world.later(0.1)
    assert world.weights() == {"100": 1, "101": 1}


async def test_our_own_writes_are_no_foreign_change(world: World, slow: Slow) -> None:
    """After them all is read once, to know what a glance shows from then on."""
    await settled(world, slow)
    await world.do(director(service(member(100, weight=5), member(101))))
    writes = world.ipvs.writes
    for _ in range(6):
        await world.later(1.5)
    assert (slow.reads, world.ipvs.writes) == (1, writes)
    weigh(world, 100, 7)
    await world.later(1.5)
    assert world.weights() == {"100": 5, "101": 1}


@pytest.fixture
def looks(world: World, slow: Slow, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done at the kernel, in its order."""
    assert slow.reads == 0
    done: list[str] = []

    def noted(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def do(*arguments: object) -> object:
            done.append(name)
            return call(*arguments)

        return do

    for name in ("glance", "read", "read_only", "apply"):
        monkeypatch.setattr(world.ipvs, name, noted(name, getattr(world.ipvs, name)))
    return done


async def test_before_weights_change_a_glance_does_for_a_reading(world: World, slow: Slow, looks: list[str]) -> None:
    await settled(world, slow)
    looks.clear()
    await world.do(director(service(member(100, weight=5), member(101, weight=6))))
    assert looks == ["glance", "apply", "read_only"]
    assert world.weights() == {"100": 5, "101": 6}


async def test_what_a_glance_shows_to_be_another_is_read_before(world: World, slow: Slow, looks: list[str]) -> None:
    """Somebody took away the real server that is to weigh more: it is made, not edited."""
    await settled(world, slow)
    state = world.ipvs.services[SERVICE]
    world.ipvs.services[SERVICE] = replace(state, destinations={destination(101): state.destinations[destination(101)]})
    looks.clear()
    await world.do(director(service(member(100, weight=5), member(101))))
    assert looks == ["glance", "read_only", "apply", "read_only"]
    assert world.weights() == {"100": 5, "101": 1}


async def test_a_glance_tells_nothing_of_connections_and_who_leaves_is_read_first(world: World, slow: Slow) -> None:
    """They came after the table was read: the real server has them until they end."""
    await settled(world, slow)
    world.ipvs.set_connections(SERVICE, destination(100), active=1)
    await world.do(director(service(member(101, weight=5))))
    assert world.weights() == {"100": 0, "101": 5}


async def test_nor_does_who_is_asked_to_drain_count_as_drained_before_it_is_read(world: World, slow: Slow) -> None:
    """It had no weight, but a persistent client brought it a connection."""
    await settled(world, slow)
    await world.do(director(service(member(100, weight=0), member(101))))
    await world.later(60)
    await world.later(6)
    world.ipvs.set_connections(SERVICE, destination(100), active=1)
    await world.do(director(service(member(100, weight=0, draining_seconds=60), member(101, weight=5))))
    assert world.weights() == {"100": 0, "101": 5}
    assert world.status.drained == []


async def test_nor_of_those_of_a_method_that_is_edited(world: World, slow: Slow) -> None:
    await settled(world, slow)
    world.ipvs.set_connections(SERVICE, destination(100), active=1)
    edited = member(100, method=Method.MASQUERADE, node="node-1")
    await world.do(director(service(edited, member(101, weight=5))))
    assert world.weights() == {"100": 1, "101": 5}
    assert world.exception().draining == 1


async def test_one_service_of_very_many_is_read(world: World, slow: Slow, looks: list[str]) -> None:
    """That takes less than a glance at all of them."""
    crowd = [
        service(member(100), key=VirtualServerKey(address=ip_address(VIP), port=port, protocol=Protocol.TCP))
        for port in range(81, 101)
    ]
    await world.do(director(service(member(100)), *crowd))
    await world.later(60)
    await world.later(6)
    looks.clear()
    await world.do(director(service(member(100, weight=5)), *crowd))
    assert looks == ["read_only", "apply", "read_only"]
    assert slow.reads
