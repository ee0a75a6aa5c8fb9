"""Who says unasked that an address is his, by gratuitous ARP and unsolicited neighbour advertisements. Pure."""

import struct
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from lvs_agent.decide.kernel_state import IPAddress
from lvs_agent.decide.vrrp_config import PlacedRouter

_ARP: Final = struct.Struct("!HHBBH6s4s6s4s")
_ARPHRD_ETHER, _ETH_P_IP = 1, 0x0800
_NOBODY: Final = bytes(4)
_ADVERTISEMENT: Final = struct.Struct("!BBHB3x16s")
_NEIGHBOR_ADVERTISEMENT, _SOLICITED, _HOP_LIMIT = 136, 0x40, 255
_TARGET_LINK_LAYER_ADDRESS: Final = 2
_OPTION_UNIT: Final = 8
"""Bytes in which the length of an option is counted; a MAC address fills one."""

MacsOfDirectors = Mapping[str, Mapping[str, frozenset[bytes]]]
"""By director group and Node."""


class Claim(NamedTuple):
    """Somebody tells neighbours that an address is at a MAC address."""

    address: IPAddress
    mac: bytes


def read_gratuitous_arp(packet: bytes) -> Claim | None:
    """An ARP packet without its Ethernet header; None where its sender does not speak of his own address.

    Request or reply (RFC 5227, 3: sender and target protocol address are the same).
    """
    if len(packet) < _ARP.size:
        return None
    hardware, protocol, *_, mac, sender, _, target = _ARP.unpack_from(packet)
    if (hardware, protocol) != (_ARPHRD_ETHER, _ETH_P_IP) or sender != target or sender == _NOBODY:
        return None
    return Claim(IPv4Address(sender), mac)


def read_unsolicited_advertisement(message: bytes, hop_limit: int) -> Claim | None:
    """An ICMPv6 message with its checksum known to be right; None for all but an advertisement that nobody asked for.

    And for one that may have come through a router, or names no MAC address (RFC 4861, 7.1.2 and 4.4).
    """
    if len(message) < _ADVERTISEMENT.size or hop_limit != _HOP_LIMIT:
        return None
    kind, code, _, flags, target = _ADVERTISEMENT.unpack_from(message)
    if kind != _NEIGHBOR_ADVERTISEMENT or code or flags & _SOLICITED:
        return None
    options = message[_ADVERTISEMENT.size :]
    while len(options) >= _OPTION_UNIT and options[1]:
        if (options[0], options[1]) == (_TARGET_LINK_LAYER_ADDRESS, 1):
            return Claim(IPv6Address(target), options[2:_OPTION_UNIT])
        options = options[_OPTION_UNIT * options[1] :]
    return None


def is_claimed_by_weaker(one: PlacedRouter, claims: Iterable[Claim], macs: MacsOfDirectors) -> bool:
    """Whether another director of the group, of a lower priority, is among those that claim an address of the router.

    One of a higher priority is to have it, and a stranger is found by asking.
    """
    known = macs.get(one.key.group, {})
    weaker = {mac for node in one.router.weaker for mac in known.get(node, ())}
    addresses = {binding.address for binding in one.bindings}
    return any(claim.mac in weaker and claim.address in addresses for claim in claims)
