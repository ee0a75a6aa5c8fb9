"""What is said while a director sees little."""

import pytest

from lvs_agent.decide.sight import Sight, blindness


@pytest.mark.parametrize(
    ("sight", "reason", "says"),
    [
        (Sight(silent=True), "ChecksUnanswered", "none was answered since this agent began to check"),
        (Sight(not_made="no port"), "ChecksNotMade", "some checks can not be made (no port)"),
        (Sight(silent=True, not_made="no port"), "ChecksNotMade", "some checks can not be made (no port)"),
        (Sight(is_running=False, silent=True), "ChecksNotMade", "the process that checks does not run"),
    ],
)
def test_blindness_is_told(sight: Sight, reason: str, says: str) -> None:
    fault = blindness(sight)
    assert fault is not None
    assert fault.reason == reason
    assert says in fault.message


def test_one_who_sees_says_nothing() -> None:
    assert blindness(Sight()) is None
