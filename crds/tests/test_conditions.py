"""Conditions keep their transition time, and every reason is explained."""

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from lvs_api.conditions import (
    EPOCH,
    Condition,
    ConditionStatus,
    ConditionType,
    Reason,
    drop_condition,
    find_condition,
    is_true,
    set_condition,
    timestamp,
)

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "conditions.md"
EARLY, LATE = "2025-01-01T00:00:00Z", "2025-01-01T00:05:00Z"


def condition(
    status: ConditionStatus, at: str, *, kind: ConditionType = ConditionType.READY, message: str = ""
) -> Condition:
    return Condition(type=kind, status=status, reason=Reason.READY, message=message, last_transition_time=at)


def test_the_time_moves_with_the_status_only() -> None:
    first = set_condition(None, condition(ConditionStatus.TRUE, EARLY))
    same = set_condition(first, condition(ConditionStatus.TRUE, LATE, message="other words"))
    assert (same[0].last_transition_time, same[0].message) == (EARLY, "other words")
    assert set_condition(first, condition(ConditionStatus.TRUE, LATE)) == first
    other = set_condition(first, condition(ConditionStatus.UNKNOWN, LATE))
    assert other[0].last_transition_time == LATE


def test_each_type_keeps_its_place() -> None:
    accepted = condition(ConditionStatus.TRUE, EARLY, kind=ConditionType.ACCEPTED)
    ready = condition(ConditionStatus.FALSE, EARLY)
    both = set_condition(set_condition([], accepted), ready)
    again = set_condition(both, condition(ConditionStatus.FALSE, LATE, kind=ConditionType.ACCEPTED))
    assert [item.type for item in again] == ["Accepted", "Ready"]
    assert drop_condition(again, ConditionType.ACCEPTED) == [ready]


def test_reading() -> None:
    conditions = [condition(ConditionStatus.FALSE, EARLY)]
    assert find_condition(conditions, ConditionType.READY) is conditions[0]
    assert find_condition(None, ConditionType.READY) is None
    assert not is_true(conditions, ConditionType.READY)
    assert is_true([condition(ConditionStatus.TRUE, EARLY)], ConditionType.READY)


def test_timestamps() -> None:
    moment = datetime(2025, 1, 1, 2, 0, 0, 999999, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(moment) == EARLY
    assert timestamp(datetime.fromtimestamp(0, tz=UTC)) == EPOCH
    with pytest.raises(ValueError, match="time zone"):
        timestamp(datetime(2025, 1, 1))  # noqa: DTZ001 -- the mistake that is refused


def test_every_reason_has_its_anchor_and_no_anchor_is_stale() -> None:
    anchors = re.findall(r"^### (\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(anchors) == sorted(reason.value for reason in Reason)


def test_every_type_has_its_section() -> None:
    sections = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(sections) == sorted(kind.value for kind in ConditionType)
