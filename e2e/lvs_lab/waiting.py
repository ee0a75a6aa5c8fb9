"""Wait for a condition with a deadline, and say what was seen last when it passes."""

import time
from collections.abc import Callable
from typing import TypeVar

from lvs_lab.errors import DeadlineError, LabError

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T],
    deadline: float,
    what: str,
    *,
    interval: float = 0.05,
    always: Callable[[], object] | None = None,
) -> T:
    """Call the condition until it returns something true, and return that.

    A `LabError` or `AssertionError` of the condition counts as "not yet" and is told when the deadline (in seconds)
    passes; any other exception is a fault of the condition and comes through at once. What must hold at every look,
    the last one too, is not a part of the condition but `always`: whatever that raises ends the wait at once.
    """
    end = time.monotonic() + deadline
    while True:
        value: T | None = None
        try:
            value = condition()
            seen = repr(value)
        except (LabError, AssertionError) as error:
            seen = f"{type(error).__name__}: {error}"
        if always is not None:
            always()
        if value:
            return value
        if time.monotonic() >= end:
            raise DeadlineError(f"waited {deadline:g} s for {what}; last seen: {seen}")
        time.sleep(interval)
