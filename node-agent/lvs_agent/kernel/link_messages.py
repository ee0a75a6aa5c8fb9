"""What rtnetlink says of devices and addresses, read into our values."""

import struct
from collections.abc import Hashable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from lvs_agent.decide.kernel_state import Device, InterfaceAddress

# linux/if.h, linux/if_addr.h
IFF_UP, _IFF_LOOPBACK, _IFF_RUNNING, _IFF_NOARP = 0x1, 0x8, 0x40, 0x80
_IFA_F_DADFAILED, _IFA_F_TENTATIVE = 0x08, 0x40
_HEADER = struct.Struct("=IH10x")  # of struct nlmsghdr the length and the type


def message_types(heard: bytes) -> set[int]:
    """The types of the messages that one receive call returned."""
    kinds: set[int] = set()
    offset = 0
    while offset + _HEADER.size <= len(heard):
        length, kind = _HEADER.unpack_from(heard, offset)
        kinds.add(kind)
        offset += max(_HEADER.size, (length + 3) & ~3)
    return kinds


def device_of(link: Any) -> Device:  # noqa: ANN401 -- pyroute2's (pyroute2 is untyped)
    """A device out of a message RTM_NEWLINK."""
    flags = link["flags"]
    return Device(
        index=link["index"],
        name=link.get("ifname"),
        kind=link.get(("linkinfo", "kind")) or "",
        up=bool(flags & IFF_UP),
        arp_capable=not flags & (_IFF_LOOPBACK | _IFF_NOARP),
        carrier=bool(flags & _IFF_RUNNING),
        hardware_address=_hardware_address(link.get("address")),
        mtu=link.get("mtu"),
    )


def _hardware_address(text: str | None) -> bytes:
    """Six bytes of an Ethernet address; nothing for devices that have another kind or none."""
    parts = (text or "").split(":")
    return bytes(int(part, 16) for part in parts) if len(parts) == 6 else b""  # noqa: PLR2004 -- bytes of a MAC address


def interface_address(address: Any, device: str) -> InterfaceAddress:  # noqa: ANN401 -- pyroute2's
    """An address out of a message RTM_NEWADDR, on the device of its index."""
    flags = address.get("flags") or 0
    value: IPv4Address | IPv6Address = ip_address(address.get("local") or address.get("address"))
    return InterfaceAddress(
        device=device,
        address=value,
        prefix_length=address["prefixlen"],
        usable=not flags & (_IFA_F_TENTATIVE | _IFA_F_DADFAILED),
    )


def address_name(address: Any) -> Hashable:  # noqa: ANN401 -- pyroute2's
    """By what an address is known from one dump to the next."""
    value = address.get("local") or address.get("address")
    return address["index"], value, address["prefixlen"]
