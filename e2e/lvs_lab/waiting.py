"""Wait for a condition with a deadline, and say what was seen last when it passes."""

import time
from collections.abc import Callable
from typing import TypeVar

from lvs_lab.errors import DeadlineError, LabError

T = TypeVar("T")


def wait_for(condition: Callable[[], T], deadline: float, what: str, *, interval: float = 0.05) -> T:
    """Call the condition until it returns something true, and return that.

    A `LabError` or `AssertionError` of the condition counts as "not yet" and is told when the deadline (in seconds)
    passes; any other exception is a fault of the condition and comes through at once.
    """
    end = time.monotonic() + deadline
    while True:
        seen: object
        try:
            value = condition()
        except (LabError, AssertionError) as error:
            seen = f"{type(error).__name__}: {error}"
        else:
            if value:
                return value
            seen = repr(value)
        if time.monotonic() >= end:
            raise DeadlineError(f"waited {deadline:g} s for {what}; last seen: {seen}")
        time.sleep(interval)
