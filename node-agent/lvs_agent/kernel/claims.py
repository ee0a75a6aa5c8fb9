"""Hears gratuitous ARP and unsolicited neighbour advertisements as they come in, on every device.

By a packet socket that is given ARP only (packet(7)) and a raw socket that is given ICMPv6 only (raw(7)): what else
passes a director costs nothing. Filters in the kernel turn away all but what somebody says unasked of his own address;
who makes many of them has a few taken ten times a second.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import Final

from lvs_agent.decide.claims import Claim, read_gratuitous_arp, read_unsolicited_advertisement
from lvs_agent.decide.kernel_state import IPAddress
from lvs_agent.errors import PermissionRefused
from lvs_agent.kernel.socket_filter import attach_filter

PAUSE_SECONDS: Final = 0.1
"""So long nothing is taken after something was."""
AT_ONCE: Final = 64
MAX_CLAIMS: Final = 256
"""So many are remembered between two looks. Who takes a virtual router claims each of its addresses."""
_ETH_P_ARP: Final = 0x0806
_ICMPV6: Final = 58
_IPV6_RECVHOPLIMIT, _IPV6_HOPLIMIT = 51, 52
_HOP_LIMIT: Final = struct.Struct("=i")
_LONGEST: Final = 256
_NON_BLOCKING: Final = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_WORD, _BYTE, _TO_X, _EQUAL, _EQUAL_X, _ANY_BIT, _RETURN = 0x20, 0x30, 0x07, 0x15, 0x1D, 0x45, 0x06
"""Classic BPF (linux/filter.h)."""
_ARP_SENDER, _ARP_TARGET = 14, 24
_ADVERTISEMENT, _FLAGS, _SOLICITED = 136, 4, 0x40
_log = logging.getLogger(__name__)


class KernelClaims:
    """`Claims` on every device of this network namespace. `wake` is called when one was heard."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._addresses: AbstractSet[IPAddress] = frozenset()
        self._heard: set[Claim] = set()
        self._sockets: list[socket.socket] = []
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._failure = ""

    def hear(self, addresses: AbstractSet[IPAddress]) -> frozenset[Claim]:
        """What was heard since the last look; from now on of these addresses. Raises PermissionRefused."""
        self._addresses = addresses
        if not addresses:
            self.close()
        elif not self._sockets:
            self._open()
        heard, self._heard = frozenset(self._heard), set()
        return heard

    def close(self) -> None:
        """Hear nothing any more."""
        loop = asyncio.get_running_loop()
        for opened in self._sockets:
            if (pause := self._pauses.pop(opened, None)) is not None:
                pause.cancel()
            loop.remove_reader(opened)
            opened.close()
        self._sockets, self._heard = [], set()

    def _open(self) -> None:
        try:
            with contextlib.ExitStack() as undo:
                # What comes in before the filter is there is told apart when it is read.
                kind = socket.SOCK_DGRAM | _NON_BLOCKING
                arp = undo.enter_context(socket.socket(socket.AF_PACKET, kind, socket.htons(_ETH_P_ARP)))
                attach_filter(arp, _ARP_FILTER)
                opened = [arp]
                if socket.has_dualstack_ipv6():
                    kind = socket.SOCK_RAW | _NON_BLOCKING
                    icmp = undo.enter_context(socket.socket(socket.AF_INET6, kind, _ICMPV6))
                    attach_filter(icmp, _ICMPV6_FILTER)
                    icmp.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVHOPLIMIT, 1)
                    opened.append(icmp)
                undo.pop_all()
        except PermissionError as error:
            raise PermissionRefused("hearing who else claims a VIP: the agent needs CAP_NET_RAW") from error
        except OSError as error:
            # A Master that does not hear it has keepalived's own means.
            if str(error) != self._failure:
                _log.warning("hearing who else claims a VIP: %s", error.strerror or error)
            self._failure = str(error)
            return
        self._sockets, self._failure = opened, ""
        for one in opened:
            self._listen(one)

    def _listen(self, opened: socket.socket) -> None:
        self._pauses.pop(opened, None)
        asyncio.get_running_loop().add_reader(opened, self._take, opened)

    def _take(self, opened: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(opened)
        self._pauses[opened] = loop.call_later(PAUSE_SECONDS, self._listen, opened)
        claims = {claim for claim in _received(opened) if claim.address in self._addresses}
        if claims and len(self._heard) < MAX_CLAIMS:
            self._heard |= claims
            self._wake()


def _received(opened: socket.socket) -> Iterable[Claim]:
    """A bounded number of what has come."""
    for _ in range(AT_ONCE):
        try:
            packet, extra, _, _ = opened.recvmsg(_LONGEST, socket.CMSG_SPACE(_HOP_LIMIT.size))
        except OSError:  # nothing is left, or a device went away: the others are heard
            return
        if opened.family == socket.AF_PACKET:
            claim = read_gratuitous_arp(packet)
        else:
            claim = read_unsolicited_advertisement(packet, _hop_limit(extra))
        if claim is not None:
            yield claim


def _hop_limit(extra: Iterable[tuple[int, int, bytes]]) -> int:
    for level, kind, data in extra:
        if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_HOPLIMIT) and len(data) == _HOP_LIMIT.size:
            limit: int = _HOP_LIMIT.unpack(data)[0]
            return limit
    return 0


def _program(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("=HBBI", *one) for one in instructions)


# Both see the packet from behind the header below: ARP begins behind Ethernet's, ICMPv6 behind that of IPv6.
_ARP_FILTER: Final = _program(
    (_WORD, 0, 0, _ARP_SENDER),
    (_TO_X, 0, 0, 0),
    (_WORD, 0, 0, _ARP_TARGET),
    (_EQUAL_X, 0, 1, 0),
    (_RETURN, 0, 0, _LONGEST),
    (_RETURN, 0, 0, 0),
)
_ICMPV6_FILTER: Final = _program(
    (_BYTE, 0, 0, 0),
    (_EQUAL, 0, 3, _ADVERTISEMENT),
    (_BYTE, 0, 0, _FLAGS),
    (_ANY_BIT, 1, 0, _SOLICITED),
    (_RETURN, 0, 0, _LONGEST),
    (_RETURN, 0, 0, 0),
)
