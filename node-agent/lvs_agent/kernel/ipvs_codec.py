"""IPVS over generic netlink: requests as bytes. Attribute numbers are those of linux/ip_vs.h.

What the kernel wants beyond its header files (net/netfilter/ipvs/ip_vs_ctl.c, ip_vs_genl_parse_service and _dest):
the flags attribute carries a mask and is mandatory, also on marks; the netmask attribute is a mask in network order
for IPv4 and a prefix length in host order for IPv6; ports are in network order; an address takes 16 bytes for both
families; a new or edited entry must name every setting.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from lvs_agent.decide.changes import (
    AddDestination,
    AddService,
    DeleteDestination,
    DeleteService,
    EditDestination,
    EditService,
    IpvsChange,
    ZeroService,
)
from lvs_agent.decide.kernel_settings import KernelTimeouts, SyncDaemon, SyncState
from lvs_agent.decide.kernel_state import (
    HOST_PREFIX_LENGTH,
    IPV4,
    AddressFamily,
    AnyServiceKey,
    FirewallMarkKey,
    ForwardingMethod,
    ServiceFlag,
    ServiceSettings,
)
from lvs_agent.kernel.netlink_wire import (
    ATTRIBUTE,
    GENL_HEADER,
    GENL_VERSION,
    NLA_F_NESTED,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    U16,
    U32,
    attribute,
    generic_message,
    nested,
    text,
)

FAMILY_NAME = "IPVS"

CMD_NEW_SERVICE, CMD_SET_SERVICE, CMD_DEL_SERVICE, CMD_GET_SERVICE = 1, 2, 3, 4
CMD_NEW_DEST, CMD_SET_DEST, CMD_DEL_DEST, CMD_GET_DEST = 5, 6, 7, 8
CMD_NEW_DAEMON, CMD_DEL_DAEMON, CMD_GET_DAEMON = 9, 10, 11
CMD_SET_CONFIG, CMD_GET_CONFIG, CMD_GET_INFO = 12, 13, 15
CMD_ZERO = 16

CMD_ATTR_SERVICE, CMD_ATTR_DEST, CMD_ATTR_DAEMON = 1, 2, 3

SVC_AF, SVC_PROTOCOL, SVC_ADDR, SVC_PORT, SVC_FWMARK = 1, 2, 3, 4, 5
SVC_SCHED_NAME, SVC_FLAGS, SVC_TIMEOUT, SVC_NETMASK = 6, 7, 8, 9
SVC_STATS, SVC_PE_NAME, SVC_STATS64 = 10, 11, 12

DEST_ADDR, DEST_PORT, DEST_FWD_METHOD, DEST_WEIGHT = 1, 2, 3, 4
DEST_U_THRESH, DEST_L_THRESH = 5, 6
DEST_ACTIVE, DEST_INACTIVE, DEST_PERSIST, DEST_STATS = 7, 8, 9, 10
DEST_ADDR_FAMILY, DEST_STATS64 = 11, 12
DEST_TUN_TYPE, DEST_TUN_PORT, DEST_TUN_FLAGS = 13, 14, 15


INFO_VERSION, INFO_CONN_TAB_SIZE = 1, 2

DAEMON_STATE, DAEMON_INTERFACE, DAEMON_SYNC_ID, DAEMON_MAX_LENGTH = 1, 2, 3, 4
DAEMON_GROUP, DAEMON_GROUP6, DAEMON_PORT, DAEMON_TTL = 5, 6, 7, 8

SVC_F_PERSISTENT = 0x01
# "hashed" (0x02) is the kernel's own: it is outside of the mask, so that no edit of ours touches it.
SVC_FLAGS_MASK = SVC_F_PERSISTENT | int(
    ServiceFlag.ONE_PACKET | ServiceFlag.SCHEDULER_1 | ServiceFlag.SCHEDULER_2 | ServiceFlag.SCHEDULER_3
)

_REQUEST = NLM_F_REQUEST
_FLAGS = struct.Struct("=II")
_SERVICE = struct.Struct("=HHHxx HHHxx HH16s HH2sxx")
# A table has tens of thousands of destinations, and packing costs by the number of values: what requests have in common
# is taken as bytes. Addresses and ports are taken as `identity` of their keys has them.
_FRAME = "=8sI {middle}s "
_START = struct.Struct("=IHH")
_IDENTITY = "16s 4s2s 6sH "
_SETTINGS = "6sI 4sI 4sI 4sI "
_TUNNEL = "4sB 7s2s 6sH xx"
_PORT, _FAMILY = ATTRIBUTE.pack(6, DEST_PORT), bytes(2) + ATTRIBUTE.pack(6, DEST_ADDR_FAMILY)
_METHOD, _WEIGHT = bytes(2) + ATTRIBUTE.pack(8, DEST_FWD_METHOD), ATTRIBUTE.pack(8, DEST_WEIGHT)
_UPPER, _LOWER = ATTRIBUTE.pack(8, DEST_U_THRESH), ATTRIBUTE.pack(8, DEST_L_THRESH)
_TYPE, _TUNNEL_PORT = ATTRIBUTE.pack(5, DEST_TUN_TYPE), bytes(3) + ATTRIBUTE.pack(6, DEST_TUN_PORT)
_TUNNEL_FLAGS = bytes(2) + ATTRIBUTE.pack(6, DEST_TUN_FLAGS)


def service_identity(key: AnyServiceKey) -> bytes:
    """The attributes that find a service, without the nest around them."""
    if isinstance(key, FirewallMarkKey):
        return attribute(SVC_AF, U16.pack(key.family)) + attribute(SVC_FWMARK, U32.pack(key.mark))
    identity = key.identity
    return _SERVICE.pack(
        6,
        SVC_AF,
        identity[18],
        6,
        SVC_PROTOCOL,
        identity[19],
        20,
        SVC_ADDR,
        identity[:16],
        6,
        SVC_PORT,
        identity[16:18],
    )


@lru_cache(maxsize=256)  # services of a large table have few different ones
def service_settings(family: AddressFamily, settings: ServiceSettings) -> bytes:
    """Every setting of a service as attributes."""
    flags = int(settings.flags) | (SVC_F_PERSISTENT if settings.persistence else 0)
    prefix = settings.persistence.prefix_length if settings.persistence else host_prefix_length(family)
    parts = [
        text(SVC_SCHED_NAME, settings.scheduler),
        attribute(SVC_FLAGS, _FLAGS.pack(flags, SVC_FLAGS_MASK)),
        attribute(SVC_TIMEOUT, U32.pack(settings.persistence.timeout_seconds if settings.persistence else 0)),
        attribute(SVC_NETMASK, netmask_bytes(family, prefix)),
    ]
    if settings.persistence_engine:
        parts.append(text(SVC_PE_NAME, settings.persistence_engine))
    return b"".join(parts)


def host_prefix_length(family: AddressFamily) -> int:
    """32 or 128."""
    return HOST_PREFIX_LENGTH[4 if family is AddressFamily.IPV4 else 6]


def netmask_bytes(family: AddressFamily, prefix_length: int) -> bytes:
    """A mask in network order for IPv4, the prefix length in host order for IPv6."""
    if family is AddressFamily.IPV6:
        return U32.pack(prefix_length)
    return ((0xFFFFFFFF << (32 - prefix_length)) & 0xFFFFFFFF).to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which attributes a destination request has; `number` tells the layouts apart."""

    number: int
    attributes: str
    length: int
    head: bytes
    """From the nest around the attributes to the address."""


def _layout(number: int, attributes: str) -> _Layout:
    length = struct.calcsize("=" + attributes)
    head = ATTRIBUTE.pack(8 + length, CMD_ATTR_DEST | NLA_F_NESTED) + ATTRIBUTE.pack(20, DEST_ADDR)
    return _Layout(number, attributes, length, head)


_BARE = _layout(1, _IDENTITY + "xx")
_PLAIN = _layout(2, _IDENTITY + _SETTINGS)
_TUNNELLED = _layout(3, _IDENTITY + _SETTINGS + _TUNNEL)


class _Frame(NamedTuple):
    """What all requests of one command about destinations of one service have in common."""

    pack: Callable[..., bytes]
    start: bytes
    """Up to the sequence number."""
    middle: bytes
    """From there to the destination's address."""


@lru_cache(maxsize=64)
def _frame_struct(middle: int, attributes: str) -> struct.Struct:
    """How a destination request is packed whose frame has so many bytes in the middle."""
    return struct.Struct(_FRAME.format(middle=middle) + attributes)


class RequestEncoder:
    """Encodes changes for one resolved family; remembers the last service's bytes, since batches come in runs."""

    def __init__(self, family: int) -> None:
        self._family = family
        self._last_service: AnyServiceKey | None = None
        self._last_nest = b""
        self._frames: dict[int, _Frame] = {}
        """Of the last service, by layout, command and flags."""

    def change(self, change: IpvsChange, sequence: int, flags: int = _REQUEST) -> bytes:
        """The request that carries out one change."""
        command, encode = _ENCODERS[type(change)]
        return encode(self, change, command, sequence, flags)

    def last_change(self, change: IpvsChange, sequence: int) -> bytes:
        """The same, asking for an acknowledgement: once it came, everything before was carried out or refused."""
        return self.change(change, sequence, _REQUEST | NLM_F_ACK)

    def dump_services(self, sequence: int) -> bytes:
        """Ask for every service."""
        return generic_message(self._family, CMD_GET_SERVICE, _REQUEST | NLM_F_DUMP, sequence, b"")

    def get_service(self, service: AnyServiceKey, sequence: int) -> bytes:
        """Ask for one service."""
        return generic_message(self._family, CMD_GET_SERVICE, _REQUEST, sequence, self._service_nest(service))

    def dump_destinations(self, service: AnyServiceKey, sequence: int) -> bytes:
        """Ask for every destination of a service."""
        nest = self._service_nest(service)
        return generic_message(self._family, CMD_GET_DEST, _REQUEST | NLM_F_DUMP, sequence, nest)

    def info(self, sequence: int) -> bytes:
        """Ask for the version and the table size."""
        return generic_message(self._family, CMD_GET_INFO, _REQUEST, sequence, b"")

    def get_timeouts(self, sequence: int) -> bytes:
        """Ask for the time-outs."""
        return generic_message(self._family, CMD_GET_CONFIG, _REQUEST, sequence, b"")

    def set_timeouts(self, timeouts: KernelTimeouts, sequence: int) -> bytes:
        """Set these time-outs, with an acknowledgement; those that are not named stay (ip_vs_genl_set_config)."""
        payload = b"".join(attribute(timeout, U32.pack(seconds)) for timeout, seconds in timeouts.items())
        return generic_message(self._family, CMD_SET_CONFIG, _REQUEST | NLM_F_ACK, sequence, payload)

    def start_daemon(self, state: SyncState, daemon: SyncDaemon, sequence: int) -> bytes:
        """Start a sync daemon, with an acknowledgement. Its port is in host order."""
        parts = [
            attribute(DAEMON_STATE, U32.pack(state)),
            text(DAEMON_INTERFACE, daemon.interface),
            attribute(DAEMON_SYNC_ID, U32.pack(daemon.sync_id)),
            attribute(DAEMON_GROUP if daemon.group.version == IPV4 else DAEMON_GROUP6, daemon.group.packed),
            attribute(DAEMON_PORT, U16.pack(daemon.port)),
            attribute(DAEMON_TTL, bytes((daemon.ttl,))),
        ]
        if daemon.max_length is not None:
            parts.append(attribute(DAEMON_MAX_LENGTH, U16.pack(daemon.max_length)))
        nest = nested(CMD_ATTR_DAEMON, *parts)
        return generic_message(self._family, CMD_NEW_DAEMON, _REQUEST | NLM_F_ACK, sequence, nest)

    def stop_daemon(self, state: SyncState, sequence: int) -> bytes:
        """Stop a sync daemon, with an acknowledgement."""
        nest = nested(CMD_ATTR_DAEMON, attribute(DAEMON_STATE, U32.pack(state)))
        return generic_message(self._family, CMD_DEL_DAEMON, _REQUEST | NLM_F_ACK, sequence, nest)

    def dump_daemons(self, sequence: int) -> bytes:
        """Ask for both sync daemons; there is no asking for one."""
        return generic_message(self._family, CMD_GET_DAEMON, _REQUEST | NLM_F_DUMP, sequence, b"")

    def _service_nest(self, service: AnyServiceKey) -> bytes:
        if service is not self._last_service:
            self._last_nest = nested(CMD_ATTR_SERVICE, service_identity(service))
            self._last_service = service
            self._frames = {}
        return self._last_nest

    def _frame(self, service: AnyServiceKey, command: int, flags: int, layout: _Layout) -> _Frame:
        kind = layout.number << 32 | command << 16 | flags
        if service is self._last_service and (known := self._frames.get(kind)) is not None:
            return known
        middle = bytes(4) + GENL_HEADER.pack(command, GENL_VERSION, 0) + self._service_nest(service) + layout.head
        start = _START.pack(12 + len(middle) + layout.length, self._family, flags)
        frame = self._frames[kind] = _Frame(_frame_struct(len(middle), layout.attributes).pack, start, middle)
        return frame

    def _service_entry(self, change: AddService | EditService, command: int, sequence: int, flags: int) -> bytes:
        key = change.service
        payload = nested(CMD_ATTR_SERVICE, service_identity(key), service_settings(key.family, change.settings))
        return generic_message(self._family, command, flags, sequence, payload)

    def _service_only(self, change: DeleteService | ZeroService, command: int, sequence: int, flags: int) -> bytes:
        return generic_message(self._family, command, flags, sequence, self._service_nest(change.service))

    def _destination_entry(
        self, change: AddDestination | EditDestination, command: int, sequence: int, flags: int
    ) -> bytes:
        identity, settings = change.destination.identity, change.settings
        tunnel = settings.tunnel if settings.method is ForwardingMethod.TUNNEL else None
        pack, start, middle = self._frame(change.service, command, flags, _PLAIN if tunnel is None else _TUNNELLED)
        values = (
            start, sequence, middle, identity[:16], _PORT, identity[16:18], _FAMILY, identity[18],
            _METHOD, settings.method, _WEIGHT, settings.weight,
            _UPPER, settings.upper_threshold, _LOWER, settings.lower_threshold,
        )  # fmt: skip
        if tunnel is None:
            return pack(*values)
        port = tunnel.port.to_bytes(2, "big")
        return pack(*values, _TYPE, tunnel.type, _TUNNEL_PORT, port, _TUNNEL_FLAGS, tunnel.flags)

    def _destination_only(self, change: DeleteDestination, command: int, sequence: int, flags: int) -> bytes:
        identity = change.destination.identity
        pack, start, middle = self._frame(change.service, command, flags, _BARE)
        return pack(start, sequence, middle, identity[:16], _PORT, identity[16:18], _FAMILY, identity[18])


_ENCODERS: dict[type, tuple[int, Callable[..., bytes]]] = {
    AddService: (CMD_NEW_SERVICE, RequestEncoder._service_entry),  # noqa: SLF001 -- its own (a table of its own methods)
    EditService: (CMD_SET_SERVICE, RequestEncoder._service_entry),  # noqa: SLF001 -- its own
    DeleteService: (CMD_DEL_SERVICE, RequestEncoder._service_only),  # noqa: SLF001 -- its own
    ZeroService: (CMD_ZERO, RequestEncoder._service_only),  # noqa: SLF001 -- its own
    AddDestination: (CMD_NEW_DEST, RequestEncoder._destination_entry),  # noqa: SLF001 -- its own
    EditDestination: (CMD_SET_DEST, RequestEncoder._destination_entry),  # noqa: SLF001 -- its own
    DeleteDestination: (CMD_DEL_DEST, RequestEncoder._destination_only),  # noqa: SLF001 -- its own
}
