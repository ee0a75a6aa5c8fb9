"""What somebody says unasked of an address, on real links."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from link_namespaces import MINE, THEIRS, Pair, Result, with_neighbour
from waiting_for import until

from lvs_agent.decide.claims import Claim, read_gratuitous_arp, read_unsolicited_advertisement
from lvs_agent.decide.kernel_state import IPAddress
from lvs_agent.kernel.announce import frames
from lvs_agent.kernel.claims import AT_ONCE, KernelClaims
from lvs_agent.kernel.testing import NetworkNamespace

VIP4, VIP6 = ip_address("192.168.4.15"), ip_address("2001:db8:4::15")
OTHER4, OTHER6 = ip_address("192.168.4.16"), ip_address("2001:db8:4::16")
WATCHED = {VIP4, VIP6}


@pytest.fixture
def pair(namespace: NetworkNamespace) -> Iterator[Pair]:
    """e0 in the namespace, with the VIPs; its other end, the neighbour's, in one beside it."""
    with with_neighbour(namespace) as found:
        namespace.ip("addr", "add", f"{VIP4}/32", "dev", "e0")
        namespace.ip("addr", "add", f"{VIP6}/128", "dev", "e0", "nodad")
        yield found


class Ear:
    """Claims as they are heard, and how often somebody was woken for them."""

    def __init__(self) -> None:
        self.woken = 0
        self.claims = KernelClaims(self._wake)
        self.heard: set[Claim] = set()

    def _wake(self) -> None:
        self.woken += 1

    def has_heard(self, *claims: Claim) -> bool:
        self.heard |= self.claims.hear(WATCHED)
        return self.heard >= set(claims)


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[Ear]:
    ear = Ear()
    assert ear.claims.hear(WATCHED) == frozenset()
    try:
        yield ear
    finally:
        ear.claims.close()


def in_namespace(node: NetworkNamespace, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    return node.run(lambda: asyncio.run(work()))


def send(neighbour: NetworkNamespace, *sent: bytes) -> None:
    def run() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
            sender.bind(("e0p", 0))
            for frame in sent:
                sender.send(frame)

    neighbour.run(run)


def test_both_families_are_heard_of_addresses_that_are_here_too(pair: Pair) -> None:
    node, neighbour = pair

    async def work() -> None:
        async with listening() as ear:
            for address in (VIP4, VIP6):
                send(neighbour, *frames(THEIRS, address))
                await until(lambda one=address: ear.has_heard(Claim(one, THEIRS)))  # type: ignore[misc]  # mypy infers no lambda with a default
            assert ear.woken >= 1
            assert ear.claims.hear(WATCHED) == frozenset(), "each is told once"

    in_namespace(node, work)


def test_what_is_of_other_addresses_wakes_nobody(pair: Pair) -> None:
    node, neighbour = pair

    async def work() -> None:
        async with listening() as ear:
            send(neighbour, *(frames(THEIRS, address)[0] for address in (OTHER4, OTHER6, VIP4, VIP6)))
            await until(lambda: ear.has_heard(Claim(VIP4, THEIRS), Claim(VIP6, THEIRS)))
            assert ear.heard == {Claim(VIP4, THEIRS), Claim(VIP6, THEIRS)}
            assert ear.woken <= 2

    in_namespace(node, work)


def test_ordinary_neighbour_traffic_is_turned_away_in_the_kernel(pair: Pair) -> None:
    """Questions, answers to them, and what this node says itself: the sockets get none of it."""
    node, neighbour = pair
    neighbour.ip("addr", "add", "192.168.4.1/24", "dev", "e0p")
    neighbour.ip("addr", "add", "2001:db8:4::1/64", "dev", "e0p", "nodad")
    node.ip("addr", "add", "192.168.4.2/24", "dev", "e0")
    node.ip("addr", "add", "2001:db8:4::2/64", "dev", "e0", "nodad")

    async def work() -> None:
        async with listening() as ear:
            for opened in ear.claims._sockets:  # what they get stays there
                asyncio.get_running_loop().remove_reader(opened)
            for there in ("192.168.4.1", "2001:db8:4::1"):
                node.ip("neigh", "replace", there, "lladdr", THEIRS.hex(":"), "nud", "probe", "dev", "e0")
                await until(lambda one=there: "REACHABLE" in node.ip("neigh", "show", "to", one))  # type: ignore[misc]  # mypy infers no lambda with a default
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
                sender.bind(("e0", 0))
                for frame in (*frames(MINE, VIP4), *frames(MINE, VIP6)):
                    sender.send(frame)
            assert [one.family for one in ear.claims._sockets if _has_something(one)] == []

    in_namespace(node, work)


def _has_something(opened: socket.socket) -> bool:
    with contextlib.suppress(BlockingIOError):
        return bool(opened.recv(1, socket.MSG_PEEK))
    return False


def test_a_flood_wakes_ten_times_a_second_at_most(pair: Pair) -> None:
    node, neighbour = pair

    async def work() -> None:
        async with listening() as ear:
            began = time.monotonic()
            while ear.woken < 3:
                send(neighbour, *frames(THEIRS, VIP4) * AT_ONCE)
                await asyncio.sleep(0)
            assert time.monotonic() - began >= 0.2

    in_namespace(node, work)


def test_without_addresses_nothing_is_open(pair: Pair) -> None:
    node, neighbour = pair

    async def work() -> None:
        async with listening() as ear:
            assert ear.claims.hear(frozenset()) == frozenset()
            send(neighbour, *frames(THEIRS, VIP4))
            assert ear.claims._sockets == []
            assert ear.claims.hear(WATCHED) == frozenset()
            send(neighbour, *frames(THEIRS, VIP4))
            await until(lambda: ear.has_heard(Claim(VIP4, THEIRS)))

    in_namespace(node, work)


def arp(operation: int, sender: str, target: str, *, hardware: str = "0001 0800 06 04") -> bytes:
    addresses = ip_address(sender).packed + bytes(6) + ip_address(target).packed
    return bytes.fromhex(f"{hardware} {operation:04x} {THEIRS.hex()}") + addresses


@pytest.mark.parametrize(
    ("packet", "claimed"),
    [
        (arp(1, "192.168.4.15", "192.168.4.15"), VIP4),
        (arp(2, "192.168.4.15", "192.168.4.15"), VIP4),
        (arp(1, "192.168.4.1", "192.168.4.15"), None),
        (arp(1, "0.0.0.0", "192.168.4.15"), None),
        (arp(1, "0.0.0.0", "0.0.0.0"), None),
        (arp(1, "192.168.4.15", "192.168.4.15", hardware="0020 0800 06 04"), None),
        (arp(1, "192.168.4.15", "192.168.4.15")[:27], None),
    ],
    ids=["announcement", "reply", "question", "probe", "nobody", "no Ethernet", "cut"],
)
def test_what_arp_claims(packet: bytes, claimed: IPAddress | None) -> None:
    assert read_gratuitous_arp(packet) == (None if claimed is None else Claim(claimed, THEIRS))


def advertisement(*options: bytes, flags: int = 0x20, kind: int = 136, code: int = 0) -> bytes:
    return bytes((kind, code, 0, 0, flags, 0, 0, 0)) + VIP6.packed + b"".join(options)


TARGET = b"\x02\x01" + THEIRS
NONCE = b"\x0e\x01" + bytes(6)


@pytest.mark.parametrize(
    ("message", "hop_limit", "is_claim"),
    [
        (advertisement(TARGET), 255, True),
        (advertisement(NONCE, TARGET), 255, True),
        (advertisement(TARGET), 254, False),
        (advertisement(TARGET, flags=0x60), 255, False),
        (advertisement(TARGET, kind=135), 255, False),
        (advertisement(TARGET, code=1), 255, False),
        (advertisement(), 255, False),
        (advertisement(b"\x0e\x00" + bytes(6), TARGET), 255, False),
        (advertisement()[:23], 255, False),
    ],
    ids=["plain", "another option", "hops", "solicited", "question", "code", "no MAC", "endless option", "cut"],
)
def test_what_an_advertisement_claims(message: bytes, hop_limit: int, is_claim: bool) -> None:
    assert read_unsolicited_advertisement(message, hop_limit) == (Claim(VIP6, THEIRS) if is_claim else None)
