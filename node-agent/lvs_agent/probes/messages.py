"""What the agent and its probe process say to each other: one JSON object a line, each line bounded.

Agent to process: `{"start": [[id, check, verdict]...]}` and `{"stop": [id...]}`.
Process to agent: `{"verdicts": [[id, verdict, detail]...]}`, at the latest after BEAT_SECONDS, then perhaps empty.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from lvs_agent.decide.health_verdict import Check, HttpRequest, Verdict

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


def encode_start(starts: Sequence[StartCheck]) -> Iterator[bytes]:
    """Lines that start these checks."""
    for part in _parts(starts):
        yield _line({"start": [[s.number, _raw_check(s.check), s.verdict] for s in part]})


def encode_stop(numbers: Sequence[int]) -> Iterator[bytes]:
    """Lines that stop these checks."""
    for part in _parts(numbers):
        yield _line({"stop": part})


def encode_verdicts(changes: Sequence[VerdictChanged]) -> Iterator[bytes]:
    """Lines that tell these changes; one empty line of changes is the beat."""
    for part in _parts(changes) if changes else [[]]:
        yield _line({"verdicts": [[c.number, c.verdict, c.detail] for c in part]})


def decode_orders(line: bytes) -> tuple[list[StartCheck], list[int]]:
    """What the agent asks: checks to start, and numbers to stop."""
    message: dict[str, Any] = json.loads(line)
    starts = [
        StartCheck(number=number, check=_read_check(check), verdict=Verdict(verdict))
        for number, check, verdict in message.get("start", [])
    ]
    return starts, list(message.get("stop", []))


def decode_verdicts(line: bytes) -> list[VerdictChanged]:
    """What the process tells. Raises ValueError, TypeError or KeyError where the line is not one of its own."""
    return [
        VerdictChanged(number=int(number), verdict=Verdict(verdict), detail=str(detail))
        for number, verdict, detail in json.loads(line)["verdicts"]
    ]


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
