"""Hears what arrives at the network cards, by a packet socket for every protocol (packet(7)).

Such a socket gets packets before tc's ingress hook, nf_tables' and everything of IP, rp_filter among it
(__netif_receive_skb_core in net/core/dev.c); one for a single protocol would get them after tc. It is open only while
somebody listens, has room for a few hundred packets, and what this node sends does not pass it.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from lvs_agent.decide.kernel_state import IPV4, ServiceKey, TransportProtocol
from lvs_agent.decide.unseen_packets import Arrival, Arrivals
from lvs_agent.errors import ArrivalsUnknown, PermissionRefused
from lvs_agent.kernel.arrival_filter import SNAPSHOT, arrival_filter
from lvs_agent.kernel.socket_filter import attach_filter

STEP_SECONDS: Final = 0.1
"""So often what came is taken; a flood to one address then leaves room for the others."""
AT_ONCE: Final = 400
"""Packets that are taken each time: what they cost is bounded."""
_ROOM_BYTES: Final = 256 << 10
_ETH_P_ALL: Final = 0x0003
_SOL_PACKET: Final = 263
_PACKET_IGNORE_OUTGOING: Final = 23
"""Since Linux 4.20; before that what this node sends is turned away by the filter, which costs more."""
_NOTHING: Final = arrival_filter(())
_KIND: Final = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_PORTS: Final = struct.Struct("!2xH")
_IPV6_HEADER: Final = 40


class KernelPacketTap:
    """`PacketTap` on every device of this network namespace."""

    async def listen(self, fronts: Collection[ServiceKey], seconds: float) -> Arrivals:
        """What comes meanwhile."""
        program = arrival_filter(fronts)
        heard: dict[ServiceKey, Arrival] = {}
        try:
            with socket.socket(socket.AF_PACKET, _KIND, socket.htons(_ETH_P_ALL)) as opened:
                attach_filter(opened, _NOTHING)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM_BYTES)
                with contextlib.suppress(OSError):
                    opened.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
                _throw_away(opened)
                attach_filter(opened, program)
                for _ in range(max(1, round(seconds / STEP_SECONDS))):
                    await asyncio.sleep(STEP_SECONDS)
                    _take(opened, heard)
        except PermissionError as error:
            raise PermissionRefused("listening to what arrives: the agent needs CAP_NET_RAW") from error
        except OSError as error:
            raise ArrivalsUnknown(f"listening to what arrives for VIPs: {error.strerror or error}") from error
        return heard


def _throw_away(opened: socket.socket) -> None:
    """What came in before any filter was there: without a device's name a socket can not be made to wait for it.

    All of it, while nothing is let in: of other packets `read_front` makes nothing.
    """
    with contextlib.suppress(BlockingIOError):
        while True:
            opened.recv(1)


def _take(opened: socket.socket, heard: dict[ServiceKey, Arrival]) -> None:
    """Count what has come, a bounded number of packets."""
    for _ in range(AT_ONCE):
        try:
            packet, where = opened.recvfrom(SNAPSHOT)
        except BlockingIOError:
            return
        front, source = read_front(packet)
        before = heard.get(front)
        heard[front] = Arrival(where[0], source, 1 if before is None else before.packets + 1)


def read_front(packet: bytes) -> tuple[ServiceKey, IPv4Address | IPv6Address]:
    """Where a packet that the filter let in goes to, and who sent it."""
    if packet[0] >> 4 == IPV4:
        protocol, begin = packet[9], 4 * (packet[0] & 0xF)
        source, destination = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
        front = ServiceKey(
            protocol=TransportProtocol(protocol), address=destination, port=_PORTS.unpack_from(packet, begin)[0]
        )
        return front, source
    port: int = _PORTS.unpack_from(packet, _IPV6_HEADER)[0]
    address = IPv6Address(packet[24:40])
    return ServiceKey(protocol=TransportProtocol(packet[6]), address=address, port=port), IPv6Address(packet[8:24])
