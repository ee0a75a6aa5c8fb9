"""Runs of checks and the verdicts they lead to."""

import pytest

from lvs_agent.decide.health_verdict import Streak, Verdict, judge

U, UP, DOWN = Verdict.UNKNOWN, Verdict.UP, Verdict.DOWN


@pytest.mark.parametrize(
    ("start", "checks", "rise", "fall", "verdicts"),
    [
        (U, "+", 1, 1, [UP]),
        (U, "+-++", 2, 3, [U, U, U, UP]),
        (U, "---", 2, 3, [U, U, DOWN]),
        (UP, "--+---", 2, 3, [UP, UP, UP, UP, UP, DOWN]),
        (DOWN, "+-++", 2, 3, [DOWN, DOWN, DOWN, UP]),
        (UP, "-+-+-+", 1, 2, [UP] * 6),
        (DOWN, "++++-", 2, 1, [DOWN, UP, UP, UP, DOWN]),
    ],
)
def test_verdict_follows_runs(start: Verdict, checks: str, rise: int, fall: int, verdicts: list[Verdict]) -> None:
    streak = Streak(verdict=start)
    seen = []
    for check in checks:
        streak = judge(streak, passed=check == "+", rise=rise, fall=fall)
        seen.append(streak.verdict)
    assert seen == verdicts
