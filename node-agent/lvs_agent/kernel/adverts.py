"""Hears adverts of VRRP as the kernel hands them to whoever speaks protocol 112 (raw(7)).

Multicast adverts come where somebody on this machine has joined the group on the device, and keepalived does: so they
are heard where it hears them, and nowhere else.
"""

import socket
import struct
from typing import Final

from lvs_agent.decide.heard_adverts import Advert, read_advert
from lvs_agent.errors import PermissionRefused

_VRRP: Final = 112
_AT_ONCE: Final = 512
"""More than come between two looks; what the socket's buffer has no room for is heard another time."""
_LONGEST: Final = 2048
_IP_PKTINFO: Final = 8
_PKTINFO: Final = struct.Struct("=i4s4s")


class KernelAdverts:
    """A raw socket of this network namespace."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            self._socket = socket.socket(socket.AF_INET, kind, _VRRP)
        except PermissionError as error:
            raise PermissionRefused("a raw socket for adverts of VRRP needs CAP_NET_RAW") from error
        self._socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    def hear(self) -> list[Advert]:
        """What has come since."""
        heard = []
        for _ in range(_AT_ONCE):
            try:
                packet, extra, _, _ = self._socket.recvmsg(_LONGEST, socket.CMSG_SPACE(_PKTINFO.size))
            except BlockingIOError:
                break
            device = _device(extra)
            advert = read_advert(packet, device) if device is not None else None
            if advert is not None:
                heard.append(advert)
        return heard

    def close(self) -> None:
        """Hear nothing any more."""
        self._socket.close()


def _device(extra: list[tuple[int, int, bytes]]) -> str | None:
    """The device that a packet came in by; None where it is gone by now."""
    for level, kind, data in extra:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO) and len(data) >= _PKTINFO.size:
            try:
                return socket.if_indextoname(_PKTINFO.unpack_from(data)[0])
            except OSError:
                return None
    return None
