"""How often counts alone are written, and that what changes twice in a moment is written once."""

from lvs_core.cluster_view import ObjectKey
from lvs_operator.counts_pace import SETTLE_SECONDS, CountsPace

WEB, MAIL = ObjectKey("default", "web"), ObjectKey("default", "mail")
LEAST = 5.0


def test_counts_wait_for_others_and_then_for_their_turn() -> None:
    pace = CountsPace(LEAST)
    assert not pace.may_write(WEB, 100, only_counts=True)
    assert pace.next_due(100) == 100 + SETTLE_SECONDS
    assert not pace.may_write(WEB, 101, only_counts=True), "it waits from the first of them"
    assert pace.may_write(WEB, 100 + SETTLE_SECONDS, only_counts=True)
    written = 100 + SETTLE_SECONDS
    assert not pace.may_write(WEB, written + LEAST - 0.1, only_counts=True)
    assert pace.next_due(written + LEAST - 0.1) == written + LEAST
    assert pace.may_write(WEB, written + LEAST, only_counts=True)


def test_anything_else_is_written_at_once_and_counts_wait_after_it() -> None:
    pace = CountsPace(LEAST)
    assert pace.may_write(WEB, 100, only_counts=False)
    assert pace.may_write(WEB, 101, only_counts=False)
    assert not pace.may_write(WEB, 102, only_counts=True)
    assert pace.next_due(102) == 101 + LEAST


def test_each_service_has_its_own_turn() -> None:
    pace = CountsPace(LEAST)
    assert pace.may_write(WEB, 100, only_counts=False)
    assert not pace.may_write(MAIL, 101, only_counts=True)
    assert pace.next_due(101) == 101 + SETTLE_SECONDS


def test_what_may_be_written_is_forgotten() -> None:
    pace = CountsPace(LEAST)
    assert pace.may_write(WEB, 100, only_counts=False)
    assert pace.next_due(100 + LEAST) is None


def test_a_shorter_time_between_writes_is_the_longest_wait() -> None:
    pace = CountsPace(0.5)
    assert not pace.may_write(WEB, 100, only_counts=True)
    assert pace.may_write(WEB, 100.5, only_counts=True)
