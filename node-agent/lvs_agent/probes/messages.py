"""What the agent and its probe process say to each other: one JSON object a line, each line bounded.

Agent to process: `{"start": [[id, check, verdict]...]}`, `{"ask": [[id, address, port]...]}` and `{"stop": [id...]}`.
Process to agent, at the latest after BEAT_SECONDS: `{"tally": [{result: number}, silent, not made]}` and
`{"verdicts": [[id, verdict, detail]...]}`, which may be empty; and `{"word": [id, [[address, device]...], detail]}` for
each answer.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from lvs_agent.decide.health_verdict import Check, HttpRequest, Verdict
from lvs_agent.decide.node_word import Carried, carried_of, carried_rows
from lvs_agent.probes.interface import Result

BEAT_SECONDS: Final = 1.0
MAX_LINE: Final = 256 * 1024
_PER_LINE: Final = 32
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCheck:
    """Run a check under this number from now on, beginning with this verdict."""

    number: int
    check: Check
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictChanged:
    """The verdict of a check is another than before."""

    number: int
    verdict: Verdict
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskAgent:
    """Ask an agent under this number from now on, until it is stopped like a check."""

    number: int
    address: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WordHeard:
    """An agent was asked once more."""

    number: int
    carried: frozenset[Carried] = frozenset()
    detail: str = ""
    """Why there is no word."""


class Orders(NamedTuple):
    """What the agent asks for in one line."""

    starts: list[StartCheck]
    asks: list[AskAgent]
    stops: list[int]
    """Numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How checks went since the last one."""

    results: Mapping[Result, int]
    silent: bool = False
    """Some checks went unanswered `fall` times in a row, and do not count: nobody has answered any yet."""
    not_made: str = ""
    """Why some checks could not be made `fall` times in a row; empty when there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the process tells in one line."""

    verdicts: list[VerdictChanged] = field(default_factory=list)
    word: WordHeard | None = None
    tally: Tally | None = None


def encode_start(starts: Sequence[StartCheck]) -> Iterator[bytes]:
    """Lines that start these checks."""
    for part in _parts(starts):
        yield _line({"start": [[s.number, _raw_check(s.check), s.verdict] for s in part]})


def encode_ask(asks: Sequence[AskAgent]) -> Iterator[bytes]:
    """Lines that have these agents asked."""
    for part in _parts(asks):
        yield _line({"ask": [[a.number, a.address, a.port] for a in part]})


def encode_stop(numbers: Sequence[int]) -> Iterator[bytes]:
    """Lines that end these checks and questions."""
    for part in _parts(numbers):
        yield _line({"stop": part})


def encode_verdicts(changes: Sequence[VerdictChanged]) -> Iterator[bytes]:
    """Lines that tell these changes; one empty line of changes is the beat."""
    for part in _parts(changes) if changes else [[]]:
        yield _line({"verdicts": [[c.number, c.verdict, c.detail] for c in part]})


def encode_tally(tally: Tally) -> bytes:
    """The line that tells it."""
    return _line({"tally": [dict(tally.results), tally.silent, tally.not_made]})


def encode_word_heard(heard: WordHeard) -> bytes:
    """The line that tells an answer."""
    return _line({"word": [heard.number, carried_rows(heard.carried), heard.detail]})


def decode_orders(line: bytes) -> Orders:
    """What the agent asks for."""
    message: dict[str, Any] = json.loads(line)
    starts = [
        StartCheck(number=number, check=_read_check(check), verdict=Verdict(verdict))
        for number, check, verdict in message.get("start", [])
    ]
    asks = [AskAgent(number=number, address=address, port=port) for number, address, port in message.get("ask", [])]
    return Orders(starts, asks, list(message.get("stop", [])))


def decode_told(line: bytes) -> Told:
    """What the process tells. Raises ValueError, TypeError or KeyError where the line is not one of its own."""
    message = json.loads(line)
    if "word" in message:
        number, carried, detail = message["word"]
        found = frozenset(one for row in carried for one in carried_of(*row))
        return Told(word=WordHeard(number=int(number), carried=found, detail=str(detail)))
    if "tally" in message:
        results, silent, not_made = message["tally"]
        counts = {Result(result): int(number) for result, number in dict(results).items()}
        return Told(tally=Tally(results=counts, silent=bool(silent), not_made=str(not_made)))
    verdicts = [
        VerdictChanged(number=int(number), verdict=Verdict(verdict), detail=str(detail))
        for number, verdict, detail in message["verdicts"]
    ]
    return Told(verdicts=verdicts)


def _raw_check(check: Check) -> list[Any]:
    http = check.http and [check.http.path, check.http.host, list(check.http.expected_statuses)]
    return [
        check.address,
        check.port,
        http,
        check.interval_seconds,
        check.timeout_seconds,
        check.rise,
        check.fall,
    ]


def _read_check(raw: Sequence[Any]) -> Check:
    address, port, http, interval, timeout, rise, fall = raw
    request = HttpRequest(path=http[0], host=http[1], expected_statuses=tuple(http[2])) if http else None
    return Check(
        address=address,
        port=port,
        http=request,
        interval_seconds=interval,
        timeout_seconds=timeout,
        rise=rise,
        fall=fall,
    )


def _parts(items: Sequence[_T]) -> Iterator[list[_T]]:
    for start in range(0, len(items), _PER_LINE):
        yield list(items[start : start + _PER_LINE])


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
