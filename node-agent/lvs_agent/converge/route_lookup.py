"""Knows what the kernel would do with packets to the real servers, and asks again after something changed."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from lvs_agent.decide.kernel_state import IPAddress, Route
from lvs_agent.kernel.interface import Links

_SHARE: Final = 4
_LONGEST_BETWEEN: Final = 5.0


class RouteLookup:
    """Owner of the answers. A change that comes while it asks counts for the next time.

    Where routes change all the time, all are asked for again at most a fifth of the time, at the latest after 5 s;
    until then what was known counts, and only real servers that are new are asked for.
    """

    def __init__(self, links: Links, clock: Callable[[], float]) -> None:
        self._links = links
        self._clock = clock
        self._known: Mapping[IPAddress, Route] = {}
        self._wanted: AbstractSet[IPAddress] = frozenset()
        """Those that are known: the same object from round to round while the plan is, and there may be very many."""
        self._changes = 0
        self._answered = 0
        """The changes that what is known takes into account."""
        self._next = 0.0

    def doubt(self) -> None:
        """A device, an address or a route changed."""
        self._changes += 1

    def next_deadline(self) -> float | None:
        """When all are to be asked for again; None while nothing changed."""
        return None if self._answered == self._changes else self._next

    async def look_up(self, wanted: AbstractSet[IPAddress]) -> Mapping[IPAddress, Route]:
        """The routes to these addresses; the same object while no answer differs. Raises LinkError."""
        await self._links.read()  # hears of changes that came since
        changes, began = self._changes, self._clock()
        is_due = self._answered != changes and began >= self._next
        known = {} if is_due else self._known
        if is_due or (wanted is not self._wanted and known.keys() != wanted):
            found = {a: known[a] if a in known else await self._links.route_to(a) for a in wanted}
            now = self._clock()
            self._next = max(self._next, now + min(_SHARE * (now - began), _LONGEST_BETWEEN))
            if is_due:
                self._answered = changes
            if found != self._known:
                self._known = found
        self._wanted = wanted
        return self._known
