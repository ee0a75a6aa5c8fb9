"""The duplicate probe on real links, and against what its fake says."""

import asyncio
import socket
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest
from link_namespaces import MINE, THEIRS, Pair, with_neighbour
from waiting_for import until

from lvs_agent.decide.internet_checksum import internet_checksum
from lvs_agent.decide.kernel_state import IPAddress
from lvs_agent.errors import LinkNotAsked
from lvs_agent.kernel.duplicate_probe import MAX_CLAIMANTS, PacketDuplicateProbe, claimed_by, question_frame
from lvs_agent.kernel.fake_neighbours import FakeDuplicateProbe
from lvs_agent.kernel.testing import NetworkNamespace

Answers = Mapping[IPAddress, frozenset[bytes]]

VIP4, VIP6 = ip_address("192.168.4.15"), ip_address("2001:db8:4::15")
OTHER = ip_address("192.168.4.16")


@pytest.fixture
def pair(namespace: NetworkNamespace) -> Iterator[Pair]:
    """e0 in the namespace; its other end, the neighbour's, in one beside it."""
    with with_neighbour(namespace) as found:
        yield found


def ask(
    node: NetworkNamespace,
    *addresses: IPAddress,
    device: str = "e0",
    heed_probes: bool = True,
    sources: Collection[IPAddress] = (),
) -> Answers:
    probe = PacketDuplicateProbe()
    return node.run(lambda: asyncio.run(probe.ask(device, addresses, heed_probes=heed_probes, sources=sources)))


@contextmanager
def asking(neighbour: NetworkNamespace, *addresses: IPAddress) -> Iterator[None]:
    """The neighbour asks who has the addresses, over and over."""
    opened = neighbour.run(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    neighbour.run(lambda: opened.bind(("e0p", 0)))
    end = threading.Event()

    def run() -> None:
        while not end.wait(0.02):
            for address in addresses:
                opened.send(question_frame(THEIRS, address))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        opened.close()


def sysctl(namespace: NetworkNamespace, name: str, value: int) -> None:
    """Set one below /proc/sys/net/ipv4/conf."""

    def write() -> None:
        with open(f"/proc/sys/net/ipv4/conf/{name}", "w", encoding="ascii") as file:  # noqa: PTH123 (one line)
            file.write(str(value))

    namespace.run(write)


def test_a_neighbour_that_has_the_address_is_named(pair: Pair) -> None:
    node, neighbour = pair
    neighbour.ip("addr", "add", f"{VIP4}/32", "dev", "e0p")
    neighbour.ip("addr", "add", f"{VIP6}/128", "dev", "e0p", "nodad")
    assert ask(node, VIP4, VIP6, OTHER) == {VIP4: {THEIRS}, VIP6: {THEIRS}}


def test_who_asks_at_the_same_time_counts_where_probes_are_heeded(pair: Pair) -> None:
    node, neighbour = pair
    with asking(neighbour, VIP4, VIP6):
        assert ask(node, VIP4, VIP6) == {VIP4: {THEIRS}, VIP6: {THEIRS}}
        assert ask(node, VIP4, VIP6, heed_probes=False) == {}
        neighbour.ip("addr", "add", f"{VIP4}/32", "dev", "e0p")
        assert ask(node, VIP4, VIP6, heed_probes=False) == {VIP4: {THEIRS}}


def test_who_claims_an_address_with_ever_new_macs_is_not_remembered_without_a_bound(pair: Pair) -> None:
    node, neighbour = pair
    opened = neighbour.run(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    neighbour.run(lambda: opened.bind(("e0p", 0)))
    end = threading.Event()

    def run() -> None:
        while not end.wait(0.02):
            for number in range(2 * MAX_CLAIMANTS):
                opened.send(question_frame(b"\x02" + number.to_bytes(5), OTHER, VIP4))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert len(ask(node, VIP4)[VIP4]) == MAX_CLAIMANTS
    finally:
        end.set()
        thread.join()
        opened.close()


def test_nobody_answers_for_what_nobody_has(pair: Pair) -> None:
    node, neighbour = pair
    neighbour.ip("addr", "add", "192.168.4.1/24", "dev", "e0p")
    node.ip("addr", "add", "192.168.4.2/24", "dev", "e0")
    assert ask(node, VIP4, VIP6) == {}


def test_a_silenced_real_server_is_not_heard(pair: Pair) -> None:
    node, neighbour = pair
    neighbour.ip("addr", "add", "192.168.4.1/24", "dev", "e0p")
    neighbour.ip("addr", "add", f"{VIP4}/32", "dev", "lo")
    neighbour.ip("addr", "add", f"{VIP6}/128", "dev", "lo")
    assert ask(node, VIP4, VIP6) == {VIP4: {THEIRS}}, "not silenced, and IPv6 is silent by itself"
    sysctl(neighbour, "all/arp_ignore", 1)
    assert ask(node, VIP4, VIP6) == {}


def test_the_neighbour_learns_nothing_from_it(pair: Pair) -> None:
    node, neighbour = pair
    neighbour.ip("addr", "add", f"{VIP4}/24", "dev", "e0p")
    ask(node, VIP4, OTHER)
    assert MINE.hex(":") not in neighbour.ip("neigh", "show", "nud", "all")


def link_local(namespace: NetworkNamespace, device: str) -> IPAddress:
    """The address that the kernel gives a device by itself, once it may be used."""

    def listed() -> list[str]:
        return namespace.ip("-6", "-o", "addr", "show", "dev", device, "scope", "link", "-tentative").split()

    asyncio.run(until(lambda: "inet6" in listed()))
    return ip_interface(listed()[listed().index("inet6") + 1]).ip


def test_a_question_from_an_own_address_is_answered_the_same(pair: Pair) -> None:
    node, neighbour = pair
    node.ip("addr", "add", "192.168.4.1/24", "dev", "e0")
    neighbour.ip("addr", "add", f"{VIP4}/24", "dev", "e0p")
    neighbour.ip("addr", "add", f"{VIP6}/64", "dev", "e0p", "nodad")
    sources = (ip_address("192.168.4.1"), link_local(node, "e0"))
    assert ask(node, VIP4, VIP6, OTHER, sources=sources) == {VIP4: {THEIRS}, VIP6: {THEIRS}}


@pytest.mark.parametrize("is_probe", [False, True])
def test_who_is_about_to_take_an_address_gives_it_up_for_a_probe_only(pair: Pair, is_probe: bool) -> None:
    """A real server or another director that boots makes sure for a second or two that its own address is free."""
    node, neighbour = pair
    own = link_local(node, "e0")
    link_local(neighbour, "e0p")
    neighbour.run(lambda: Path("/proc/sys/net/ipv6/conf/e0p/dad_transmits").write_text("3", encoding="ascii"))
    neighbour.ip("addr", "add", f"{VIP6}/64", "dev", "e0p")
    ask(node, VIP6, sources=() if is_probe else (own,))
    shown = neighbour.ip("-6", "addr", "show", "dev", "e0p", "to", str(VIP6))
    assert ("dadfailed" in shown) is is_probe, shown


def test_many_addresses_of_both_families_are_asked_for_at_once(pair: Pair) -> None:
    node, neighbour = pair
    fours = [ip_address(f"192.168.{n // 250}.{n % 250 + 1}") for n in range(500)]
    sixes = [ip_address(f"2001:db8:4::{n:x}") for n in range(1, 101)]
    for address in (fours[-1], sixes[-1]):
        neighbour.ip("addr", "add", f"{address}/{address.max_prefixlen}", "dev", "e0p", "nodad")
    assert ask(node, *fours, *sixes) == {fours[-1]: {THEIRS}, sixes[-1]: {THEIRS}}


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("lo", "no Ethernet address"),
        ("nope", "No such device"),
        ("down", "the link of down is down"),
        ("unplugged", "the link of unplugged is down"),
    ],
)
def test_a_link_that_can_not_be_asked_is_an_error(namespace: NetworkNamespace, device: str, said: str) -> None:
    """On a link without a carrier silence says nothing."""
    for name in ("down", "unplugged"):
        namespace.ip("link", "add", "name", name, "type", "veth", "peer", "name", f"{name}p")
    namespace.ip("link", "set", "unplugged", "up")
    with pytest.raises(LinkNotAsked, match=said):
        ask(namespace, VIP4, device=device)


async def test_the_fake_answers_as_the_link_does() -> None:
    fake = FakeDuplicateProbe(neighbours={("e0", VIP4): {THEIRS}}, down_devices={"down"})
    assert await fake.ask("e0", [VIP4, VIP6, OTHER]) == {VIP4: {THEIRS}}
    fake.askers["e0", VIP6] = {THEIRS}
    assert await fake.ask("e0", [VIP4, VIP6, OTHER]) == {VIP4: {THEIRS}, VIP6: {THEIRS}}
    assert await fake.ask("e0", [VIP4, VIP6, OTHER], heed_probes=False) == {VIP4: {THEIRS}}
    for device, said in (("lo", "no Ethernet address"), ("down", "the link of down is down")):
        with pytest.raises(LinkNotAsked, match=said):
            await fake.ask(device, [VIP4])


def test_the_frames_are_those_of_the_standards() -> None:
    arp = question_frame(MINE, VIP4)
    head = "ffffffffffff 020000000001 0806 0001 0800 06 04 0001"
    assert arp == bytes.fromhex(f"{head} 020000000001 00000000 000000000000 c0a8040f")
    solicitation = question_frame(MINE, VIP6)
    ethernet, ip, icmp = solicitation[:14], solicitation[14:54], solicitation[54:]
    assert ethernet == bytes.fromhex("3333ff000015 020000000001 86dd")
    assert ip[:24] == bytes.fromhex("60000000 0018 3a ff") + bytes(16)
    assert ip[24:] == ip_address("ff02::1:ff00:15").packed
    assert (icmp[:2], icmp[8:]) == (bytes((135, 0)), VIP6.packed)
    # A checksum over data that includes its own checksum is 0.
    assert internet_checksum(ip[8:] + len(icmp).to_bytes(4, "big") + b"\0\0\0\x3a" + icmp) == 0


def test_frames_from_an_own_address_are_those_of_the_standards() -> None:
    own4, own6 = ip_address("192.168.4.1"), ip_address("fe80::1")
    head = "ffffffffffff 020000000001 0806 0001 0800 06 04 0001"
    assert question_frame(MINE, VIP4, own4) == bytes.fromhex(f"{head} 020000000001 c0a80401 000000000000 c0a8040f")
    solicitation = question_frame(MINE, VIP6, own6)
    ethernet, ip, icmp = solicitation[:14], solicitation[14:54], solicitation[54:]
    assert ethernet == bytes.fromhex("3333ff000015 020000000001 86dd")
    assert ip == bytes.fromhex("60000000 0020 3a ff") + own6.packed + ip_address("ff02::1:ff00:15").packed
    assert (icmp[:2], icmp[8:24], icmp[24:]) == (bytes((135, 0)), VIP6.packed, b"\x01\x01" + MINE)
    assert internet_checksum(ip[8:] + len(icmp).to_bytes(4, "big") + b"\0\0\0\x3a" + icmp) == 0


def arp_frame(operation: int, sender: str, target: str) -> bytes:
    addresses = THEIRS + ip_address(sender).packed + bytes(6) + ip_address(target).packed
    return bytes.fromhex(f"ffffffffffff {THEIRS.hex()} 0806 0001 0800 06 04 {operation:04x}") + addresses


def discovery_frame(kind: int, source: str, target: str) -> bytes:
    ethernet = bytes.fromhex("333300000001") + THEIRS + bytes.fromhex("86dd")
    ip = bytes.fromhex("60000000 0018 3a ff") + ip_address(source).packed + ip_address("ff02::1").packed
    return ethernet + ip + bytes((kind, 0)) + bytes(6) + ip_address(target).packed


@pytest.mark.parametrize(
    ("frame", "claimed"),
    [
        (arp_frame(2, "192.168.4.15", "0.0.0.0"), VIP4),
        (arp_frame(1, "192.168.4.15", "192.168.4.1"), VIP4),
        (arp_frame(1, "0.0.0.0", "192.168.4.15"), VIP4),
        (arp_frame(2, "0.0.0.0", "192.168.4.15"), None),
        (discovery_frame(136, "fe80::1", str(VIP6)), VIP6),
        (discovery_frame(135, "::", str(VIP6)), VIP6),
        (discovery_frame(135, "fe80::1", str(VIP6)), None),
        (discovery_frame(134, "fe80::1", str(VIP6)), None),
        (arp_frame(2, "192.168.4.15", "0.0.0.0")[:40], None),
        (discovery_frame(136, "fe80::1", str(VIP6))[:77], None),
        (b"", None),
    ],
    ids=["reply", "request", "probe", "odd", "advertisement", "other-probe", "lookup", "router", "cut", "cut6", "none"],
)
def test_what_a_frame_claims(frame: bytes, claimed: IPAddress | None) -> None:
    assert claimed_by(frame) == (None if claimed is None else (claimed, THEIRS))
