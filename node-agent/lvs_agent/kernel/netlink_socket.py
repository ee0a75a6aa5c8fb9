"""One generic netlink socket for synchronous conversations with the kernel.

The kernel handles a request inside the send call and queues every answer before that call returns (af_netlink.c,
netlink_unicast_kernel; further parts of a dump are made by the receive call), so nothing here ever waits: an answer
that is not there was lost.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator

from lvs_agent.errors import IpvsError, KernelError, PermissionRefused
from lvs_agent.kernel.netlink_wire import (
    HEADER,
    HEADERS_LENGTH,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_OVERRUN,
    Message,
    WireError,
    errno_of,
    messages,
)

_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_GENERIC = 16
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_SEND_BUFFER = 1 << 20
_RECEIVE_BUFFER = 8 << 20
# The kernel builds dump parts of at most 32 KiB; acknowledgements carry only headers here.
_CHUNK = 1 << 17
_END_OF_DUMP = frozenset({NLMSG_DONE, NLMSG_ERROR})


class AnswerLost(KernelError):  # noqa: N818 (named after the fault)
    """An answer did not arrive (ENOBUFS) or a dump was interrupted by a change: only asking again tells."""


class RequestRefused(KernelError):  # noqa: N818 (named after the fault)
    """The kernel answered a request with an errno."""

    def __init__(self, code: int) -> None:
        super().__init__(os.strerror(code))
        self.code = code


class NetlinkSocket:
    """Opened on first use, and anew after a lost answer, so that no late answer meets a new question."""

    def __init__(self, open_socket: Callable[[], socket.socket] | None = None) -> None:
        self._open_socket = open_socket or generic_netlink_socket
        self._socket: socket.socket | None = None
        self._sequence = 0
        self._chunk = bytearray(_CHUNK)

    def close(self) -> None:
        """Close; a later call opens anew."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def next_sequence(self, count: int = 1) -> int:
        """The first of `count` numbers in a row that no other request carries."""
        if self._sequence + count >= 1 << 32:
            self._sequence = 0
        first = self._sequence + 1
        self._sequence += count
        return first

    def send(self, buffer: bytes | bytearray) -> None:
        """Hand over requests; when this returns the kernel has worked on all of them."""
        try:
            self._open().send(buffer)
        except PermissionError as error:
            raise PermissionRefused(f"netlink: {error.strerror}: the agent needs CAP_NET_ADMIN") from error
        except OSError as error:
            self.close()
            raise AnswerLost(f"netlink send: {error.strerror}") from error

    def answers(self, last: int) -> Iterator[tuple[memoryview, Message]]:
        """Answers, errors included, until the one to request `last` came."""
        complete = False
        while not complete:
            buffer = self._receive()
            for message in messages(buffer):
                if message.type == NLMSG_OVERRUN:
                    self.close()
                    raise AnswerLost("the kernel lost netlink messages")
                yield buffer, message
                complete = complete or message.sequence == last

    def dump(self, request: bytes) -> Iterator[tuple[int, bytes]]:
        """Send a dump request and yield, as a part's number and bytes, what follows the headers of each message.

        Raises RequestRefused, or AnswerLost when a change interrupted the dump. To be exhausted: the kernel works on
        one dump per socket.
        """
        self.send(request)
        part = 0
        while True:
            part += 1
            # One copy of the whole part: its messages are sliced out of bytes, which is faster than from a view.
            buffer = bytes(self._receive())
            offset, size = 0, len(buffer)
            while offset < size:
                length, kind, flags, _, _ = HEADER.unpack_from(buffer, offset)
                end = offset + length
                if length < HEADER.size or end > size:
                    raise WireError(f"netlink message of {length} bytes at {offset} in a part of {size}")
                if kind == NLMSG_OVERRUN or flags & NLM_F_DUMP_INTR:
                    self.close()
                    raise AnswerLost("a netlink dump was interrupted by a change")
                if kind in _END_OF_DUMP:
                    self._end_of_dump(buffer[offset + HEADER.size : end])
                    return
                yield part, buffer[offset + HEADERS_LENGTH : end]
                offset = (end + 3) & ~3

    def _end_of_dump(self, payload: bytes) -> None:
        code = errno_of(payload)
        if code:
            raise RequestRefused(code)

    def _receive(self) -> memoryview:
        try:
            size = self._open().recv_into(self._chunk)
        except (BlockingIOError, OSError) as error:
            self.close()
            raise AnswerLost(f"netlink receive: {error.strerror}") from error
        if size < HEADER.size:
            self.close()
            raise AnswerLost("netlink receive: an empty answer")
        return memoryview(self._chunk)[:size]

    def _open(self) -> socket.socket:
        if self._socket is None:
            self._socket = self._open_socket()
        return self._socket


def open_netlink(protocol: int, groups: int = 0) -> socket.socket:
    """A socket that never blocks, and hears these groups of multicast. Raises OSError."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    opened.setblocking(False)
    opened.bind((0, groups))
    return opened


def generic_netlink_socket() -> socket.socket:
    """A socket that never blocks, with room for the answers to a whole batch."""
    try:
        opened = open_netlink(_NETLINK_GENERIC)
        _prepare(opened)
    except OSError as error:
        raise IpvsError(f"no generic netlink socket: {error.strerror}") from error
    return opened


def _prepare(opened: socket.socket) -> None:
    for forced, plain, size in (
        (_SO_SNDBUFFORCE, socket.SO_SNDBUF, _SEND_BUFFER),
        (_SO_RCVBUFFORCE, socket.SO_RCVBUF, _RECEIVE_BUFFER),
    ):
        try:
            opened.setsockopt(socket.SOL_SOCKET, forced, size)
        except PermissionError:
            opened.setsockopt(socket.SOL_SOCKET, plain, size)
    with contextlib.suppress(OSError):
        # Since Linux 4.3: error answers without a copy of the whole request. Older kernels answer at length.
        opened.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
