"""IPVS over generic netlink: the kernel's answers as values.

A full read brings thousands of destination messages that differ in their values only, so a message's attribute layout
is worked out once and remembered under its length; each further message is checked against it (one masked comparison)
and unpacked in one call. A message that does not fit its layout is walked attribute by attribute.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from operator import itemgetter
from socket import ntohs
from typing import Any

from lvs_agent.decide.kernel_state import (
    IPIP,
    NO_TRAFFIC,
    AddressFamily,
    AnyServiceKey,
    DestinationKey,
    DestinationSettings,
    DestinationState,
    FirewallMarkKey,
    ForwardingMethod,
    IPAddress,
    IpvsInfo,
    Persistence,
    ServiceFlag,
    ServiceKey,
    ServiceSettings,
    TrafficCounters,
    TransportProtocol,
    TunnelFlag,
    TunnelSettings,
    TunnelType,
)
from lvs_agent.kernel import ipvs_codec as c
from lvs_agent.kernel.netlink_wire import GENL_HEADER, U16, U32, U64, Message, WireError, attributes

Bounds = dict[int, tuple[int, int]]

_STATS = (1, 2, 3, 4, 5)  # IPVS_STATS_ATTR_CONNS, INPKTS, OUTPKTS, INBYTES, OUTBYTES
_UNPACKERS = {4: U32, 8: U64}
_FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_PROTOCOLS = {p.value: p for p in TransportProtocol}
_METHODS = {m.value: m for m in ForwardingMethod}
_TUNNEL_TYPES = {t.value: t for t in TunnelType}
_ADDRESS_LENGTH = 16
# The attributes of a destination in the order in which `DestinationDecoder` takes them; the counters follow.
_DESTINATION_FIELDS = (
    c.DEST_ADDR, c.DEST_PORT, c.DEST_ADDR_FAMILY,
    c.DEST_FWD_METHOD, c.DEST_WEIGHT, c.DEST_U_THRESH, c.DEST_L_THRESH,
    c.DEST_TUN_TYPE, c.DEST_TUN_PORT, c.DEST_TUN_FLAGS,
    c.DEST_ACTIVE, c.DEST_INACTIVE, c.DEST_PERSIST,
)  # fmt: skip
_SETTINGS = slice(3, 10)
_COUNTERS = slice(13, 18)


def decode_info(buffer: memoryview, message: Message) -> IpvsInfo:
    """The answer to `RequestEncoder.info`."""
    found = attributes(buffer, message.start + GENL_HEADER.size, message.end)
    version = U32.unpack_from(buffer, found[c.INFO_VERSION][0])[0]
    size = U32.unpack_from(buffer, found[c.INFO_CONN_TAB_SIZE][0])[0]
    # NVERSION in linux/ip_vs.h: one byte each.
    return IpvsInfo(
        version=f"{version >> 16 & 0xFF}.{version >> 8 & 0xFF}.{version & 0xFF}", connection_table_size=size
    )


def decode_service(
    buffer: memoryview, message: Message
) -> tuple[AnyServiceKey, ServiceSettings, TrafficCounters] | None:
    """One message of a service dump; None for a protocol that no service of ours can have (the kernel takes any)."""
    found = _nest(buffer, message, c.CMD_ATTR_SERVICE)
    family = AddressFamily(_u16(buffer, found, c.SVC_AF))
    key: AnyServiceKey
    if c.SVC_FWMARK in found:
        key = FirewallMarkKey(family=family, mark=_u32(buffer, found, c.SVC_FWMARK))
    else:
        protocol = _PROTOCOLS.get(_u16(buffer, found, c.SVC_PROTOCOL))
        if protocol is None:
            return None
        key = ServiceKey(
            protocol=protocol,
            address=_address(family, bytes(buffer[slice(*found[c.SVC_ADDR])])),
            port=ntohs(_u16(buffer, found, c.SVC_PORT)),
        )
    flags = _u32(buffer, found, c.SVC_FLAGS)
    persistence = None
    if flags & c.SVC_F_PERSISTENT:
        persistence = Persistence(
            timeout_seconds=_u32(buffer, found, c.SVC_TIMEOUT),
            prefix_length=_prefix_length(family, bytes(buffer[slice(*found[c.SVC_NETMASK])])),
        )
    settings = ServiceSettings(
        scheduler=_text(buffer, found, c.SVC_SCHED_NAME),
        flags=ServiceFlag(flags & c.SVC_FLAGS_MASK & ~c.SVC_F_PERSISTENT),
        persistence=persistence,
        persistence_engine=_text(buffer, found, c.SVC_PE_NAME) if c.SVC_PE_NAME in found else "",
    )
    return key, settings, _counters(buffer, found, c.SVC_STATS64, c.SVC_STATS)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the destination messages of one length have their attributes.

    `mask` covers everything but values and padding, `shape` is what a message must be under it. `pick` brings the
    unpacked values, followed by `defaults` for absent attributes, into the order of `_DESTINATION_FIELDS`.
    """

    mask: int
    shape: int
    unpack: Callable[[bytes], tuple[Any, ...]]
    defaults: tuple[int, ...]
    pick: Callable[[tuple[Any, ...]], tuple[Any, ...]]


class DestinationDecoder:
    """Decodes destination dumps; keeps layouts, and shares equal keys and settings between messages and reads."""

    def __init__(self, remember: int = 100_000) -> None:
        self._remember = remember
        self._layouts: dict[int, _Layout] = {}
        self._keys: dict[tuple[bytes, int, int], DestinationKey] = {}
        self._settings: dict[tuple[int, ...], DestinationSettings] = {}

    def decode(
        self, buffer: memoryview, message: Message, service_family: AddressFamily
    ) -> tuple[DestinationKey, DestinationState]:
        """One message of a destination dump. Kernels before 3.18 name no family: then it is the service's."""
        raw = bytes(buffer[message.start + GENL_HEADER.size : message.end])
        layout = self._layouts.get(len(raw))
        if layout is None or int.from_bytes(raw, "little") & layout.mask != layout.shape:
            layout = self._layouts[len(raw)] = _work_out(raw)
        values = layout.pick(layout.unpack(raw) + layout.defaults)
        return self._key(values[0], values[1], values[2] or service_family), DestinationState(
            settings=self._shared_settings(values[_SETTINGS]),
            active_connections=values[10],
            inactive_connections=values[11],
            persistent_connections=values[12],
            counters=TrafficCounters._make(values[_COUNTERS]),
        )

    def _key(self, address: bytes, port: int, family: int) -> DestinationKey:
        key = self._keys.get((address, port, family))
        if key is None:
            if len(self._keys) >= self._remember:
                self._keys.clear()
            key = DestinationKey(address=_address(AddressFamily(family), address), port=ntohs(port))
            self._keys[address, port, family] = key
        return key

    def _shared_settings(self, values: tuple[int, ...]) -> DestinationSettings:
        settings = self._settings.get(values)
        if settings is None:
            if len(self._settings) >= self._remember:
                self._settings.clear()
            settings = self._settings[values] = _settings(values)
        return settings


def _settings(values: tuple[int, ...]) -> DestinationSettings:
    number, weight, upper, lower, tunnel_type, tunnel_port, tunnel_flags = values
    method = _METHODS.get(number, ForwardingMethod.OTHER)
    tunnel = IPIP
    if method is ForwardingMethod.TUNNEL:
        # Other methods keep whatever tunnel values the entry was made with; they mean nothing there.
        kind = _TUNNEL_TYPES.get(tunnel_type, TunnelType.OTHER)
        tunnel = TunnelSettings(type=kind, port=ntohs(tunnel_port), flags=TunnelFlag(tunnel_flags))
    return DestinationSettings(
        weight=weight, method=method, upper_threshold=upper, lower_threshold=lower, tunnel=tunnel
    )


def _work_out(raw: bytes) -> _Layout:
    """The layout of a destination message, by walking it once."""
    view = memoryview(raw)
    outer = attributes(view, 0, len(raw))
    if c.CMD_ATTR_DEST not in outer:
        raise WireError("an IPVS destination without its attribute")
    found = attributes(view, *outer[c.CMD_ATTR_DEST])
    nest = found.get(c.DEST_STATS64) or found.get(c.DEST_STATS)
    counters = attributes(view, *nest) if nest else {}
    fields = [found.get(kind) for kind in _DESTINATION_FIELDS] + [counters.get(kind) for kind in _STATS]
    mask = bytearray(len(raw))
    for bounds in (outer, found, counters):
        for start, _end in bounds.values():
            mask[start - 4 : start] = b"\xff" * 4
    present = sorted((bounds, position) for position, bounds in enumerate(fields) if bounds)
    absent = [position for position, bounds in enumerate(fields) if not bounds]
    layout, at = "=", 0
    for (start, end), _position in present:
        length = end - start
        layout += f"{start - at}x" + (f"{length}s" if length == _ADDRESS_LENGTH else _FORMATS[length])
        at = end
    layout += f"{len(raw) - at}x"
    source = {position: index for index, position in enumerate([*(p for _, p in present), *absent])}
    covered = int.from_bytes(mask, "little")
    return _Layout(
        mask=covered,
        shape=int.from_bytes(raw, "little") & covered,
        unpack=struct.Struct(layout).unpack,
        defaults=(0,) * len(absent),
        pick=itemgetter(*(source[position] for position in range(len(fields)))),
    )


def _nest(buffer: memoryview, message: Message, kind: int) -> Bounds:
    outer = attributes(buffer, message.start + GENL_HEADER.size, message.end)
    if kind not in outer:
        raise WireError(f"an IPVS answer without attribute {kind}")
    return attributes(buffer, *outer[kind])


def _u16(buffer: memoryview, found: Bounds, kind: int) -> int:
    value: int = U16.unpack_from(buffer, found[kind][0])[0]
    return value


def _u32(buffer: memoryview, found: Bounds, kind: int) -> int:
    value: int = U32.unpack_from(buffer, found[kind][0])[0]
    return value


def _text(buffer: memoryview, found: Bounds, kind: int) -> str:
    return bytes(buffer[slice(*found[kind])]).split(b"\0", 1)[0].decode("ascii")


def _address(family: AddressFamily, raw: bytes) -> IPAddress:
    return IPv4Address(raw[:4]) if family is AddressFamily.IPV4 else IPv6Address(raw[:16])


def _prefix_length(family: AddressFamily, raw: bytes) -> int:
    """Bits set in an IPv4 mask, which may have holes in foreign entries; the number itself for IPv6."""
    return int.from_bytes(raw, "big").bit_count() if family is AddressFamily.IPV4 else int(U32.unpack(raw)[0])


def _counters(buffer: memoryview, found: Bounds, wide: int, narrow: int) -> TrafficCounters:
    """The 64-bit counters; kernels before 4.1 have only 32-bit ones (bytes excepted)."""
    nest = found.get(wide) or found.get(narrow)
    if nest is None:
        return NO_TRAFFIC
    inner = attributes(buffer, *nest)
    return TrafficCounters(*(_UNPACKERS[inner[s][1] - inner[s][0]].unpack_from(buffer, inner[s][0])[0] for s in _STATS))
