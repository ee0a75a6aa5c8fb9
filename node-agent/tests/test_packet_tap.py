"""What the tap hears: on a real link, before filters drop it, and only what is asked for."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest
from waiting_for import until

from lvs_agent.decide.kernel_state import IPAddress, ServiceKey, TransportProtocol
from lvs_agent.decide.unseen_packets import Arrival, Arrivals
from lvs_agent.kernel import packet_tap
from lvs_agent.kernel.arrival_filter import MOST_FRONTS, arrival_filter
from lvs_agent.kernel.fake_packet_tap import FakePacketTap
from lvs_agent.kernel.packet_tap import KernelPacketTap
from lvs_agent.kernel.socket_filter import attach_filter
from lvs_agent.kernel.testing import NetworkNamespace

Pair = tuple[NetworkNamespace, NetworkNamespace]

VIP4, VIP6 = ip_address("192.168.4.15"), ip_address("2001:db8:4::15")
CLIENT4, CLIENT6 = ip_address("192.168.4.50"), ip_address("2001:db8:4::50")
MINE, THEIRS, NOBODYS = (bytes.fromhex(f"02000000000{number}") for number in (1, 2, 9))
TCP, UDP, SCTP = TransportProtocol.TCP, TransportProtocol.UDP, TransportProtocol.SCTP
SYN, ACK, RST = 0x02, 0x10, 0x04
SECONDS = 0.3


def front(protocol: TransportProtocol, address: IPAddress, port: int) -> ServiceKey:
    return ServiceKey(protocol=protocol, address=address, port=port)


def transport(protocol: TransportProtocol, port: int, *, flags: int = SYN, chunk: int = 1) -> bytes:
    """Headers as a client sends them first."""
    if protocol is TCP:
        return struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 5 << 4, flags, 64240, 0, 0)
    if protocol is UDP:
        return struct.pack("!HHHH4s", 40000, port, 12, 0, b"ping")
    return struct.pack("!HHIIBBH", 40000, port, 0, 0, chunk, 0, 4)


def frame(
    protocol: TransportProtocol,
    address: IPAddress,
    port: int,
    *,
    to: bytes = MINE,
    fragment: int = 0,
    options: bytes = b"",
    vlan: int | None = None,
    flags: int = SYN,
    chunk: int = 1,
) -> bytes:
    """An Ethernet frame of the client's; `fragment` is flags and offset of IPv4."""
    body = transport(protocol, port, flags=flags, chunk=chunk)
    if address.version == 4:
        words, length = 5 + len(options) // 4, 20 + len(options) + len(body)
        header = struct.pack("!BBHHHBBH", 4 << 4 | words, 0, length, 7, fragment, 64, protocol, 0)
        packet = header + CLIENT4.packed + address.packed + options + body
        ethertype = 0x0800
    else:
        packet = struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + CLIENT6.packed + address.packed + body
        ethertype = 0x86DD
    tag = b"" if vlan is None else struct.pack("!HH", 0x8100, vlan)
    return to + THEIRS + tag + struct.pack("!H", ethertype) + packet


@pytest.fixture
def pair(namespace: NetworkNamespace) -> Iterator[Pair]:
    """e0 in the namespace; its other end, the clients', in one beside it."""
    clients = NetworkNamespace(f"{namespace.name}-c")
    clients.create()
    namespace.ip("link", "add", "name", "e0", "address", MINE.hex(":"), "type", "veth", "peer", "name", "e0p")
    namespace.ip("link", "set", "e0p", "address", THEIRS.hex(":"), "netns", clients.name)
    namespace.ip("link", "set", "e0", "up")
    clients.ip("link", "set", "e0p", "up")
    asyncio.run(until(lambda: "state UP" in namespace.ip("link", "show", "dev", "e0")))
    yield namespace, clients
    clients.delete()


def hear(pair: Pair, fronts: list[ServiceKey], *frames: bytes, during: Callable[[], None] | None = None) -> Arrivals:
    """What the tap hears while the clients send these over and over."""
    node, clients = pair
    opened = clients.run(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    clients.run(lambda: opened.bind(("e0p", 0)))
    end = threading.Event()

    def send() -> None:
        while not end.wait(0.02):
            for one in frames:
                opened.send(one)
            if during is not None:
                during()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        return node.run(lambda: asyncio.run(KernelPacketTap().listen(fronts, SECONDS)))
    finally:
        end.set()
        thread.join()
        opened.close()


@pytest.mark.parametrize("protocol", [TCP, UDP, SCTP])
@pytest.mark.parametrize(("address", "client"), [(VIP4, CLIENT4), (VIP6, CLIENT6)], ids=["ipv4", "ipv6"])
def test_first_packets_are_heard_though_the_node_has_no_such_address(
    pair: Pair, protocol: TransportProtocol, address: IPAddress, client: IPAddress
) -> None:
    wanted = front(protocol, address, 80)
    heard = hear(pair, [wanted], frame(protocol, address, 80))
    assert heard.keys() == {wanted}
    assert heard[wanted][:2] == ("e0", client)
    assert heard[wanted].packets > 2


NOT_MEANT = {
    "another port": frame(TCP, VIP4, 81),
    "another address": frame(TCP, CLIENT4, 80),
    "another protocol": frame(UDP, VIP4, 80),
    "another machine's, on a card that hears all": frame(TCP, VIP4, 80, to=NOBODYS),
    "an answer": frame(TCP, VIP4, 80, flags=SYN | ACK),
    "a packet of a connection": frame(TCP, VIP4, 80, flags=ACK),
    "an end": frame(TCP, VIP4, 80, flags=SYN | RST),
    "a first fragment": frame(TCP, VIP4, 80, fragment=0x2000),
    "a later fragment": frame(TCP, VIP4, 80, fragment=0x0010),
    "data of SCTP": frame(SCTP, VIP4, 80, chunk=0),
    "a frame of a VLAN that this node is not in": frame(TCP, VIP4, 80, vlan=7),
    "another address of IPv6": frame(TCP, ip_address("2001:db8:4::16"), 80),
    "the same end of an address of IPv6": frame(TCP, ip_address("2001:db8:5::15"), 80),
    "too short": frame(TCP, VIP4, 80)[:36],
}


def test_what_is_not_meant_is_not_heard(pair: Pair) -> None:
    node, _ = pair
    node.ip("link", "set", "e0", "promisc", "on")
    fronts = [front(TCP, VIP4, 80), front(SCTP, VIP4, 80), front(TCP, VIP6, 80)]
    mark = front(UDP, VIP4, 9)
    heard = hear(pair, [*fronts, mark], *NOT_MEANT.values(), frame(UDP, VIP4, 9))
    assert heard.keys() == {mark}, "the last of each round is heard, and so all before it were sent"


def test_a_header_with_options_is_read_and_a_priority_tag_is_no_vlan(pair: Pair) -> None:
    fronts = [front(TCP, VIP4, 80), front(TCP, VIP4, 81)]
    heard = hear(pair, fronts, frame(TCP, VIP4, 80, options=bytes(12)), frame(TCP, VIP4, 81, vlan=0x2000))
    assert heard.keys() == set(fronts)


def test_port_0_hears_every_port_of_its_protocol(pair: Pair) -> None:
    fronts = [front(UDP, VIP4, 0), front(TCP, VIP4, 80), front(TCP, VIP6, 0)]
    heard = hear(
        pair,
        fronts,
        frame(UDP, VIP4, 53),
        frame(UDP, VIP4, 99),
        frame(TCP, VIP4, 80),
        frame(TCP, VIP4, 99),
        frame(TCP, VIP6, 443),
    )
    assert heard.keys() == {front(UDP, VIP4, 53), front(UDP, VIP4, 99), front(TCP, VIP4, 80), front(TCP, VIP6, 443)}


@pytest.mark.parametrize("version", [4, 6])
def test_as_many_as_a_filter_has_room_for_are_heard_and_no_more_are_taken(pair: Pair, version: int) -> None:
    base = "192.168.5." if version == 4 else "2001:db8:5::"
    fronts = [front(TCP, ip_address(f"{base}{number}"), 80 + number) for number in range(1, MOST_FRONTS + 1)]
    ends = (fronts[0], fronts[-1])
    heard = hear(pair, fronts, *(frame(TCP, one.address, one.port) for one in ends))
    assert heard.keys() == set(ends)
    one_address = [front(TCP, ip_address(f"{base}1"), 80 + number) for number in range(MOST_FRONTS)]
    assert hear(pair, one_address, frame(TCP, one_address[-1].address, 79 + MOST_FRONTS)).keys() == {one_address[-1]}
    with pytest.raises(ValueError, match="more than"):
        arrival_filter([*fronts, front(TCP, VIP4, 80)])


def test_a_flood_to_one_leaves_room_for_another(pair: Pair) -> None:
    flooded, other = front(TCP, VIP4, 80), front(TCP, VIP4, 81)
    heard = hear(pair, [flooded, other], *[frame(TCP, VIP4, 80)] * 200, frame(TCP, VIP4, 81))
    assert heard.keys() == {flooded, other}


def test_what_comes_before_there_is_a_filter_is_not_heard_however_much(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other programs may have the agent's turn between the two, and the node's sockets room for very much."""
    _, clients = pair
    monkeypatch.setattr(packet_tap, "AT_ONCE", 50)
    opened = clients.run(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    clients.run(lambda: opened.bind(("e0p", 0)))
    asks = b"\xff" * 6 + THEIRS + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1) + bytes(20)
    attached: list[bytes] = []

    def attach_late(tapped: socket.socket, program: bytes) -> None:
        if not attached:
            for _ in range(100):
                opened.send(asks)
            tapped.settimeout(5)
            tapped.recv(1)
            tapped.setblocking(False)
        attached.append(program)
        attach_filter(tapped, program)

    monkeypatch.setattr(packet_tap, "attach_filter", attach_late)
    wanted = front(UDP, VIP4, 53)
    assert hear(pair, [wanted], frame(UDP, VIP4, 53)).keys() == {wanted}
    assert attached[-1] == arrival_filter([wanted])
    opened.close()


def test_what_this_node_sends_is_not_heard(pair: Pair) -> None:
    node, _ = pair
    node.ip("address", "add", f"{VIP4}/32", "dev", "lo")
    node.ip("address", "add", f"{CLIENT4}/24", "dev", "e0")
    opened = node.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    away = ip_address("192.168.4.99")
    node.ip("neighbour", "add", str(away), "lladdr", THEIRS.hex(":"), "dev", "e0")

    def send() -> None:
        opened.sendto(b"to itself", (str(VIP4), 80))
        opened.sendto(b"to another", (str(away), 80))

    heard = hear(
        pair, [front(UDP, VIP4, 80), front(UDP, away, 80), front(TCP, VIP4, 9)], frame(TCP, VIP4, 9), during=send
    )
    opened.close()
    assert heard.keys() == {front(TCP, VIP4, 9)}


def test_the_fake_hears_the_same() -> None:
    came = Arrival("e0", CLIENT4, 1)
    tap = FakePacketTap(arriving={front(UDP, VIP4, 53): came, front(TCP, VIP4, 81): came, front(TCP, VIP4, 80): came})
    fronts = [front(UDP, VIP4, 0), front(TCP, VIP4, 80)]
    heard = asyncio.run(tap.listen(fronts, 1.0))
    assert heard.keys() == {front(UDP, VIP4, 53), front(TCP, VIP4, 80)}
    with pytest.raises(ValueError, match="more than"):
        asyncio.run(tap.listen([front(TCP, VIP4, port) for port in range(1, MOST_FRONTS + 2)], 1.0))
