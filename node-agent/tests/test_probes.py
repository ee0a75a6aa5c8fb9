"""The probes against real sockets on loopback."""

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import inf

import pytest
from waiting_for import until

from lvs_agent.decide.health_verdict import Check, HttpRequest, Verdict
from lvs_agent.probes.http import MAX_HEAD
from lvs_agent.probes.interface import Outcome, Result
from lvs_agent.probes.messages import (
    MAX_LINE,
    StartCheck,
    Tally,
    Told,
    VerdictChanged,
    decode_orders,
    decode_told,
    encode_start,
    encode_stop,
    encode_tally,
    encode_verdicts,
)
from lvs_agent.probes.open_files import at_once
from lvs_agent.probes.runner import LATE_SECONDS, Runner, _check_once, make_probe


def a_check(port: int, *, http: HttpRequest | None = None, address: str = "127.0.0.1", **pace: float) -> Check:
    values = {"interval_seconds": 0.05, "timeout_seconds": 0.5, "rise": 2, "fall": 2} | pace
    return Check(address=address, port=port, http=http, **values)  # type: ignore[arg-type]  # fields of each type


@asynccontextmanager
async def answering(
    answer: bytes, *, host: str = "127.0.0.1", stay: bool = False
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that sends `answer` to whoever has sent a whole head, then closes unless it is to stay."""
    heard: list[bytes] = []
    release = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
            if stay:
                await release.wait()
        except (ConnectionError, asyncio.IncompleteReadError):
            heard.append(b"")
        finally:
            writer.close()

    server = await asyncio.start_server(serve, host, 0)
    try:
        yield server.sockets[0].getsockname()[1], heard
    finally:
        release.set()
        server.close()
        await server.wait_closed()


async def unused_port() -> int:
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_tcp_passes_where_somebody_listens(host: str) -> None:
    async with answering(b"", host=host) as (port, _):
        outcome = await _check_once(make_probe(a_check(port, address=host)), 1)
    assert outcome.result is Result.PASSED


async def test_tcp_fails_with_the_reason() -> None:
    outcome = await _check_once(make_probe(a_check(await unused_port())), 1)
    assert (outcome.result, outcome.detail) == (Result.FAILED, "Connection refused")


@pytest.mark.parametrize(
    ("answer", "expected", "result", "detail"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", (), Result.PASSED, ""),
        (b"HTTP/1.0 204 No Content\r\nX: y\r\n\r\n", (), Result.PASSED, ""),
        (b"HTTP/1.1 204\r\n\r\n", (), Result.PASSED, ""),
        (b"HTTP/1.1 301 Moved\r\nLocation: /x\r\n\r\n", (), Result.FAILED, "HTTP status 301"),
        (b"HTTP/1.1 301 Moved\r\nLocation: /x\r\n\r\n", (301,), Result.PASSED, ""),
        (b"HTTP/1.1 200 OK\r\n\r\n", (204,), Result.FAILED, "HTTP status 200"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", (), Result.PASSED, ""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 9, (), Result.FAILED, "only interim answers"),
        (b"HTTP/1.1 103 E\r\n" + b"A: b\r\n" * 200, (), Result.FAILED, "too many headers"),
        (b"HTTP/1.1 503 Busy\r\n\r\n", (), Result.FAILED, "HTTP status 503"),
        (b"SSH-2.0-OpenSSH\r\n", (), Result.FAILED, r"no HTTP answer: b'SSH-2.0-OpenSSH\r\n'"),
        (b"HTTP/1.1 2000 X\r\n", (), Result.FAILED, r"no HTTP answer: b'HTTP/1.1 2000 X\r\n'"),
        (b"", (), Result.FAILED, "closed without an answer"),
        (b"x" * (MAX_HEAD * 3), (), Result.FAILED, "a header line without an end"),
    ],
)
async def test_http_judges_the_status(answer: bytes, expected: tuple[int, ...], result: Result, detail: str) -> None:
    request = HttpRequest(path="/health?x=1", host="web.example", expected_statuses=expected)
    async with answering(answer) as (port, heard):
        outcome = await _check_once(make_probe(a_check(port, http=request)), 5)
    assert (outcome.result, outcome.detail) == (result, detail)
    assert heard[0].startswith(b"GET /health?x=1 HTTP/1.1\r\nHost: web.example\r\n")


async def test_a_server_that_says_nothing_fails_in_time() -> None:
    async with answering(b"", stay=True) as (port, _):
        outcome = await _check_once(make_probe(a_check(port, http=HttpRequest(path="/", host="x"))), 0.05)
    assert (outcome.result, outcome.detail) == (Result.UNANSWERED, "no answer in time")


NO_ROUTE = "255.255.255.255"
"""TCP to the broadcast address has no route (tcp_v4_connect)."""


@pytest.mark.parametrize("http", [None, HttpRequest(path="/", host="x")], ids=["tcp", "http"])
async def test_what_this_node_can_not_ask_is_no_answer(http: HttpRequest | None) -> None:
    outcome = await _check_once(make_probe(a_check(80, http=http, address=NO_ROUTE)), 1)
    assert (outcome.result, outcome.detail) == (Result.NOT_MADE, "Network is unreachable")


async def test_a_node_without_file_descriptors_has_not_asked() -> None:
    async with answering(b"") as (port, _):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            outcome = await _check_once(make_probe(a_check(port)), 1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (outcome.result, outcome.detail) == (Result.NOT_MADE, "Too many open files")


class Starving:
    """A probe whose process does not get to run until long after its time is over."""

    async def check(self) -> Outcome:
        time.sleep(LATE_SECONDS + 0.1)  # noqa: ASYNC251 (nothing else may run meanwhile: that is what is tried)
        await asyncio.sleep(60)
        raise AssertionError("nobody cut it off")


async def test_a_process_that_did_not_run_has_missed_what_came() -> None:
    outcome = await _check_once(Starving(), 0.01)
    assert outcome.result is Result.NOT_MADE


async def test_checks_that_are_not_made_change_no_verdict_and_are_counted() -> None:
    changes: list[VerdictChanged] = []
    runner = Runner(changes.append)
    async with answering(b"") as (port, heard):
        runner.start(StartCheck(number=1, check=a_check(80, address=NO_ROUTE), verdict=Verdict.UP))
        runner.start(StartCheck(number=2, check=a_check(80, address=NO_ROUTE), verdict=Verdict.UNKNOWN))
        runner.start(StartCheck(number=3, check=a_check(port), verdict=Verdict.UP))
        await until(lambda: runner.sightings._results[Result.NOT_MADE] >= 8)
        tally = runner.sightings.take_tally()
        assert tally.results[Result.PASSED] > 0
        assert tally.not_made == "Network is unreachable"
        assert runner.sightings.take_tally().results == {}
        runner.stop(1)
        runner.stop(2)
        assert runner.sightings.take_tally().not_made == ""
    await runner.stop_all()
    assert changes == []
    assert heard


class Mute:
    """A probe that goes unanswered; with `answer_at`, it passes from that check on, and then `tell` is called."""

    def __init__(self, answer_at: float = inf, tell: Callable[[], None] = lambda: None) -> None:
        self.made = 0
        self._answer_at = answer_at
        self._tell = tell

    async def check(self) -> Outcome:
        self.made += 1
        if self.made < self._answer_at:
            return Outcome(result=Result.UNANSWERED)
        self._tell()
        return Outcome(result=Result.PASSED)


async def test_what_was_not_answered_before_the_first_answer_never_counts() -> None:
    """The first answer does not turn what went before into failures: who is up is up until it fails from then on."""
    made_when_heard: list[int] = []
    made_when_down: list[int] = []
    mute = Mute()
    probes = {80: Mute(10, lambda: made_when_heard.append(mute.made)), 81: mute, 82: Mute()}
    changes: list[VerdictChanged] = []

    def tell(change: VerdictChanged) -> None:
        changes.append(change)
        made_when_down.append(mute.made)

    runner = Runner(tell, probe_for=lambda check: probes[check.port])
    for number, (port, verdict) in enumerate([(80, Verdict.UP), (81, Verdict.UP), (82, Verdict.UNKNOWN)]):
        runner.start(StartCheck(number=number, check=a_check(port, fall=3), verdict=verdict))
    await until(lambda: runner.sightings.take_tally().silent)
    assert (changes, made_when_heard) == ([], [])
    await until(lambda: len(changes) == 2)
    assert {(change.number, change.verdict) for change in changes} == {(1, Verdict.DOWN), (2, Verdict.DOWN)}
    assert max(made_when_down) - made_when_heard[0] == 3
    assert runner.sightings.take_tally().silent is False
    await runner.stop_all()


class Slow:
    """A probe that counts how many are under way."""

    under_way = 0
    most = 0

    def __init__(self, seconds: float) -> None:
        self.made = 0
        self._seconds = seconds

    async def check(self) -> Outcome:
        Slow.under_way += 1
        Slow.most = max(Slow.most, Slow.under_way)
        try:
            await asyncio.sleep(self._seconds)
            self.made += 1
        finally:
            Slow.under_way -= 1
        return Outcome(result=Result.PASSED)


async def test_no_more_checks_than_may_be_are_made_at_once_and_each_has_its_turn() -> None:
    """Their time begins with their turn: waiting is no news, and who waits long is told of."""
    Slow.most = 0
    probes = {port: Slow(0.1) for port in range(40)}
    changes: list[VerdictChanged] = []
    runner = Runner(changes.append, probe_for=lambda check: probes[check.port], at_once=4)
    for port in probes:
        runner.start(StartCheck(number=port, check=a_check(port, interval_seconds=0.05), verdict=Verdict.UP))
    await until(lambda: runner.sightings.take_tally().not_made == "too many checks at once")
    await until(lambda: min(probe.made for probe in probes.values()) >= 3)
    assert Slow.most == 4
    assert max(probe.made for probe in probes.values()) <= 5, "nobody is served much more often than others"
    for port in range(1, 40):
        runner.stop(port)
    made = probes[0].made
    await until(lambda: probes[0].made >= made + 3)
    assert runner.sightings.take_tally().not_made == "", "there is room again"
    await runner.stop_all()
    assert (changes, Slow.under_way) == ([], 0)


async def test_thousands_of_checks_get_by_with_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are due in the same moment. The other ends are of this process, too, and are closed after ours."""
    monkeypatch.setattr("lvs_agent.probes.runner.START_SPACING_SECONDS", 0.0)
    changes: list[VerdictChanged] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with answering(b"") as (port, _):
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            runner = Runner(changes.append, at_once=48)
            for number in range(2000):
                check = a_check(port, interval_seconds=60, timeout_seconds=5, rise=1)
                runner.start(StartCheck(number=number, check=check, verdict=Verdict.UNKNOWN))
            await until(lambda: len(changes) == 2000, 60)
            tally = runner.sightings.take_tally()
            await runner.stop_all()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {change.verdict for change in changes} == {Verdict.UP}
    assert tally.results == {Result.PASSED: 2000}


@pytest.mark.parametrize(
    ("open_files", "expected"), [(1024, 992), (1048576, 4096), (resource.RLIM_INFINITY, 4096), (16, 1)]
)
def test_how_many_checks_open_files_are_enough_for(open_files: int, expected: int) -> None:
    assert at_once(open_files) == expected


async def test_runner_tells_changes_only() -> None:
    changes: list[VerdictChanged] = []
    runner = Runner(changes.append)
    async with answering(b"") as (port, heard):
        runner.start(StartCheck(number=1, check=a_check(port), verdict=Verdict.UNKNOWN))
        runner.start(StartCheck(number=2, check=a_check(port), verdict=Verdict.UP))
        await until(lambda: len(heard) > 12)
        assert [(c.number, c.verdict) for c in changes] == [(1, Verdict.UP)]
    await until(lambda: len(changes) == 3)
    assert {(c.number, c.verdict, c.detail) for c in changes[1:]} == {
        (1, Verdict.DOWN, "Connection refused"),
        (2, Verdict.DOWN, "Connection refused"),
    }
    await runner.stop_all()


def test_messages_survive_the_pipe() -> None:
    checks = [a_check(80), a_check(81, http=HttpRequest(path="/", host="h", expected_statuses=(200, 301)))]
    starts = [StartCheck(number=n, check=checks[n % 2], verdict=Verdict.UP) for n in range(150)]
    lines = list(encode_start(starts))
    assert [s for line in lines for s in decode_orders(line).starts] == starts
    assert [n for line in encode_stop(range(100)) for n in decode_orders(line).stops] == list(range(100))
    changes = [VerdictChanged(number=3, verdict=Verdict.DOWN, detail="a\nb\u2028c")]
    (line,) = encode_verdicts(changes)
    assert line.count(b"\n") == 1
    assert decode_told(line) == Told(verdicts=changes)
    assert [decode_told(line) for line in encode_verdicts([])] == [Told()]
    tally = Tally(results={Result.PASSED: 7, Result.NOT_MADE: 1}, silent=True, not_made="Too many open files")
    assert decode_told(encode_tally(tally)) == Told(tally=tally)


def test_lines_stay_bounded_with_the_longest_checks() -> None:
    longest = HttpRequest(path="/" + "\U0001f310" * 1023, host="h" * 253, expected_statuses=tuple(range(100, 116)))
    starts = [StartCheck(number=n, check=a_check(65535, http=longest), verdict=Verdict.UNKNOWN) for n in range(64)]
    assert max(len(line) for line in encode_start(starts)) < MAX_LINE


class Flawed:
    """A probe with a mistake in it."""

    async def check(self) -> Outcome:
        raise ZeroDivisionError


async def test_a_check_that_ends_by_itself_is_told() -> None:
    runner = Runner(lambda _: None, probe_for=lambda _: Flawed())
    runner.start(StartCheck(number=1, check=a_check(1), verdict=Verdict.UP))
    async with asyncio.timeout(5):
        with pytest.raises(ZeroDivisionError):
            await runner.broken
