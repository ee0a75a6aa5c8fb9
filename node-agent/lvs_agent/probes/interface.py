"""One probe per file behind one Protocol. A real server is untrusted input: every probe bounds the bytes it reads.

The runner bounds the time and turns what goes wrong with the network into a failed check.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

MAX_DETAIL = 160
"""Characters of a detail that travel on: it may quote what a real server sent."""


class Result(StrEnum):
    """How a check went."""

    PASSED = "passed"
    FAILED = "failed"
    """The real server answered, and not as it should: refusing a connection is an answer."""
    UNANSWERED = "unanswered"
    """Nothing came back in time, or the network said that the way is closed."""
    NOT_MADE = "not_made"
    """This node could not ask, or was too busy to listen: no news of the real server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One check is over."""

    result: Result
    detail: str = ""
    """Why it did not pass, in a few words."""


class CheckNotMade(Exception):  # noqa: N818 (it tells of no error of the real server)
    """This node could not even ask; the message says why."""


class Probe(Protocol):
    """One way to find out whether a real server takes connections."""

    async def check(self) -> Outcome:
        """Check once. May be cancelled at any time.

        Raises OSError where the network says no, and CheckNotMade where this node could not ask.
        """
