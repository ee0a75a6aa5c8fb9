"""The IPVS seam against a socket that misbehaves as kernels do: lost answers, interrupted dumps, a reloaded module."""

import errno
import struct
from collections.abc import Callable
from typing import cast

import pytest
from scripted_ipvs import FAMILY, NAT, RR, Answer, ScriptedKernel, destination, done, drop_empty, error, service

from lvs_agent.decide.changes import AddDestination, AddService, IpvsChange
from lvs_agent.errors import EntryExists, IpvsReadFailed, IpvsUnavailable, PermissionRefused, SchedulerNotAvailable
from lvs_agent.kernel.ipvs import KernelIpvsTable
from lvs_agent.kernel.ipvs_codec import CMD_GET_DEST, CMD_GET_INFO, CMD_GET_SERVICE
from lvs_agent.kernel.netlink_socket import NetlinkSocket
from lvs_agent.kernel.netlink_wire import HEADER, NLM_F_DUMP_INTR, generic_message, messages


@pytest.fixture
def kernel() -> ScriptedKernel:
    made = ScriptedKernel()
    made.table = {service(1): [destination(1), destination(2)], service(2): [destination(3)]}
    drop_empty(made)
    return made


@pytest.fixture
def table(kernel: ScriptedKernel) -> KernelIpvsTable:
    return KernelIpvsTable(NetlinkSocket(kernel.open))


def test_reads_everything(kernel: ScriptedKernel, table: KernelIpvsTable) -> None:
    found = {key: list(state.destinations) for key, state in table.read().services.items()}
    assert found == kernel.table
    assert table.read_services() == dict.fromkeys(kernel.table, RR)
    assert table.read_counters() == {key: state.counters for key, state in table.read().services.items()}
    only = table.read_only([service(1), service(7)])
    assert list(only.services) == [service(1)]


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(lambda _: [OSError(errno.ENOBUFS, "no buffer")], id="overrun"),
        pytest.param(lambda _: [], id="answer lost"),
        pytest.param(lambda a: [a[0], OSError(errno.ENOBUFS, "no buffer")], id="overrun before the end"),
        pytest.param(lambda a: [InterruptedError(errno.EINTR, "interrupted"), *a], id="interrupted call"),
        pytest.param(lambda a: [HEADER.pack(16, 4, 0, 0, 0), *a], id="overrun message"),
        pytest.param(
            lambda a: [a[0][:6] + struct.pack("=H", NLM_F_DUMP_INTR) + a[0][8:], *a[1:]], id="interrupted dump"
        ),
        pytest.param(
            lambda a: [*a[:-1], a[-1][:6] + struct.pack("=H", NLM_F_DUMP_INTR) + a[-1][8:]], id="told at its end"
        ),
    ],
)
@pytest.mark.parametrize("command", [CMD_GET_SERVICE, CMD_GET_DEST])
def test_a_read_starts_anew_and_gives_up_after_a_while(
    kernel: ScriptedKernel,
    table: KernelIpvsTable,
    trouble: Callable[[list[Answer]], list[Answer]],
    command: int,
) -> None:
    kernel.table = {service(1): [destination(1), destination(2)]}
    kernel.bend = lambda c, nth, answers: trouble(answers) if (c, nth) == (command, 1) else answers
    assert list(table.read().services[service(1)].destinations) == [destination(1), destination(2)]
    assert kernel.opened == 2  # late answers of the first try can not reach the second
    kernel.bend = lambda c, _nth, answers: trouble(answers) if c == command else answers
    before = kernel.seen.count(command)
    with pytest.raises(IpvsReadFailed, match="in 5 tries"):
        table.read()
    assert kernel.seen.count(command) == before + 5


def test_a_service_deleted_meanwhile_is_not_read_as_empty(kernel: ScriptedKernel, table: KernelIpvsTable) -> None:
    """To the dump of a missing service's destinations the kernel answers with none, not with an error."""

    def delete_before_the_destinations(command: int, nth: int, answers: list[Answer]) -> list[Answer]:
        if (command, nth) == (CMD_GET_DEST, 1):
            del kernel.table[service(1)]
            return answers[1:]
        return [a for a in answers if a]

    kernel.bend = delete_before_the_destinations
    found = {key: list(state.destinations) for key, state in table.read().services.items()}
    assert found == {service(2): [destination(3)]}


def test_a_service_without_destinations_is_read(kernel: ScriptedKernel, table: KernelIpvsTable) -> None:
    kernel.table = {service(1): []}
    assert table.read().services[service(1)].destinations == {}


def in_two_parts(part: bytes) -> list[Answer]:
    """A dump's messages, the last one in a part of its own."""
    *_, last = messages(memoryview(part))
    start = last.start - HEADER.size
    return [part[:start], part[start:]]


def test_a_dump_in_parts_that_skips_a_service_is_made_whole(kernel: ScriptedKernel, table: KernelIpvsTable) -> None:
    """Between parts the kernel goes on by position: a resized table makes it skip some, without a word."""
    kernel.table = {service(n): [destination(n)] for n in range(1, 5)}

    def skip_the_last(command: int, _nth: int, answers: list[Answer]) -> list[Answer]:
        first = answers[0] if answers else b""
        if command == CMD_GET_SERVICE and len(answers) == 2 and isinstance(first, bytes):
            *_, skipped = messages(memoryview(first))
            return [*in_two_parts(first[: skipped.start - HEADER.size]), answers[1]]
        return answers

    kernel.bend = lambda c, nth, a: a if nth > 1 or c != CMD_GET_SERVICE else [*in_two_parts(cast("bytes", a[0])), a[1]]
    assert table.read_services().keys() == kernel.table.keys()
    kernel.bend = skip_the_last
    assert table.read_services().keys() == kernel.table.keys()
    kernel.table[service(9)] = []
    table.apply([AddService(service=service(9), settings=RR)])
    assert service(9) in table.read_services()
    del kernel.table[service(2)]
    assert service(2) not in table.read_services()


def test_destinations_in_parts_are_read_twice(kernel: ScriptedKernel, table: KernelIpvsTable) -> None:
    kernel.table = {service(1): [destination(n) for n in range(1, 4)]}

    def skip_once(command: int, nth: int, answers: list[Answer]) -> list[Answer]:
        if command != CMD_GET_DEST:
            return answers
        whole = in_two_parts(cast("bytes", answers[0]))
        skipping = in_two_parts(cast("bytes", whole[0]))
        return [*(skipping if nth == 1 else whole), answers[1]]

    kernel.bend = skip_once
    assert list(table.read().services[service(1)].destinations) == kernel.table[service(1)]
    assert kernel.seen.count(CMD_GET_DEST) == 4


def test_another_family_number_after_the_module_was_loaded_again(
    kernel: ScriptedKernel, table: KernelIpvsTable
) -> None:
    table.read()
    kernel.family = FAMILY + 1
    assert table.read().services.keys() == kernel.table.keys()


def test_no_ip_vs(kernel: ScriptedKernel, table: KernelIpvsTable) -> None:
    kernel.family = None
    for work in (table.read, table.read_services, table.info, lambda: table.apply([])):
        with pytest.raises(IpvsUnavailable, match="load the module ip_vs"):
            work()


def many(count: int) -> list[IpvsChange]:
    return [AddDestination(service=service(1), destination=destination(n), settings=NAT) for n in range(count)]


def test_batches_are_bounded_and_acknowledged_once(kernel: ScriptedKernel, table: KernelIpvsTable) -> None:
    applied = table.apply(many(1_201))
    assert (applied.written, applied.failures, applied.certain) == (1_201, (), True)
    assert len(kernel.sends) == 1 + 3  # the family, and 500 + 500 + 201
    assert max(kernel.sends) < 128 * 1024


def test_refused_entries_are_named_wherever_they_are_in_the_batch(
    kernel: ScriptedKernel, table: KernelIpvsTable
) -> None:
    changes = many(600)
    kernel.refuse = {1: errno.EEXIST, 500: errno.EEXIST, 501: errno.EEXIST, 600: errno.EEXIST}
    applied = table.apply(changes)
    assert [failure.change for failure in applied.failures] == [changes[n - 1] for n in kernel.refuse]
    assert all(isinstance(failure.error, EntryExists) for failure in applied.failures)
    assert applied.written == 596


def test_a_refused_service_is_one_failure(kernel: ScriptedKernel, table: KernelIpvsTable) -> None:
    kernel.refuse = {1: errno.ENOENT, 2: errno.ESRCH, 3: errno.ESRCH}
    applied = table.apply([AddService(service=service(1), settings=RR), *many(2)])
    assert [type(failure.error) for failure in applied.failures] == [SchedulerNotAvailable]
    assert "ip_vs_rr" in str(applied.failures[0].error)
    assert applied.written == 0


def test_lost_acknowledgements_are_said_and_the_rest_is_still_sent(
    kernel: ScriptedKernel, table: KernelIpvsTable
) -> None:
    acknowledgements: list[int] = []

    def lose_the_first(_command: int, nth: int, answers: list[Answer]) -> list[Answer]:
        acknowledgements.extend(nth for _ in answers)
        return [OSError(errno.ENOBUFS, "no buffer")] if answers and len(acknowledgements) == 2 else answers

    kernel.bend = lose_the_first  # after the family's
    applied = table.apply(many(1_000))
    assert not applied.certain
    assert kernel.seen.count(5) == 1_000
    assert table.apply(many(1)).certain


@pytest.mark.parametrize("code", [errno.ENOBUFS, errno.EINTR, errno.ENOMEM])
def test_a_send_that_fails_is_uncertain_and_a_read_begins_anew(
    kernel: ScriptedKernel, table: KernelIpvsTable, code: int
) -> None:
    """What a failed send did is not known; the next one is on a new socket."""
    table.read()
    assert kernel.opened == 1
    kernel.fail_sends = [code]
    applied = table.apply(many(501))
    assert (applied.certain, applied.failures) == (False, ())
    assert kernel.opened == 2
    assert kernel.seen.count(5) == 1  # the second batch went out all the same
    kernel.fail_sends = [code]
    assert table.read().services.keys() == kernel.table.keys()
    assert kernel.opened == 3
    kernel.fail_sends = [code] * 5
    with pytest.raises(IpvsReadFailed, match="in 5 tries"):
        table.read()


def test_a_dump_that_ends_with_an_error_is_no_empty_table(kernel: ScriptedKernel, table: KernelIpvsTable) -> None:
    """The end of a dump carries the errno that stopped it (netlink_dump in af_netlink.c)."""
    table.read()
    kernel.bend = lambda command, _nth, answers: (
        [done_like(answers[-1], errno.ENOMEM)] if command == CMD_GET_SERVICE else answers
    )
    with pytest.raises(IpvsReadFailed, match="does not answer"):
        table.read_services()


def done_like(answer: Answer, code: int) -> Answer:
    assert isinstance(answer, bytes)
    return done(HEADER.unpack_from(answer)[3], code)


def test_missing_rights_are_not_an_entry_s_fault(kernel: ScriptedKernel, table: KernelIpvsTable) -> None:
    kernel.refuse = {1: errno.EPERM}
    with pytest.raises(PermissionRefused, match="CAP_NET_ADMIN"):
        table.apply(many(1))


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.EOPNOTSUPP])
def test_an_error_is_not_an_empty_table(kernel: ScriptedKernel, table: KernelIpvsTable, code: int) -> None:
    table.read()
    family, kernel.bend = kernel.family, lambda _command, _nth, answers: [error_like(answers[0], code)]
    for work in (table.read, table.read_services, table.info):
        with pytest.raises(IpvsReadFailed, match="does not answer"):
            work()
    drop_empty(kernel)
    kernel.family = (family or 0) + 1
    assert table.read().services.keys() == kernel.table.keys()


def error_like(answer: Answer, code: int) -> Answer:
    assert isinstance(answer, bytes)
    return error(HEADER.unpack_from(answer)[3], code)


def a_torn(answer: Answer) -> Answer:
    """The last attribute says that it is longer than the message."""
    assert isinstance(answer, bytes)
    torn = bytearray(answer)
    torn[20:22] = struct.pack("=H", len(answer))
    return bytes(torn)


@pytest.mark.parametrize("command", [CMD_GET_SERVICE, CMD_GET_DEST])
def test_an_answer_of_another_form_is_a_failed_read_and_the_next_one_is_heard(
    kernel: ScriptedKernel, table: KernelIpvsTable, command: int
) -> None:
    kernel.table = {service(1): [destination(1)]}
    kernel.bend = lambda asked, _nth, answers: [a_torn(answers[0]), *answers[1:]] if asked == command else answers
    with pytest.raises(IpvsReadFailed, match="not understood"):
        table.read()
    drop_empty(kernel)
    assert list(table.read().services) == [service(1)]


def test_a_version_that_is_not_named_is_a_failed_read(kernel: ScriptedKernel, table: KernelIpvsTable) -> None:
    without_version = generic_message(FAMILY, CMD_GET_INFO, 0, 2, b"")
    kernel.bend = lambda asked, _nth, answers: [without_version] if asked == CMD_GET_INFO else answers
    with pytest.raises(IpvsReadFailed, match="not understood"):
        table.info()
