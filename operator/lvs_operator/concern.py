"""Whether news may change anything that is decided.

A cluster has far more EndpointSlices than pools that name them, and theirs change all the time.
"""

from lvs_core.endpoints import EndpointSlice
from lvs_operator.cache import Cache, Entry
from lvs_operator.watched_kinds import POOLS, Unreadable

Service = tuple[str, str]
"""Namespace and name."""


class Concern:
    """Judges news of one cache. Which Services pools name is looked up again only where a pool has changed."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._revision: int | None = None
        self._named: frozenset[Service] = frozenset()

    def is_in(self, before: Entry | None, after: Entry | None) -> bool:
        """Of an object that changed: False where it is an EndpointSlice, and of a Service that no pool names."""
        values = [entry.value for entry in (before, after) if entry is not None]
        if not values or not all(isinstance(value, EndpointSlice) for value in values):
            return True
        revision = self._cache.revision_of(POOLS)
        if revision != self._revision:
            found = (_service_of(entry) for entry in self._cache.entries(POOLS))
            self._revision, self._named = revision, frozenset(one for one in found if one is not None)
        return any((value.namespace, value.service) in self._named for value in values)


def _service_of(entry: Entry) -> Service | None:
    """The Service whose endpoints a pool names."""
    if isinstance(entry.value, Unreadable) or entry.value.spec is None or entry.value.spec.endpoints is None:
        return None
    return entry.meta.namespace or "", entry.value.spec.endpoints.service_ref.name
