"""The real settings of IPVS as a whole: one request at a time, each answered before the call returns."""

import errno
import os
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from lvs_agent.decide.kernel_settings import KernelTimeouts, SyncDaemon, SyncDaemons, SyncState
from lvs_agent.errors import IpvsReadFailed, PermissionRefused, SettingRefused
from lvs_agent.kernel.ipvs_codec import RequestEncoder
from lvs_agent.kernel.ipvs_conversation import NOT_PERMITTED, IpvsConversation
from lvs_agent.kernel.ipvs_decode import decode_daemon, decode_timeouts
from lvs_agent.kernel.netlink_socket import AnswerLost, RequestRefused
from lvs_agent.kernel.netlink_wire import NLMSG_ERROR, Message, error_code

Result = TypeVar("Result")
_TRIES: Final = 3
_NO_HINTS: Final[Mapping[int, str]] = {}
_START_HINTS: Final[Mapping[int, str]] = {
    errno.EINVAL: " (it starts none while the table has a real server of another family than its virtual service)"
}
"""ip_vs_genl_new_daemon in ip_vs_ctl.c."""


class KernelIpvsSettings(IpvsConversation):
    """`IpvsSettings` on the kernel of this network namespace (that of the thread at first use)."""

    def read_timeouts(self) -> KernelTimeouts:
        """The time-outs of connections."""
        return self._retrying(lambda: self._ask(RequestEncoder.get_timeouts, decode_timeouts))

    def write_timeouts(self, timeouts: KernelTimeouts) -> None:
        """Set these and leave the others."""
        what = ", ".join(f"{timeout.name} {seconds} s" for timeout, seconds in timeouts.items())
        self._order(f"time-outs {what}", lambda encoder, sequence: encoder.set_timeouts(timeouts, sequence))

    def read_daemons(self) -> SyncDaemons:
        """The sync daemons that run."""
        return self._retrying(self._dump_daemons)

    def start_daemon(self, state: SyncState, daemon: SyncDaemon) -> None:
        """Start one."""
        what = f"sync daemon {state.name.lower()} {daemon}"
        self._order(what, lambda encoder, sequence: encoder.start_daemon(state, daemon, sequence), hints=_START_HINTS)

    def stop_daemon(self, state: SyncState) -> None:
        """Stop one.

        The kernel acknowledges nothing when the daemon's thread had no time to run since it was made: the error of
        stopping such a thread is EINTR, which netlink takes for an order that goes on. Stopped it is.
        """
        what = f"stopping the sync daemon {state.name.lower()}"
        try:
            self._order(what, lambda encoder, sequence: encoder.stop_daemon(state, sequence), gone=errno.ESRCH)
        except IpvsReadFailed:
            if state in self.read_daemons():
                raise

    def _dump_daemons(self) -> SyncDaemons:
        for is_last in (False, True):
            request = self._resolved().dump_daemons(self._socket.next_sequence())
            try:
                return dict(decode_daemon(payload) for _, payload in self._socket.dump(request))
            except RequestRefused as refused:
                if is_last or refused.code != errno.ENOENT:
                    self._refused(refused.code)
            self._encoder = None
        raise AnswerLost("no answer about sync daemons")

    def _ask(
        self, question: Callable[[RequestEncoder, int], bytes], decode: Callable[[memoryview, Message], Result]
    ) -> Result:
        """One question with one answer. The family's number may be an old one: then it is looked up once more."""
        for is_last in (False, True):
            sequence = self._socket.next_sequence()
            self._socket.send(question(self._resolved(), sequence))
            for buffer, message in self._socket.answers(sequence):
                if message.type != NLMSG_ERROR:
                    return decode(buffer, message)
                code = error_code(buffer, message)
                if is_last or code != errno.ENOENT:
                    self._refused(code)
                self._encoder = None
        raise AnswerLost("no answer about IPVS")

    def _order(
        self,
        what: str,
        order: Callable[[RequestEncoder, int], bytes],
        *,
        gone: int = 0,
        hints: Mapping[int, str] = _NO_HINTS,
    ) -> None:
        """Something to be done, acknowledged. It is not repeated: who asked for it looks again.

        The errno `gone` says that it was so already; `hints` say what others can only mean here.
        """
        try:
            with self._understanding():
                sequence = self._socket.next_sequence()
                self._socket.send(order(self._resolved(), sequence))
                codes = [error_code(buffer, message) for buffer, message in self._socket.answers(sequence)]
        except AnswerLost as error:
            raise IpvsReadFailed(f"{what}: {error}") from error
        for code in codes:
            if code in NOT_PERMITTED:
                raise PermissionRefused(f"IPVS: {os.strerror(code)}: the agent needs CAP_NET_ADMIN")
            if code not in {0, gone}:
                raise SettingRefused(f"{what}: the kernel refused it: {os.strerror(code)}{hints.get(code, '')}")

    def _retrying(self, read: Callable[[], Result]) -> Result:
        lost: AnswerLost | None = None
        for _ in range(_TRIES):
            try:
                with self._understanding():
                    return read()
            except AnswerLost as error:
                lost = error
        raise IpvsReadFailed(f"the settings of IPVS could not be read in {_TRIES} tries: {lost}")
