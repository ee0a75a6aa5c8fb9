"""Events count up, wait for their turn, survive an API server that does not answer, and stay bounded."""

from lvs_api.events import EventType, Occurrence
from lvs_core.event_book import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    SERIES_SECONDS,
    EventBook,
    EventWrite,
    Outcome,
    Pace,
    Regarding,
)

NODE = Regarding("lvs-operator.io/v1alpha1", "LvsNode", None, "n1", "uid-n1")
WEB = Regarding("lvs-operator.io/v1alpha1", "LvsVirtualService", "shop", "web", "uid-web")
AT = "2025-06-01T00:00:0{}Z"


def book(*, burst: int = 10, per_second: float = 1.0, waiting: int = 5) -> EventBook:
    return EventBook(
        component="lvs-agent", instance="n1", pace=Pace(burst=burst, per_second=per_second, waiting=waiting)
    )


def occurrence(reason: str = "Ready", message: str = "all is well", subject: str = "") -> Occurrence:
    return Occurrence(type=EventType.NORMAL, reason=reason, message=message, subject=subject)


def taken(one: EventBook, now: float) -> EventWrite:
    write = one.take(now)
    assert write is not None
    return write


def test_an_event_names_its_object_and_is_where_that_is() -> None:
    one = book()
    assert one.wait(0) is None
    one.note(WEB, occurrence(), AT.format(1))
    write = taken(one, 0)
    assert (write.creates, write.path) == (True, "/api/v1/namespaces/shop/events")
    involved = {"apiVersion": WEB.api_version, "kind": WEB.kind, "name": "web", "uid": WEB.uid, "namespace": "shop"}
    assert write.body["involvedObject"] == involved
    assert (write.body["count"], write.body["firstTimestamp"], write.body["lastTimestamp"]) == (
        1,
        AT.format(1),
        AT.format(1),
    )
    one.note(NODE, occurrence(), AT.format(1))
    write = taken(one, 0)
    assert write.path == "/api/v1/namespaces/default/events"
    assert "namespace" not in write.body["involvedObject"]


def test_the_same_again_counts_up_until_it_was_quiet_for_long() -> None:
    one = book()
    one.note(NODE, occurrence(), AT.format(1))
    first = taken(one, 0)
    one.settle(first, Outcome.POSTED, 0)
    one.note(NODE, occurrence(message="again"), AT.format(2))
    one.note(NODE, occurrence(message="and again"), AT.format(3))
    second = taken(one, 1)
    assert (second.creates, second.path) == (False, f"{first.path}/{first.name}")
    assert second.body == {"type": "Normal", "message": "and again", "count": 3, "lastTimestamp": AT.format(3)}
    one.settle(second, Outcome.POSTED, 1)
    one.note(NODE, occurrence(), AT.format(4))
    third = taken(one, 1 + SERIES_SECONDS)
    assert third.creates
    assert third.name != first.name


def test_another_reason_subject_or_object_is_another_event() -> None:
    one = book()
    for regarding, what in (
        (NODE, occurrence()),
        (NODE, occurrence("KernelRefused")),
        (NODE, occurrence(subject="shop/web")),
        (WEB, occurrence()),
    ):
        one.note(regarding, what, AT.format(1))
    names = set()
    for _ in range(4):
        write = taken(one, 0)
        assert write.creates
        names.add(write.name)
    assert len(names) == 4


def test_an_event_that_expired_is_made_anew() -> None:
    one = book()
    one.note(NODE, occurrence(), AT.format(1))
    one.settle(taken(one, 0), Outcome.POSTED, 0)
    one.note(NODE, occurrence(), AT.format(2))
    one.settle(taken(one, 1), Outcome.GONE, 1)
    write = taken(one, 1)
    assert (write.creates, write.body["count"], write.body["firstTimestamp"]) == (True, 1, AT.format(2))


def test_without_an_answer_it_waits_longer_each_time_and_nothing_is_lost() -> None:
    one = book(burst=100)
    one.note(NODE, occurrence(), AT.format(1))
    now, pauses = 0.0, []
    for _ in range(9):
        one.settle(taken(one, now), Outcome.NO_ANSWER, now)
        wait = one.wait(now)
        assert wait is not None
        assert one.take(now) is None
        pauses.append(wait)
        now += wait
    assert pauses[0] == FIRST_PAUSE
    assert pauses[-1] == LONGEST_PAUSE
    one.note(NODE, occurrence(message="once more"), AT.format(2))
    write = taken(one, now)
    assert (write.body["count"], write.body["message"]) == (2, "once more")
    assert (write.body["firstTimestamp"], write.body["lastTimestamp"]) == (AT.format(1), AT.format(2))


def test_what_came_while_a_write_was_under_way_is_not_lost() -> None:
    one = book()
    one.note(NODE, occurrence(), AT.format(1))
    write = taken(one, 0)
    one.note(NODE, occurrence(message="meanwhile"), AT.format(2))
    one.settle(write, Outcome.NO_ANSWER, 0)
    again = taken(one, FIRST_PAUSE)
    assert (again.body["count"], again.body["message"]) == (2, "meanwhile")
    assert one.wait(FIRST_PAUSE) is None


def test_a_refused_one_is_dropped() -> None:
    one = book()
    one.note(NODE, occurrence(), AT.format(1))
    one.settle(taken(one, 0), Outcome.REFUSED, 0)
    assert one.wait(0) is None


def test_the_pace_is_bounded_and_so_is_what_waits() -> None:
    one = book(burst=2, per_second=0.5, waiting=3)
    kept = [one.note(NODE, occurrence(subject=str(number)), AT.format(1)) for number in range(5)]
    assert kept == [True, True, True, False, False]
    assert one.note(NODE, occurrence(subject="0"), AT.format(2)), "the same again takes no room"
    for _ in range(2):
        one.settle(taken(one, 0), Outcome.POSTED, 0)
    assert one.take(0) is None
    assert one.wait(0) == 2.0
    assert one.take(1.0) is None
    assert one.take(2.0) is not None


def test_names_fit() -> None:
    one = book()
    one.note(NODE._replace(name="n." * 126), occurrence(), AT.format(1))
    name = taken(one, 0).name
    assert len(name) <= 253
    assert ".." not in name
