"""One probe per file behind one Protocol. A real server is untrusted input: every probe bounds the bytes it reads.

The runner bounds the time and turns what goes wrong with the network into a failed check.
"""

from dataclasses import dataclass
from typing import Protocol

MAX_DETAIL = 160
"""Characters of a detail that travel on: it may quote what a real server sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One check is over."""

    passed: bool
    detail: str = ""
    """Why it failed, in a few words."""


class Probe(Protocol):
    """One way to find out whether a real server takes connections."""

    async def check(self) -> Outcome:
        """Check once. Raises OSError where the network says no; may be cancelled at any time."""
