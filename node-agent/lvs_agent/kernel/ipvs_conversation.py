"""What every conversation about IPVS has in common: the family's number, and what errors and odd answers mean."""

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Never

from lvs_agent.errors import IpvsReadFailed, IpvsUnavailable, PermissionRefused
from lvs_agent.kernel import ipvs_codec as codec
from lvs_agent.kernel.netlink_socket import AnswerLost, NetlinkSocket
from lvs_agent.kernel.netlink_wire import NLMSG_ERROR, error_code, family_id, get_family_message

NOT_PERMITTED: Final = frozenset({errno.EPERM, errno.EACCES})
_NOT_UNDERSTOOD = (ValueError, KeyError, struct.error)
"""What the decoders raise at an answer of another form: a WireError, or where an attribute is missing or too short."""


class IpvsConversation:
    """A socket on which the kernel of this network namespace (that of the thread at first use) is asked about IPVS."""

    def __init__(self, socket: NetlinkSocket | None = None) -> None:
        self._socket = socket or NetlinkSocket()
        self._encoder: codec.RequestEncoder | None = None

    def close(self) -> None:
        """Release the socket; the kernel's state stays as it is."""
        self._socket.close()

    @contextmanager
    def _understanding(self) -> Iterator[None]:
        """An answer that is not understood is none, and nothing more is heard of what came with it."""
        try:
            yield
        except _NOT_UNDERSTOOD as error:
            self._socket.close()
            raise IpvsReadFailed(f"the kernel's answer about IPVS is not understood: {error!r}") from error

    def _resolved(self) -> codec.RequestEncoder:
        """The encoder for the family's number; asking for it loads ip_vs where that is allowed."""
        if self._encoder is None:
            sequence = self._socket.next_sequence()
            self._socket.send(get_family_message(codec.FAMILY_NAME, sequence))
            for buffer, message in self._socket.answers(sequence):
                if message.type == NLMSG_ERROR:
                    self._refused(error_code(buffer, message))
                self._encoder = codec.RequestEncoder(family_id(buffer, message))
        if self._encoder is None:
            raise AnswerLost("no answer about the IPVS family")
        return self._encoder

    def _refused(self, code: int) -> Never:
        if code in NOT_PERMITTED:
            raise PermissionRefused(f"IPVS: {os.strerror(code)}: the agent needs CAP_NET_ADMIN")
        if code == errno.ENOENT:
            raise IpvsUnavailable("the kernel has no IPVS and could not load it: load the module ip_vs on this node")
        # The table may well be there: nothing is known of it, which is not the same as nothing being in it.
        self._encoder = None
        raise IpvsReadFailed(f"the kernel does not answer about IPVS: {os.strerror(code)}")
