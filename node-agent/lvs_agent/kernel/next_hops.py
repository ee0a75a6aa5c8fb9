"""The next hops of every route, of all tables, by a lean dump: a node may hold the routes of the whole Internet.

Layouts are those of linux/rtnetlink.h.
"""

import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from lvs_agent.decide.kernel_state import IPAddress
from lvs_agent.errors import LinkError
from lvs_agent.kernel.netlink_socket import AnswerLost, NetlinkSocket, RequestRefused, open_netlink
from lvs_agent.kernel.netlink_wire import HEADER, NLM_F_DUMP, NLM_F_REQUEST, attributes

_NETLINK_ROUTE: Final = 0
_RTM_GETROUTE: Final = 26
_ROUTE_MESSAGE: Final = struct.Struct("=BBBBBBBBI")
_GENERIC_HEADER: Final = 4
_ATTRIBUTES: Final = _ROUTE_MESSAGE.size - _GENERIC_HEADER
"""`NetlinkSocket.dump` cuts off a generic netlink header, which is here the start of the route message."""
_RTA_GATEWAY, _RTA_MULTIPATH, _RTA_VIA = 5, 9, 18
_VIA_FAMILY: Final = 2
_NEXT_HOP: Final = struct.Struct("=HBBi")
_TRIES: Final = 5


def read_next_hops() -> frozenset[IPAddress]:
    """Every next hop of this network namespace. Raises LinkError; blocks for about a second per million routes."""
    for attempt in range(_TRIES):
        try:
            return frozenset(ip_address(packed) for packed in _dump(socket.AF_INET) | _dump(socket.AF_INET6))
        except AnswerLost as error:
            if attempt == _TRIES - 1:
                raise LinkError(f"reading routes: {error}") from error
        except RequestRefused as error:
            raise LinkError(f"reading routes: {error}") from error
    raise AssertionError("unreachable")


def _dump(family: int) -> set[bytes]:
    netlink = NetlinkSocket(_open)
    try:
        return {packed for _, route in netlink.dump(_request(family)) for packed in _gateways(route, _ATTRIBUTES)}
    finally:
        netlink.close()


def _open() -> socket.socket:
    try:
        return open_netlink(_NETLINK_ROUTE)
    except OSError as error:
        raise LinkError(f"no netlink socket: {error.strerror}") from error


def _request(family: int) -> bytes:
    length = HEADER.size + _ROUTE_MESSAGE.size
    head = HEADER.pack(length, _RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
    return head + _ROUTE_MESSAGE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)


def _gateways(message: bytes, start: int) -> Iterator[bytes]:
    """The packed gateways among the attributes, those of several next hops too."""
    buffer = memoryview(message)
    found = attributes(buffer, start, len(message))
    if bounds := found.get(_RTA_GATEWAY):
        yield message[slice(*bounds)]
    if bounds := found.get(_RTA_VIA):
        yield message[bounds[0] + _VIA_FAMILY : bounds[1]]
    if bounds := found.get(_RTA_MULTIPATH):
        at, end = bounds
        while at + _NEXT_HOP.size <= end:
            length = _NEXT_HOP.unpack_from(message, at)[0]
            if length < _NEXT_HOP.size:
                return
            yield from _gateways(message[at : at + length], _NEXT_HOP.size)
            at += (length + 3) & ~3
