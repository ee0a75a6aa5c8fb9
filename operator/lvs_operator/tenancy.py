"""Whether it is known which LvsAddressPools there are.

That there is none lifts a ban, or withdraws all services where a pool is required, and is not believed lightly.
"""

from lvs_operator.cache import Cache
from lvs_operator.kind_guard import KindGuard
from lvs_operator.watched_kinds import ADDRESS_POOLS, Unreadable


class Tenancy:
    """Belongs to the main loop."""

    def __init__(self, cache: Cache, guard: KindGuard) -> None:
        self._cache = cache
        self._guard = guard
        self._none = False
        """That there is no pool was found while our kinds were whole."""

    @property
    def asks_for_look(self) -> bool:
        """Whether our kinds are to be looked at: the last pool may have gone with its CRD."""
        if self._cache.entries(ADDRESS_POOLS):
            self._none = False
            return False
        return not self._none and (self._guard.reason is None or self._guard.may_look)

    def looked(self) -> None:
        """Our kinds were looked at, after the view had no pool."""
        self._none = self._guard.reason is None and not self._cache.entries(ADDRESS_POOLS)

    @property
    def known(self) -> bool:
        """Whether the view has every pool: there is none, or some that can be read, and none goes with the CRD."""
        entries = self._cache.entries(ADDRESS_POOLS)
        if not entries:
            return self._none
        return self._guard.reason is None and not any(isinstance(entry.value, Unreadable) for entry in entries)
