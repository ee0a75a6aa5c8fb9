"""Knows what the kernel would do with packets to the real servers, and asks again after something changed."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from lvs_agent.decide.kernel_state import IPAddress, Route, RouteKind
from lvs_agent.kernel.interface import Links

_SHARE: Final = 4
_LONGEST_BETWEEN: Final = 5.0
PATIENCE_SECONDS: Final = 1.0
"""So long an address that was on the link may be elsewhere. systemd-networkd and NetworkManager take the machine's
own address off and put it on again, the latter after asking the link for 0.2 s. A SYN that is lost meanwhile comes
again; one for which no real server is left is refused."""


class RouteLookup:
    """Owner of the answers. A change that comes while it asks counts for the next time.

    That an address is not on the link any more counts once it has been so for a second.

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
        self._left: dict[IPAddress, float] = {}
        """Since when those that are known as on the link are not any more."""

    def doubt(self) -> None:
        """A device, an address or a route changed."""
        self._changes += 1

    def next_deadline(self) -> float | None:
        """When all are to be asked for again; None while nothing changed."""
        if self._answered != self._changes:
            return self._next
        return max(self._next, min(self._left.values()) + PATIENCE_SECONDS) if self._left else None

    async def look_up(self, wanted: AbstractSet[IPAddress]) -> Mapping[IPAddress, Route]:
        """The routes to these addresses; the same object while no answer differs. Raises LinkError."""
        await self._links.read()  # hears of changes that came since
        changes, began = self._changes, self._clock()
        deadline = self.next_deadline()
        is_due = deadline is not None and began >= deadline
        known = {} if is_due else self._known
        if is_due or (wanted is not self._wanted and known.keys() != wanted):
            found = {a: known[a] if a in known else await self._links.route_to(a) for a in wanted}
            now = self._clock()
            self._next = max(self._next, now + min(_SHARE * (now - began), _LONGEST_BETWEEN))
            if is_due:
                self._answered = changes
                found = {address: self._judge(address, route, began) for address, route in found.items()}
            self._left = {address: since for address, since in self._left.items() if address in found}
            if found != self._known:
                self._known = found
        self._wanted = wanted
        return self._known

    def _judge(self, address: IPAddress, route: Route, now: float) -> Route:
        """What counts of this answer for now. An address of this machine itself does so at once."""
        former = self._known.get(address)
        if former is None or not former.on_link or route.on_link or route.kind is RouteKind.LOCAL:
            self._left.pop(address, None)
            return route
        if now - self._left.setdefault(address, now) < PATIENCE_SECONDS:
            return former
        del self._left[address]
        return route
