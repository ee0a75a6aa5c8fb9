"""Knows what the kernel would do with packets to the real servers, and asks again after something changed."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from lvs_agent.decide.kernel_state import IPAddress, Route
from lvs_agent.kernel.interface import Links


class RouteLookup:
    """Owner of the answers. A change that comes while it asks counts for the next time."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._known: Mapping[IPAddress, Route] = {}
        self._changes = 0
        self._answered = 0
        """The changes that what is known takes into account."""

    def doubt(self) -> None:
        """A device, an address or a route changed."""
        self._changes += 1

    async def look_up(self, wanted: AbstractSet[IPAddress]) -> Mapping[IPAddress, Route]:
        """The routes to these addresses; the same object while no answer differs. Raises LinkError."""
        await self._links.read()  # hears of changes that came since
        changes = self._changes
        known = self._known if self._answered == changes else {}
        if known.keys() != wanted:
            found = {a: known[a] if a in known else await self._links.route_to(a) for a in wanted}
            self._answered = changes
            if found != self._known:
                self._known = found
        return self._known
