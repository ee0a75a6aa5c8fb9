"""IPVS over generic netlink: the kernel's answers as values.

A full read brings thousands of messages that differ in their values only, so a message's attribute layout is worked
out once and remembered under its length; each further message is checked against it (one masked comparison) and
unpacked in one call. For a message that does not fit, the layout is worked out anew.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from operator import itemgetter
from socket import ntohs
from typing import Any

from lvs_agent.decide.kernel_settings import SyncDaemon, SyncState, Timeout
from lvs_agent.decide.kernel_state import (
    FAMILY_BYTE,
    IPIP,
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
from lvs_agent.kernel.netlink_wire import GENL_HEADER, U16, U32, Message, WireError, attributes

# IPVS_STATS_ATTR_CONNS, INPKTS, OUTPKTS, INBYTES, OUTBYTES, and CPS, INPPS, OUTPPS, INBPS, OUTBPS
_STATS = tuple(range(1, 11))
_GROUP, _PORT = bytes((224, 0, 0, 81)), 8848  # IP_VS_SYNC_GROUP and IP_VS_SYNC_PORT
_FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_PROTOCOLS = {p.value: p for p in TransportProtocol}
_METHODS = {m.value: m for m in ForwardingMethod}
_TUNNEL_TYPES = {t.value: t for t in TunnelType}
# The attributes in the order in which the decoders take them; the counters follow.
_DESTINATION_FIELDS = (
    c.DEST_ADDR, c.DEST_PORT, c.DEST_ADDR_FAMILY,
    c.DEST_FWD_METHOD, c.DEST_WEIGHT, c.DEST_U_THRESH, c.DEST_L_THRESH,
    c.DEST_TUN_TYPE, c.DEST_TUN_PORT, c.DEST_TUN_FLAGS,
    c.DEST_ACTIVE, c.DEST_INACTIVE, c.DEST_PERSIST,
)  # fmt: skip
_SERVICE_FIELDS = (
    c.SVC_AF, c.SVC_FWMARK, c.SVC_PROTOCOL, c.SVC_ADDR, c.SVC_PORT,
    c.SVC_SCHED_NAME, c.SVC_FLAGS, c.SVC_TIMEOUT, c.SVC_NETMASK, c.SVC_PE_NAME,
)  # fmt: skip
_RAW_DESTINATION_FIELDS = frozenset({c.DEST_ADDR, c.DEST_PORT})
_RAW_SERVICE_FIELDS = frozenset({c.SVC_ADDR, c.SVC_SCHED_NAME, c.SVC_FLAGS, c.SVC_NETMASK, c.SVC_PE_NAME})


def decode_info(buffer: memoryview, message: Message) -> IpvsInfo:
    """The answer to `RequestEncoder.info`."""
    found = attributes(buffer, message.start + GENL_HEADER.size, message.end)
    version = U32.unpack_from(buffer, found[c.INFO_VERSION][0])[0]
    size = U32.unpack_from(buffer, found[c.INFO_CONN_TAB_SIZE][0])[0]
    # NVERSION in linux/ip_vs.h: one byte each.
    return IpvsInfo(
        version=f"{version >> 16 & 0xFF}.{version >> 8 & 0xFF}.{version & 0xFF}", connection_table_size=size
    )


def decode_timeouts(buffer: memoryview, message: Message) -> dict[Timeout, int]:
    """The answer to `RequestEncoder.get_timeouts`."""
    found = attributes(buffer, message.start + GENL_HEADER.size, message.end)
    return {timeout: U32.unpack_from(buffer, found[timeout][0])[0] for timeout in Timeout if timeout in found}


def decode_daemon(payload: bytes) -> tuple[SyncState, SyncDaemon]:
    """One message of the answer to `RequestEncoder.dump_daemons`, without its headers.

    Kernels before 4.3 tell no more than state, device and sync id, and use what they were built with.
    """
    view = memoryview(payload)
    found = attributes(view, *attributes(view, 0, len(payload))[c.CMD_ATTR_DAEMON])
    raw = {kind: payload[start:end] for kind, (start, end) in found.items()}
    group = (
        IPv6Address(raw[c.DAEMON_GROUP6]) if c.DAEMON_GROUP6 in raw else IPv4Address(raw.get(c.DAEMON_GROUP, _GROUP))
    )
    return SyncState(U32.unpack(raw[c.DAEMON_STATE])[0]), SyncDaemon(
        interface=_text(raw[c.DAEMON_INTERFACE]),
        sync_id=U32.unpack(raw[c.DAEMON_SYNC_ID])[0],
        group=group,
        port=U16.unpack(raw[c.DAEMON_PORT])[0] if c.DAEMON_PORT in raw else _PORT,
        ttl=raw[c.DAEMON_TTL][0] if c.DAEMON_TTL in raw else 1,
        max_length=U16.unpack(raw[c.DAEMON_MAX_LENGTH])[0] if c.DAEMON_MAX_LENGTH in raw else None,
    )


@dataclass(frozen=True, slots=True)
class _Kind:
    """What to take out of the messages about one kind of entry; raw fields are taken as bytes, others as integers."""

    nest: int
    fields: tuple[int, ...]
    raw: frozenset[int]
    wide_counters: int
    narrow_counters: int


_SERVICE = _Kind(c.CMD_ATTR_SERVICE, _SERVICE_FIELDS, _RAW_SERVICE_FIELDS, c.SVC_STATS64, c.SVC_STATS)
_DESTINATION = _Kind(c.CMD_ATTR_DEST, _DESTINATION_FIELDS, _RAW_DESTINATION_FIELDS, c.DEST_STATS64, c.DEST_STATS)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the messages of one length have their attributes.

    `mask` covers everything but values and padding, `shape` is what a message must be under it. `pick` brings the
    unpacked values, followed by `defaults` for absent attributes, into the order of the kind's fields.
    """

    mask: int
    shape: int
    unpack: Callable[[bytes], tuple[Any, ...]]
    defaults: tuple[int, ...]
    pick: Callable[[tuple[Any, ...]], tuple[Any, ...]]
    wide_counters: bool
    """The counters have 64 bits, or the message has none, as requests."""
    constant: int
    """Before this offset stands all that is not counted: what a message is about, and how that is set."""


class EntryDecoder:
    """Decodes dumps; keeps layouts, and shares equal keys and settings between messages and reads."""

    def __init__(self, remember: int = 100_000) -> None:
        self._remember = remember
        self._layouts: dict[_Kind, dict[int, _Layout]] = {_SERVICE: {}, _DESTINATION: {}}
        self._destination_keys: dict[bytes, DestinationKey] = {}
        self._destination_settings: dict[tuple[int, ...], DestinationSettings] = {}
        self._service_settings: dict[tuple[Any, ...], ServiceSettings] = {}
        self._services: dict[bytes, tuple[AnyServiceKey, ServiceSettings] | None] = {}
        """By all that stands before the counters."""
        self.wide_counters = True
        """False once a message had counters of 32 bits and none of 64."""

    def service(self, payload: bytes) -> tuple[AnyServiceKey, ServiceSettings] | None:
        """One message of a service dump; None for a protocol that no service of ours has (the kernel takes any).

        Of one that was seen before but for its counters nothing is unpacked.
        """
        layout = self._layouts[_SERVICE].get(len(payload))
        if layout is not None and (constant := payload[: layout.constant]) in self._services:
            return self._services[constant]
        decoded = self._decode_service(payload)
        _make_room(self._services, self._remember)
        self._services[payload[: self._layouts[_SERVICE][len(payload)].constant]] = decoded
        return decoded

    def service_counters(self, payload: bytes) -> TrafficCounters:
        """The counters of the same message."""
        return TrafficCounters._make(self._values(_SERVICE, payload)[10:20])

    def _decode_service(self, payload: bytes) -> tuple[AnyServiceKey, ServiceSettings] | None:
        values = self._values(_SERVICE, payload)
        key = _service_key(values[:5])
        if key is None:
            return None
        settings = (values[0], *values[5:10])
        shared = self._service_settings.get(settings)
        if shared is None:
            _make_room(self._service_settings, self._remember)
            shared = self._service_settings[settings] = _service_settings(settings)
        return key, shared

    def destination(self, payload: bytes, service_family: AddressFamily) -> tuple[DestinationKey, DestinationState]:
        """One message of a destination dump. Kernels before 3.18 name no family: then it is the service's."""
        values = self._values(_DESTINATION, payload)
        address, port, family = values[:3]
        identity = address + port + FAMILY_BYTE[family or service_family]
        key = self._destination_keys.get(identity)
        if key is None:
            key = _destination_key(address, port, family or service_family)
            self.learn(key)
        settings = values[3:10]
        shared = self._destination_settings.get(settings)
        if shared is None:
            _make_room(self._destination_settings, self._remember)
            shared = self._destination_settings[settings] = _destination_settings(settings)
        return key, DestinationState._make((shared, *values[10:13], TrafficCounters._make(values[13:23])))

    def learn(self, key: DestinationKey) -> None:
        """Give this object for this key from now on: what was just written is about to be read."""
        _make_room(self._destination_keys, self._remember)
        self._destination_keys.setdefault(key.identity, key)

    def _values(self, kind: _Kind, raw: bytes) -> tuple[Any, ...]:
        layouts = self._layouts[kind]
        layout = layouts.get(len(raw))
        if layout is None or int.from_bytes(raw, "little") & layout.mask != layout.shape:
            layout = layouts[len(raw)] = _work_out(kind, raw)
            self.wide_counters = self.wide_counters and layout.wide_counters
        return layout.pick(layout.unpack(raw) + layout.defaults)


def _make_room(shared: dict[Any, Any], limit: int) -> None:
    if len(shared) >= limit:
        shared.clear()


def _service_key(identity: tuple[Any, ...]) -> AnyServiceKey | None:
    family, mark, number, address, port = identity
    if mark:
        return FirewallMarkKey(family=AddressFamily(family), mark=mark)
    protocol = _PROTOCOLS.get(number)
    if protocol is None:
        return None
    return ServiceKey(protocol=protocol, address=_address(family, address), port=ntohs(port))


def _service_settings(values: tuple[Any, ...]) -> ServiceSettings:
    family, scheduler, raw_flags, timeout, mask, engine = values
    flags: int = U32.unpack_from(raw_flags)[0]
    persistence = None
    if flags & c.SVC_F_PERSISTENT:
        persistence = Persistence(timeout_seconds=timeout, prefix_length=_prefix_length(family, mask))
    return ServiceSettings(
        scheduler=_text(scheduler),
        flags=ServiceFlag(flags & c.SVC_FLAGS_MASK & ~c.SVC_F_PERSISTENT),
        persistence=persistence,
        persistence_engine=_text(engine) if engine else "",
    )


def _destination_key(address: bytes, port: bytes, family: int) -> DestinationKey:
    return DestinationKey(address=_address(family, address), port=int.from_bytes(port, "big"))


def _destination_settings(values: tuple[int, ...]) -> DestinationSettings:
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


def _work_out(kind: _Kind, raw: bytes) -> _Layout:
    """The layout of a message, by walking it once."""
    view = memoryview(raw)
    outer = attributes(view, 0, len(raw))
    if kind.nest not in outer:
        raise WireError(f"an IPVS answer without attribute {kind.nest}")
    found = attributes(view, *outer[kind.nest])
    nest = found.get(kind.wide_counters) or found.get(kind.narrow_counters)
    counters = attributes(view, *nest) if nest else {}
    fields = [(found.get(number), number in kind.raw) for number in kind.fields]
    fields += [(counters.get(number), False) for number in _STATS]
    mask = bytearray(len(raw))
    for bounds in (outer, found, counters):
        for start, _end in bounds.values():
            mask[start - 4 : start] = b"\xff" * 4
    present = sorted((*bounds, position, as_bytes) for position, (bounds, as_bytes) in enumerate(fields) if bounds)
    absent = [position for position, (bounds, _) in enumerate(fields) if not bounds]
    layout, at = "=", 0
    for start, end, _, as_bytes in present:
        layout += f"{start - at}x" + (f"{end - start}s" if as_bytes else _FORMATS[end - start])
        at = end
    layout += f"{len(raw) - at}x"
    source = {position: index for index, position in enumerate([*(p for _, _, p, _ in present), *absent])}
    covered = int.from_bytes(mask, "little")
    return _Layout(
        mask=covered,
        shape=int.from_bytes(raw, "little") & covered,
        unpack=struct.Struct(layout).unpack,
        defaults=(0,) * len(absent),
        pick=itemgetter(*(source[position] for position in range(len(fields)))),
        wide_counters=kind.wide_counters in found or kind.narrow_counters not in found,
        constant=_constant(kind, raw, found),
    )


def _constant(kind: _Kind, raw: bytes, found: Mapping[int, tuple[int, int]]) -> int:
    """Where the counters begin; the end where something else follows them, as in messages about destinations."""
    counted = [found[nest][0] - 4 for nest in (kind.wide_counters, kind.narrow_counters) if nest in found]
    begin = min(counted, default=len(raw))
    return begin if all(found[field][1] <= begin for field in kind.fields if field in found) else len(raw)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("ascii")


def _address(family: int, raw: bytes) -> IPAddress:
    return IPv4Address(raw[:4]) if family == AddressFamily.IPV4 else IPv6Address(raw)


def _prefix_length(family: int, raw: bytes) -> int:
    """Bits set in an IPv4 mask, which may have holes in foreign entries; the number itself for IPv6."""
    return int.from_bytes(raw, "big").bit_count() if family == AddressFamily.IPV4 else int(U32.unpack(raw)[0])
