"""Asks a link whether somebody on it has an address.

By ARP probes (RFC 5227, 2.1.1), and by neighbour solicitations from the unspecified address (RFC 4862, 5.4). A machine
that is about to take the address itself gives it up for those. So who is only to tell his MAC address is asked as
neighbours ask one another, from an address of this node.

The RFC's times, several seconds, are for hosts that boot by the thousand on links that are slow to open. A director
takes an address over while clients wait, so three probes go out within 200 ms and answers are awaited for 100 ms more:
a kernel answers in less than a millisecond, and three frames do not get lost one by one on a link that works.
"""

import asyncio
import fcntl
import socket
import struct
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from lvs_agent.decide.internet_checksum import internet_checksum
from lvs_agent.decide.kernel_state import IPV4, IPAddress
from lvs_agent.errors import LinkNotAsked, PermissionRefused
from lvs_agent.kernel.socket_filter import attach_filter

PROBES: Final = 3
INTERVAL_SECONDS: Final = 0.1
"""Between two probes, and after the last one."""
_ETH_P_ARP, _ETH_P_IPV6 = 0x0806, 0x86DD
_ETHERNET: Final = struct.Struct("!6s6sH")
_ARP: Final = struct.Struct("!HHBBH6s4s6s4s")
_ARPHRD_ETHER, _ARP_REQUEST = 1, 1
_NOBODY4, _NOBODY6 = bytes(4), bytes(16)
_ICMPV6, _SOLICITATION, _ADVERTISEMENT, _SOURCE_LINK_LAYER_ADDRESS = 58, 135, 136, 1
_IPV6_SOURCE, _ICMP, _TARGET = _ETHERNET.size + 8, _ETHERNET.size + 40, _ETHERNET.size + 48
_SOLICITED_NODE: Final = bytes.fromhex("ff0200000000000000000001ff")
_KIND: Final = socket.SOCK_RAW | socket.SOCK_CLOEXEC
_SIOCGIFFLAGS: Final = 0x8913
_IFF_RUNNING: Final = 0x40
MAX_CLAIMANTS: Final = 64
"""So many are remembered of one address; whoever makes up more has been noticed by then."""
_FRAMES_AT_ONCE: Final = 64
_LONGEST_FRAME: Final = 128


@dataclass(slots=True, kw_only=True)
class _Ear:
    """Who was heard to claim which of the addresses."""

    heard: dict[IPAddress, set[bytes]]
    heed_probes: bool
    failure: OSError | None = None
    """The device went down or away meanwhile."""

    def hear(self, opened: socket.socket) -> None:
        """Take what came, a bounded number of frames at once."""
        for _ in range(_FRAMES_AT_ONCE):
            try:
                frame = opened.recv(_LONGEST_FRAME)
            except BlockingIOError:
                return
            except OSError as error:
                self.failure = error
                return
            found = claimed_by(frame, heed_probes=self.heed_probes)
            heard = self.heard.get(found[0]) if found is not None else None
            if found is not None and heard is not None and len(heard) < MAX_CLAIMANTS:
                heard.add(found[1])


class PacketDuplicateProbe:
    """`DuplicateProbe` by AF_PACKET."""

    async def ask(
        self,
        device: str,
        addresses: Collection[IPAddress],
        *,
        heed_probes: bool = True,
        sources: Collection[IPAddress] = (),
    ) -> Mapping[IPAddress, frozenset[bytes]]:
        """Who says that an address is his, by MAC address; takes 0.3 s."""
        ear = _Ear(heard={address: set() for address in addresses}, heed_probes=heed_probes)
        own: dict[int, IPAddress] = {source.version: source for source in sources}
        loop = asyncio.get_running_loop()
        try:
            with ExitStack() as cleanup:
                senders: list[tuple[socket.socket, list[bytes]]] = []
                for version, protocol in ((4, _ETH_P_ARP), (6, _ETH_P_IPV6)):
                    asked = [address for address in addresses if address.version == version]
                    if asked:
                        opened = cleanup.enter_context(socket.socket(socket.AF_PACKET, _KIND, 0))
                        hardware = _prepare(opened, device, protocol)
                        source = own.get(version)
                        senders.append((opened, [question_frame(hardware, address, source) for address in asked]))
                        loop.add_reader(opened, ear.hear, opened)
                        cleanup.callback(loop.remove_reader, opened)
                for _ in range(PROBES):
                    for sender, frames in senders:
                        for frame in frames:
                            await loop.sock_sendall(sender, frame)
                    await asyncio.sleep(INTERVAL_SECONDS)
            if ear.failure is not None:
                raise ear.failure
        except PermissionError as error:
            raise PermissionRefused(f"asking the link of {device}: the agent needs CAP_NET_RAW") from error
        except OSError as error:
            raise LinkNotAsked(f"asking the link of {device} who has the address: {error.strerror}") from error
        return {address: frozenset(claimants) for address, claimants in ear.heard.items() if claimants}


def question_frame(hardware: bytes, address: IPAddress, source: IPAddress | None = None) -> bytes:
    """One question, from `source`; a probe where there is none, which teaches nobody anything."""
    if address.version == IPV4:
        sender = _NOBODY4 if source is None else source.packed
        body = _ARP.pack(_ARPHRD_ETHER, 0x0800, 6, 4, _ARP_REQUEST, hardware, sender, bytes(6), address.packed)
        return _ETHERNET.pack(b"\xff" * 6, hardware, _ETH_P_ARP) + body
    last = address.packed[-3:]
    sender, group = _NOBODY6 if source is None else source.packed, _SOLICITED_NODE + last
    message = struct.pack("!BBHI16s", _SOLICITATION, 0, 0, 0, address.packed)
    if source is not None:
        message += struct.pack("!BB6s", _SOURCE_LINK_LAYER_ADDRESS, 1, hardware)
    pseudo_header = sender + group + struct.pack("!I3xB", len(message), _ICMPV6)
    checksum = struct.pack("!H", internet_checksum(pseudo_header + message))
    message = message[:2] + checksum + message[4:]
    # Neighbour discovery is accepted with a hop limit of 255 only: nobody beyond the link can send it.
    header = struct.pack("!IHBB", 6 << 28, len(message), _ICMPV6, 255) + sender + group
    return _ETHERNET.pack(b"\x33\x33\xff" + last, hardware, _ETH_P_IPV6) + header + message


def claimed_by(frame: bytes, *, heed_probes: bool = True) -> tuple[IPAddress, bytes] | None:
    """The address that the sender of a frame has, and his MAC address; None for other frames.

    Heeding probes, also one that he is about to take.
    """
    if len(frame) < _ETHERNET.size:
        return None
    _, source, protocol = _ETHERNET.unpack_from(frame)
    if protocol == _ETH_P_ARP and len(frame) >= _ETHERNET.size + _ARP.size:
        kind, _, _, _, operation, hardware, sender, _, target = _ARP.unpack_from(frame, _ETHERNET.size)
        if kind != _ARPHRD_ETHER:
            return None
        if sender != _NOBODY4:
            return ip_address(sender), hardware
        return (ip_address(target), hardware) if heed_probes and operation == _ARP_REQUEST else None
    if protocol == _ETH_P_IPV6 and len(frame) >= _TARGET + 16:
        target = frame[_TARGET : _TARGET + 16]
        kind, from_nobody = frame[_ICMP], frame[_IPV6_SOURCE : _IPV6_SOURCE + 16] == _NOBODY6
        if kind == _ADVERTISEMENT or (heed_probes and kind == _SOLICITATION and from_nobody):
            return ip_address(target), source
    return None


def _prepare(opened: socket.socket, device: str, protocol: int) -> bytes:
    """Bind a fresh socket to a device's link; return the device's MAC address. Nothing comes in before that."""
    opened.setblocking(False)
    if protocol == _ETH_P_IPV6:
        _filter_neighbour_discovery(opened)
    opened.bind((device, protocol))
    name = opened.getsockname()
    hardware_type: int = name[3]
    hardware: bytes = name[4]
    if hardware_type != _ARPHRD_ETHER:
        raise LinkNotAsked(f"{device} has no Ethernet address to ask its link with")
    if not _is_running(opened, device):
        raise LinkNotAsked(f"the link of {device} is down: nobody on it can be asked who has the address")
    return hardware


def _is_running(opened: socket.socket, device: str) -> bool:
    """Whether the device has a carrier: without one what is sent is lost, and silence says nothing (netdevice(7))."""
    request = struct.pack("16sH14x", device.encode(), 0)
    flags: int = struct.unpack_from("H", fcntl.ioctl(opened, _SIOCGIFFLAGS, request), 16)[0]
    return bool(flags & _IFF_RUNNING)


def _filter_neighbour_discovery(opened: socket.socket) -> None:
    """Let in solicitations and advertisements only: a director's device carries all its traffic (linux/filter.h)."""
    load_byte, jump_equal, accept = 0x30, 0x15, 0x06
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (load_byte, 0, 0, _ETHERNET.size + 6),
            (jump_equal, 0, 4, _ICMPV6),
            (load_byte, 0, 0, _ICMP),
            (jump_equal, 1, 0, _SOLICITATION),
            (jump_equal, 0, 1, _ADVERTISEMENT),
            (accept, 0, 0, 0xFFFFFFFF),
            (accept, 0, 0, 0),
        )
    )
    attach_filter(opened, program)
