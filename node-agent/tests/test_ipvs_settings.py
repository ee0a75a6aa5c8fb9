"""What IPVS has once, as bytes, and the seam against a kernel that answers oddly."""

import errno
import socket
import struct
from collections import deque
from collections.abc import Callable
from ipaddress import ip_address
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvs_agent.decide.kernel_settings import SyncDaemon, SyncState, Timeout
from lvs_agent.errors import IpvsReadFailed, IpvsUnavailable, PermissionRefused, SettingRefused
from lvs_agent.kernel import ipvs_codec as codec
from lvs_agent.kernel.ipvs_codec import RequestEncoder
from lvs_agent.kernel.ipvs_decode import decode_daemon
from lvs_agent.kernel.ipvs_settings import KernelIpvsSettings
from lvs_agent.kernel.netlink_socket import NetlinkSocket
from lvs_agent.kernel.netlink_wire import (
    GENL_ID_CTRL,
    HEADER,
    HEADERS_LENGTH,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
    generic_message,
    messages,
)

FAMILY = 31
DAEMON = SyncDaemon(interface="eth0", sync_id=7, group=ip_address("224.0.0.81"), port=8848, ttl=1)


def test_time_outs_byte_for_byte() -> None:
    request = RequestEncoder(FAMILY).set_timeouts({Timeout.TCP_FIN: 5, Timeout.UDP: 60}, 9)
    assert request == struct.pack("=IHHII BBH HHI HHI", 36, FAMILY, 5, 9, 0, 12, 1, 0, 8, 5, 5, 8, 6, 60)
    assert RequestEncoder(FAMILY).get_timeouts(9) == struct.pack("=IHHII BBH", 20, FAMILY, 1, 9, 0, 13, 1, 0)


def test_sync_daemons_byte_for_byte() -> None:
    request = RequestEncoder(FAMILY).start_daemon(SyncState.MASTER, DAEMON, 9)
    expected = b"".join(
        (
            struct.pack("=IHHII BBH", 76, FAMILY, 5, 9, 0, 9, 1, 0),
            struct.pack("=HH HHI HH5s3x HHI", 56, 0x8003, 8, 1, 1, 9, 2, b"eth0\0", 8, 3, 7),
            struct.pack("=HH4B HHHxx HHBxxx", 8, 5, 224, 0, 0, 81, 6, 7, 8848, 5, 8, 1),
        )
    )
    assert request == expected
    stop = RequestEncoder(FAMILY).stop_daemon(SyncState.BACKUP, 9)
    assert stop == struct.pack("=IHHII BBH HH HHI", 32, FAMILY, 5, 9, 0, 10, 1, 0, 12, 0x8003, 8, 1, 2)
    dump = RequestEncoder(FAMILY).dump_daemons(9)
    assert dump == struct.pack("=IHHII BBH", 20, FAMILY, 0x301, 9, 0, 11, 1, 0)


daemons = st.builds(
    SyncDaemon,
    interface=st.text("abcdefgh0123456789.-", min_size=1, max_size=15),
    sync_id=st.integers(0, 255),
    group=st.ip_addresses(network="224.0.0.0/4") | st.ip_addresses(network="ff00::/8"),
    port=st.integers(1, 65535),
    ttl=st.integers(1, 255),
    max_length=st.none() | st.integers(1024, 65487),
)


@given(st.sampled_from(SyncState), daemons)
def test_what_is_asked_for_is_what_is_read(state: SyncState, daemon: SyncDaemon) -> None:
    """The kernel tells of a daemon with the attributes by which it is started."""
    request = RequestEncoder(FAMILY).start_daemon(state, daemon, 1)
    assert decode_daemon(request[HEADERS_LENGTH:]) == (state, daemon)


def test_an_old_kernel_tells_less() -> None:
    attributes = struct.pack("=HH HHI HH5s3x HHI", 32, 0x8003, 8, 1, 2, 9, 2, b"eth0\0", 8, 3, 7)
    assert decode_daemon(attributes) == (SyncState.BACKUP, DAEMON)


class OddKernel:
    """Answers each command by what a test says: an errno, a payload, or not at all; the family's number may change."""

    def __init__(self) -> None:
        self.family: int | None = FAMILY
        self.answers: dict[int, Callable[[], int | bytes | OSError | None]] = {}
        self.seen: list[int] = []
        self._queue: deque[bytes | OSError] = deque()

    def open(self) -> socket.socket:
        return cast("socket.socket", self)

    def close(self) -> None:
        self._queue.clear()

    def send(self, data: bytes) -> int:
        (message,) = messages(memoryview(data))
        if message.type == GENL_ID_CTRL:
            self._answer(message.sequence, self._of_family())
            return len(data)
        command = data[message.start]
        self.seen.append(command)
        stale = message.type != self.family
        answer = errno.ENOENT if stale else self.answers[command]()
        is_dump = message.flags & NLM_F_DUMP == NLM_F_DUMP
        self._answer(message.sequence, answer)
        if is_dump and isinstance(answer, bytes):
            self._queue.append(HEADER.pack(HEADER.size + 4, NLMSG_DONE, 2, message.sequence, 0) + bytes(4))
        return len(data)

    def recv_into(self, buffer: bytearray) -> int:
        if not self._queue:
            raise BlockingIOError(errno.EAGAIN, "nothing to read")
        answer = self._queue.popleft()
        if isinstance(answer, OSError):
            raise answer
        buffer[: len(answer)] = answer
        return len(answer)

    def _of_family(self) -> int | bytes:
        return errno.ENOENT if self.family is None else attribute(1, struct.pack("=H", self.family))

    def _answer(self, sequence: int, answer: int | bytes | OSError | None) -> None:
        if answer is None:
            return
        if isinstance(answer, bytes):
            self._queue.append(generic_message(FAMILY, 0, 0, sequence, answer))
        elif isinstance(answer, OSError):
            self._queue.append(answer)
        else:
            self._queue.append(HEADER.pack(HEADER.size + 4, NLMSG_ERROR, 0, sequence, 0) + struct.pack("=i", -answer))


@pytest.fixture
def kernel() -> OddKernel:
    made = OddKernel()
    timeouts = b"".join(attribute(kind, struct.pack("=I", seconds)) for kind, seconds in ((4, 900), (5, 120), (6, 300)))
    made.answers = {
        codec.CMD_GET_CONFIG: lambda: timeouts,
        codec.CMD_SET_CONFIG: lambda: 0,
        codec.CMD_GET_DAEMON: lambda: RequestEncoder(FAMILY).start_daemon(SyncState.MASTER, DAEMON, 1)[HEADERS_LENGTH:],
        codec.CMD_NEW_DAEMON: lambda: 0,
        codec.CMD_DEL_DAEMON: lambda: 0,
    }
    return made


def seam(kernel: OddKernel) -> KernelIpvsSettings:
    return KernelIpvsSettings(NetlinkSocket(kernel.open))


def test_everything_is_asked_and_answered(kernel: OddKernel) -> None:
    settings = seam(kernel)
    assert settings.read_timeouts() == {Timeout.TCP: 900, Timeout.TCP_FIN: 120, Timeout.UDP: 300}
    settings.write_timeouts({Timeout.TCP: 30})
    assert settings.read_daemons() == {SyncState.MASTER: DAEMON}
    settings.start_daemon(SyncState.BACKUP, DAEMON)
    settings.stop_daemon(SyncState.BACKUP)
    assert kernel.seen == [13, 12, 11, 9, 10]


def test_a_reloaded_module_has_another_number(kernel: OddKernel) -> None:
    settings = seam(kernel)
    settings.read_timeouts()
    kernel.family = FAMILY + 1
    assert len(settings.read_timeouts()) == 3
    kernel.family = FAMILY
    assert settings.read_daemons()
    kernel.family = None
    for read in (settings.read_timeouts, settings.read_daemons):
        with pytest.raises(IpvsUnavailable):
            read()


def test_refusals_have_the_kernels_words(kernel: OddKernel) -> None:
    settings = seam(kernel)
    kernel.answers[codec.CMD_SET_CONFIG] = lambda: errno.EINVAL
    with pytest.raises(SettingRefused, match=r"time-outs TCP 30 s: .*Invalid argument"):
        settings.write_timeouts({Timeout.TCP: 30})
    kernel.answers[codec.CMD_NEW_DAEMON] = lambda: errno.ENODEV
    with pytest.raises(SettingRefused, match=r"sync daemon backup on eth0, .*No such device"):
        settings.start_daemon(SyncState.BACKUP, DAEMON)
    kernel.answers[codec.CMD_NEW_DAEMON] = lambda: errno.EINVAL
    with pytest.raises(SettingRefused, match=r"Invalid argument \(it starts none while .* another family"):
        settings.start_daemon(SyncState.MASTER, DAEMON)
    kernel.answers[codec.CMD_DEL_DAEMON] = lambda: errno.ESRCH
    settings.stop_daemon(SyncState.BACKUP)
    for command in (codec.CMD_SET_CONFIG, codec.CMD_GET_CONFIG, codec.CMD_GET_DAEMON):
        kernel.answers[command] = lambda: errno.EPERM
    for call in (settings.read_timeouts, settings.read_daemons, lambda: settings.write_timeouts({Timeout.TCP: 30})):
        with pytest.raises(PermissionRefused):
            call()


def test_lost_answers_are_asked_for_again_and_lost_orders_are_not(kernel: OddKernel) -> None:
    settings = seam(kernel)
    lost: list[int | bytes | OSError | None] = [OSError(errno.ENOBUFS, "lost"), kernel.answers[codec.CMD_GET_CONFIG]()]
    kernel.answers[codec.CMD_GET_CONFIG] = lambda: lost.pop(0)
    assert len(settings.read_timeouts()) == 3
    kernel.answers[codec.CMD_GET_CONFIG] = lambda: OSError(errno.ENOBUFS, "lost")
    with pytest.raises(IpvsReadFailed, match="3 tries"):
        settings.read_timeouts()
    kernel.answers[codec.CMD_SET_CONFIG] = lambda: OSError(errno.ENOBUFS, "lost")
    before = len(kernel.seen)
    with pytest.raises(IpvsReadFailed):
        settings.write_timeouts({Timeout.TCP: 30})
    assert kernel.seen[before:] == [codec.CMD_SET_CONFIG]


def test_an_answer_of_another_form_is_none(kernel: OddKernel) -> None:
    kernel.answers[codec.CMD_GET_DAEMON] = lambda: attribute(3, b"")
    with pytest.raises(IpvsReadFailed, match="not understood"):
        seam(kernel).read_daemons()


def test_a_daemon_is_stopped_also_when_nothing_acknowledges_it(kernel: OddKernel) -> None:
    """As the kernel does while the daemon's thread never ran."""
    kernel.answers[codec.CMD_DEL_DAEMON] = lambda: None
    settings = seam(kernel)
    settings.stop_daemon(SyncState.BACKUP)
    assert kernel.seen == [codec.CMD_DEL_DAEMON, codec.CMD_GET_DAEMON]
    with pytest.raises(IpvsReadFailed, match="stopping the sync daemon master"):
        settings.stop_daemon(SyncState.MASTER)
