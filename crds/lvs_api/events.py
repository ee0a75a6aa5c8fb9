"""Events of Kubernetes: which transition of a status is one, with which reason, Normal or Warning."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from lvs_api.conditions import Condition, ConditionStatus, ConditionType, Reason

MAX_EVENT_MESSAGE: Final = 1024


class EventType(StrEnum):
    """Normal, or something that somebody should look at."""

    NORMAL = "Normal"
    WARNING = "Warning"


class EventReason(StrEnum):
    """Reasons of events beside those of conditions; each has its row in docs/reference/events.md."""

    ADDRESS_BOUND = "AddressBound"
    ADDRESS_FAILED = "AddressFailed"
    ADDRESS_UNBOUND = "AddressUnbound"
    ADDRESSES_TAKEN = "AddressesTaken"
    ADDRESSES_RELEASED = "AddressesReleased"
    EXCEPTION_CLEARED = "ExceptionCleared"
    ACTIVE_DIRECTOR_CHANGED = "ActiveDirectorChanged"
    NO_ACTIVE_DIRECTOR = "NoActiveDirector"


@dataclass(frozen=True, kw_only=True, slots=True)
class Occurrence:
    """Something that happened to an object."""

    type: EventType
    reason: str
    message: str
    subject: str = ""
    """Which of several things of the object, where each may have this reason."""


GOOD_WHEN_TRUE: Final = frozenset(
    {
        ConditionType.ACCEPTED,
        ConditionType.RESOLVED_REFS,
        ConditionType.PROGRAMMED,
        ConditionType.READY,
        ConditionType.SETTINGS_APPLIED,
    }
)
"""Every other type names a trouble, which is over when the condition is False or gone."""
NORMAL_REASONS: Final = frozenset(
    {
        Reason.ACCEPTED,
        Reason.RESOLVED,
        Reason.PROGRAMMED,
        Reason.READY,
        Reason.UNVERIFIED,
        Reason.PAUSED,
        Reason.SETTINGS_APPLIED,
    }
)
NOT_YET: Final = frozenset({Reason.PENDING, Reason.NOT_PROGRAMMED})
"""No event where nothing was lost: the object is new, or was in trouble before."""
_OVER: Final = "Over"


def type_of(reason: str) -> EventType:
    """How an event with a condition's reason counts; one that a newer version may know is a Warning."""
    return EventType.NORMAL if reason in NORMAL_REASONS else EventType.WARNING


def reason_when_over(condition: str) -> str:
    """The reason of the event that a condition which names a trouble is no longer True."""
    return condition + _OVER


def condition_events(before: Sequence[Condition] | None, after: Sequence[Condition] | None) -> list[Occurrence]:
    """What happened between two lists of conditions: new words for status or reason; messages alone are no event.

    Several conditions that give one reason at once, as Ready does with what it lacks, are one event.
    """
    old = {condition.type: condition for condition in before or ()}
    new = {condition.type: condition for condition in after or ()}
    found: dict[str, Occurrence] = {}
    for kind, condition in new.items():
        for occurrence in _events_of(old.get(kind), condition):
            found.setdefault(occurrence.reason, occurrence)
    for kind in old.keys() - new.keys():
        for occurrence in _over(old[kind], ""):
            found.setdefault(occurrence.reason, occurrence)
    return list(found.values())


def _events_of(old: Condition | None, new: Condition) -> Iterator[Occurrence]:
    if old is not None and (old.status, old.reason) == (new.status, new.reason):
        return
    if new.type in GOOD_WHEN_TRUE:
        was_good = old is not None and old.status is ConditionStatus.TRUE
        if was_good or new.reason not in NOT_YET:
            yield Occurrence(type=type_of(new.reason), reason=new.reason, message=new.message[:MAX_EVENT_MESSAGE])
    elif new.status is ConditionStatus.TRUE:
        yield Occurrence(type=EventType.WARNING, reason=new.reason, message=new.message[:MAX_EVENT_MESSAGE])
    elif new.status is ConditionStatus.FALSE and old is not None:
        yield from _over(old, new.message)


def _over(old: Condition, message: str) -> Iterator[Occurrence]:
    if old.type not in GOOD_WHEN_TRUE and old.status is ConditionStatus.TRUE:
        said = message or f"no longer so: {old.message}"
        yield Occurrence(type=EventType.NORMAL, reason=reason_when_over(old.type), message=said[:MAX_EVENT_MESSAGE])
