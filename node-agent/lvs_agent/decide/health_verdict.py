"""When a real server counts as healthy: runs of passed and failed checks, nothing else."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What is known about the far end of a check."""

    UNKNOWN = "Unknown"
    """Not yet `rise` passes nor `fall` failures: a new member waits at weight 0."""
    UP = "Up"
    DOWN = "Down"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """What an HTTP check asks for and which statuses pass; an empty tuple is any 2xx."""

    path: str
    host: str
    expected_statuses: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check, as it is run. Members of several services that are checked alike share it.

    `http` absent is a TCP check: a connection is opened and closed.
    """

    address: str
    port: int
    http: HttpRequest | None
    interval_seconds: float
    timeout_seconds: float
    rise: int
    fall: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What the probe process last said of a check."""

    verdict: Verdict
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """A verdict with the run of checks that contradict it."""

    verdict: Verdict = Verdict.UNKNOWN
    passed: int = 0
    failed: int = 0


def judge(streak: Streak, *, passed: bool, rise: int, fall: int) -> Streak:
    """The streak after one more check."""
    if passed:
        run = streak.passed + 1
        if streak.verdict is not Verdict.UP and run >= rise:
            return Streak(verdict=Verdict.UP, passed=run)
        return Streak(verdict=streak.verdict, passed=min(run, rise))
    run = streak.failed + 1
    if streak.verdict is not Verdict.DOWN and run >= fall:
        return Streak(verdict=Verdict.DOWN, failed=run)
    return Streak(verdict=streak.verdict, failed=min(run, fall))


def seconds_to_tell(check: Check) -> float:
    """Within so many seconds a check that is new has told, if its process runs and all its checks end alike."""
    return (max(check.rise, check.fall) + 1) * check.interval_seconds + check.timeout_seconds
