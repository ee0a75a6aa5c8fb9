"""Which Events to write, when: the same said again counts up one Event, what comes too fast waits, in bounds.

Events are core/v1: `kubectl describe` shows their count and both times, and they may be changed in place.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, Final, NamedTuple

from lvs_api.events import Occurrence

CLUSTER_NAMESPACE: Final = "default"
"""Where Events of cluster-scoped objects are; the API server takes them nowhere else (validation/events.go)."""
SERIES_SECONDS: Final = 300.0
"""The same said again within so long after the last time counts up its Event."""
MAX_SERIES: Final = 512
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
_MAX_NAME: Final = 220


class Regarding(NamedTuple):
    """The object that an Event is about."""

    api_version: str
    kind: str
    namespace: str | None
    name: str
    uid: str

    @property
    def event_namespace(self) -> str:
        """Where its Events are."""
        return self.namespace or CLUSTER_NAMESPACE


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How many Events at most."""

    burst: int
    per_second: float
    """Writes, once the burst is used up."""
    waiting: int
    """Different ones that wait at the same time; what comes on top is dropped."""


class Outcome(Enum):
    """What became of a write."""

    POSTED = auto()
    GONE = auto()
    """The Event that was to count up is not there any more: Events live for an hour."""
    REFUSED = auto()
    """The API server does not want it, now or ever."""
    NO_ANSWER = auto()
    """Try again later."""


class _Key(NamedTuple):
    uid: str
    reason: str
    subject: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Note:
    """What is to be said of an object, and how often it happened since that was said last."""

    regarding: Regarding
    occurrence: Occurrence
    first: str
    last: str
    count: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class _Series:
    """An Event that is there."""

    name: str
    count: int
    until: float


@dataclass(frozen=True, kw_only=True, slots=True)
class EventWrite:
    """One request. Creates an Event, or changes one by a merge patch."""

    creates: bool
    path: str
    body: Mapping[str, Any]
    name: str
    count: int
    key: _Key
    note: _Note


class EventBook:
    """What waits and what was written. Times are seconds on a monotonic clock; stamps are RFC 3339."""

    def __init__(self, *, component: str, instance: str, pace: Pace) -> None:
        self._component = component
        self._instance = instance
        self._pace = pace
        self._waiting: dict[_Key, _Note] = {}
        self._series: dict[_Key, _Series] = {}
        self._tokens = float(pace.burst)
        self._counted = 0.0
        self._not_before = 0.0
        self._pause = FIRST_PAUSE

    def note(self, regarding: Regarding, occurrence: Occurrence, stamp: str) -> bool:
        """Something happened; False where it finds no room and is dropped."""
        key = _Key(regarding.uid, occurrence.reason, occurrence.subject)
        before = self._waiting.get(key)
        if before is None and len(self._waiting) >= self._pace.waiting:
            return False
        first, count = (before.first, before.count + 1) if before is not None else (stamp, 1)
        self._waiting[key] = _Note(regarding=regarding, occurrence=occurrence, first=first, last=stamp, count=count)
        return True

    def wait(self, now: float) -> float | None:
        """Seconds until `take` has something; None while there is nothing."""
        if not self._waiting:
            return None
        self._refill(now)
        missing = max(0.0, 1.0 - self._tokens) / self._pace.per_second
        return max(missing, self._not_before - now, 0.0)

    def take(self, now: float) -> EventWrite | None:
        """What is to be written now. Tell with `settle` what became of it."""
        if (wait := self.wait(now)) is None or wait > 0:
            return None
        self._tokens -= 1.0
        self._series = {key: series for key, series in self._series.items() if series.until > now}
        key, note = next(iter(self._waiting.items()))
        del self._waiting[key]
        series = self._series.get(key)
        return self._creation(key, note) if series is None else self._count_up(key, note, series)

    def settle(self, write: EventWrite, outcome: Outcome, now: float) -> None:
        """A write is over."""
        if outcome is Outcome.NO_ANSWER:
            self._not_before = now + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._put_back(write)
            return
        self._pause = FIRST_PAUSE
        if outcome is Outcome.GONE:
            self._series.pop(write.key, None)
            self._put_back(write)
        elif outcome is Outcome.POSTED:
            self._series.pop(write.key, None)
            if len(self._series) >= MAX_SERIES:
                del self._series[next(iter(self._series))]
            self._series[write.key] = _Series(name=write.name, count=write.count, until=now + SERIES_SECONDS)

    def _refill(self, now: float) -> None:
        self._tokens = min(self._tokens + max(0.0, now - self._counted) * self._pace.per_second, self._pace.burst)
        self._counted = now

    def _put_back(self, write: EventWrite) -> None:
        """First in the row again, with what came since."""
        later = self._waiting.pop(write.key, None)
        note = write.note
        if later is not None:
            note = replace(later, first=note.first, count=note.count + later.count)
        self._waiting = {write.key: note, **self._waiting}

    def _creation(self, key: _Key, note: _Note) -> EventWrite:
        regarding, occurrence = note.regarding, note.occurrence
        name = _event_name(regarding, key, note.first, self._instance)
        involved = {
            "apiVersion": regarding.api_version,
            "kind": regarding.kind,
            "name": regarding.name,
            "uid": regarding.uid,
        }
        if regarding.namespace:
            involved["namespace"] = regarding.namespace
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": regarding.event_namespace},
            "involvedObject": involved,
            "type": occurrence.type.value,
            "reason": occurrence.reason,
            "message": occurrence.message,
            "count": note.count,
            "firstTimestamp": note.first,
            "lastTimestamp": note.last,
            "source": {"component": self._component, "host": self._instance},
            "reportingComponent": self._component,
            "reportingInstance": self._instance,
        }
        path = _collection(regarding)
        return EventWrite(creates=True, path=path, body=body, name=name, count=note.count, key=key, note=note)

    def _count_up(self, key: _Key, note: _Note, series: _Series) -> EventWrite:
        count = series.count + note.count
        body = {
            "type": note.occurrence.type.value,
            "message": note.occurrence.message,
            "count": count,
            "lastTimestamp": note.last,
        }
        path = f"{_collection(note.regarding)}/{series.name}"
        return EventWrite(creates=False, path=path, body=body, name=series.name, count=count, key=key, note=note)


def _collection(regarding: Regarding) -> str:
    return f"/api/v1/namespaces/{regarding.event_namespace}/events"


def _event_name(regarding: Regarding, key: _Key, first: str, instance: str) -> str:
    """As others name Events: the object's name and a part that makes it unique."""
    unique = hashlib.sha256("\n".join((*key, first, instance)).encode()).hexdigest()[:16]
    return f"{regarding.name[:_MAX_NAME].rstrip('.-')}.{unique}"
