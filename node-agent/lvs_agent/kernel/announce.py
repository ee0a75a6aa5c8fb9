"""Announcements by raw packet socket: gratuitous ARP (RFC 5227, section 3) and unsolicited NA (RFC 4861, 7.2.6).

Both forms of gratuitous ARP are sent, since some neighbours heed only requests and others only replies. Repeating them
over the first seconds, since frames get lost, is the caller's: it has the clock.
"""

import socket
import struct

from lvs_agent.decide.internet_checksum import internet_checksum
from lvs_agent.decide.kernel_state import IPV4, IPAddress
from lvs_agent.errors import AnnounceError, PermissionRefused

_ETH_P_ARP, _ETH_P_IPV6 = 0x0806, 0x86DD
_BROADCAST = b"\xff" * 6
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ALL_NODES = bytes.fromhex("ff020000000000000000000000000001")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_REQUEST, _ARP_REPLY = 1, 2
_ICMPV6, _NEIGHBOR_ADVERTISEMENT, _TARGET_LINK_LAYER_ADDRESS = 58, 136, 2
_OVERRIDE = 0x20000000
_ARPHRD_ETHER = 1
_HARDWARE_ADDRESS_LENGTH = 6


class PacketAnnouncer:
    """`Announcer` by AF_PACKET."""

    def announce(self, device: str, address: IPAddress) -> None:
        """Send one gratuitous ARP request and reply, or one unsolicited neighbour advertisement."""
        protocol = _ETH_P_ARP if address.version == IPV4 else _ETH_P_IPV6
        try:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as sender:
                sender.setblocking(False)
                sender.bind((device, protocol))
                name = sender.getsockname()
                hardware_type, hardware = name[3], name[4]
                if hardware_type != _ARPHRD_ETHER or len(hardware) != _HARDWARE_ADDRESS_LENGTH:
                    raise AnnounceError(f"{device} has no Ethernet address to announce {address} with")
                for frame in frames(hardware, address):
                    sender.send(frame)
        except PermissionError as error:
            raise PermissionRefused(f"announcing {address} on {device}: the agent needs CAP_NET_RAW") from error
        except OSError as error:
            raise AnnounceError(f"announcing {address} on {device}: {error.strerror}") from error


def frames(hardware: bytes, address: IPAddress) -> tuple[bytes, ...]:
    """The Ethernet frames of one announcement."""
    if address.version == IPV4:
        return tuple(_arp_frame(hardware, address.packed, operation) for operation in (_ARP_REQUEST, _ARP_REPLY))
    return (_advertisement_frame(hardware, address.packed),)


def _arp_frame(hardware: bytes, address: bytes, operation: int) -> bytes:
    target = b"\0" * 6 if operation == _ARP_REQUEST else _BROADCAST
    body = _ARP.pack(_ARPHRD_ETHER, 0x0800, 6, 4, operation, hardware, address, target, address)
    return _BROADCAST + hardware + struct.pack("!H", _ETH_P_ARP) + body


def _advertisement_frame(hardware: bytes, address: bytes) -> bytes:
    option = struct.pack("!BB6s", _TARGET_LINK_LAYER_ADDRESS, 1, hardware)
    message = struct.pack("!BBHI16s", _NEIGHBOR_ADVERTISEMENT, 0, 0, _OVERRIDE, address) + option
    pseudo_header = address + _ALL_NODES + struct.pack("!I3xB", len(message), _ICMPV6)
    checksum = struct.pack("!H", internet_checksum(pseudo_header + message))
    message = message[:2] + checksum + message[4:]
    # Neighbour discovery is accepted with a hop limit of 255 only: nobody beyond the link can send it.
    header = struct.pack("!IHBB", 6 << 28, len(message), _ICMPV6, 255) + address + _ALL_NODES
    return _ALL_NODES_MAC + hardware + struct.pack("!H", _ETH_P_IPV6) + header + message
