"""When connections of a steady load failed."""

from support.steady_load import failure_spans


def test_failures_that_are_near_one_another_are_told_as_one_time_of_each_kind() -> None:
    failed_at = {"timed out": {40: 1, 7: 2, 3: 5, 4: 6}, "refused": {8: 1}}
    assert failure_spans(failed_at) == [
        "timed out: 13 from 3 s to 8 s",
        "refused: 1 from 8 s to 9 s",
        "timed out: 1 from 40 s to 41 s",
    ]
    assert failure_spans({}) == []


def test_seconds_that_are_far_apart_are_two_times() -> None:
    assert failure_spans({"refused": {0: 1, 5: 1}}) == ["refused: 1 from 0 s to 1 s", "refused: 1 from 5 s to 6 s"]
