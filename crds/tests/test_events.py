"""Which change of conditions is an event, and that every reason of events is explained."""

import re
from pathlib import Path

import pytest

from lvs_api.conditions import EPOCH, Condition, ConditionStatus, ConditionType, Reason
from lvs_api.events import (
    GOOD_WHEN_TRUE,
    MAX_EVENT_MESSAGE,
    NOT_YET,
    EventReason,
    condition_events,
    reason_when_over,
    type_of,
)

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "events.md").read_text(encoding="utf-8")
Said = tuple[str, str, str] | None


def conditions(*said: Said) -> list[Condition]:
    """As TYPE, STATUS, REASON."""
    return [
        Condition(
            type=one[0], status=ConditionStatus(one[1]), reason=one[2], message=f"{one[2]}!", last_transition_time=EPOCH
        )
        for one in said
        if one is not None
    ]


CASES: list[tuple[str, Said, Said, list[tuple[str, str]]]] = [
    ("accepted at last", None, ("Accepted", "True", "Accepted"), [("Normal", "Accepted")]),
    ("new and not done yet", None, ("Ready", "Unknown", "Pending"), []),
    ("still not done", ("Ready", "Unknown", "Pending"), ("Programmed", "False", "NotProgrammed"), []),
    ("refused", ("Accepted", "Unknown", "Pending"), ("Accepted", "False", "Conflict"), [("Warning", "Conflict")]),
    ("lost", ("Ready", "True", "Ready"), ("Ready", "False", "NoMemberReady"), [("Warning", "NoMemberReady")]),
    ("not heard any more", ("Ready", "True", "Ready"), ("Ready", "Unknown", "Pending"), [("Warning", "Pending")]),
    ("got worse", ("Ready", "True", "Ready"), ("Ready", "True", "MembersNotReady"), [("Warning", "MembersNotReady")]),
    ("came back", ("Ready", "False", "NoMemberReady"), ("Ready", "True", "Ready"), [("Normal", "Ready")]),
    ("nothing new", ("Ready", "True", "Ready"), ("Ready", "True", "Ready"), []),
    ("a trouble", None, ("CRDOutdated", "True", "CRDOutdated"), [("Warning", "CRDOutdated")]),
    ("no trouble", None, ("CRDOutdated", "False", "Ready"), []),
    ("a trouble over", ("CRDOutdated", "True", "CRDOutdated"), None, [("Normal", "CRDOutdatedOver")]),
    (
        "a trouble over, and said",
        ("CRDOutdated", "True", "CRDOutdated"),
        ("CRDOutdated", "False", "Ready"),
        [("Normal", "CRDOutdatedOver")],
    ),
    ("a good condition gone", ("Ready", "True", "Ready"), None, []),
    ("of a later version", None, ("Ready", "False", "Unheard"), [("Warning", "Unheard")]),
]


@pytest.mark.parametrize(("before", "after", "events"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_events_of_a_condition(before: Said, after: Said, events: list[tuple[str, str]]) -> None:
    found = condition_events(conditions(before), conditions(after))
    assert [(one.type.value, one.reason) for one in found] == events


def test_a_new_message_alone_is_no_event() -> None:
    (old,) = conditions(("Ready", "True", "Ready"))
    assert condition_events([old], [old.model_copy(update={"message": "other words"})]) == []


def test_conditions_that_give_one_reason_are_one_event() -> None:
    before = conditions(("Programmed", "True", "Programmed"), ("Ready", "True", "Ready"))
    after = conditions(("Programmed", "False", "KernelRefused"), ("Ready", "False", "KernelRefused"))
    assert [one.reason for one in condition_events(before, after)] == ["KernelRefused"]


def test_messages_are_bounded() -> None:
    (long,) = conditions(("Ready", "False", "Invalid"))
    (found,) = condition_events(None, [long.model_copy(update={"message": "x" * 5000})])
    assert len(found.message) == MAX_EVENT_MESSAGE


def test_the_page_has_every_reason_with_its_type() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (Normal|Warning) \|", PAGE, re.MULTILINE))
    expected = {reason.value: type_of(reason).value for reason in Reason}
    troubles = {reason_when_over(kind.value): "Normal" for kind in ConditionType if kind not in GOOD_WHEN_TRUE}
    assert {name: kind for name, kind in rows.items() if name in expected} == expected
    assert rows.keys() == expected.keys() | troubles.keys() | {reason.value for reason in EventReason}
    assert {name: rows[name] for name in troubles} == troubles


def test_the_page_says_what_is_no_event() -> None:
    (sentence,) = re.findall(r"^No event: .*$", PAGE, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", sentence)) == {reason.value for reason in NOT_YET}
