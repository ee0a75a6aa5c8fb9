"""Whether news may change anything that is decided.

A cluster has far more EndpointSlices than pools that name them, and theirs change all the time.
"""

from lvs_core.endpoints import EndpointSlice
from lvs_operator.cache import Cache, Entry
from lvs_operator.watched_kinds import POOLS, Unreadable


def is_of_concern(cache: Cache, before: Entry | None, after: Entry | None) -> bool:
    """Of an object that changed: False where it is an EndpointSlice, and of a Service that no pool names."""
    values = [entry.value for entry in (before, after) if entry is not None]
    if not values or not all(isinstance(value, EndpointSlice) for value in values):
        return True
    named = {(value.namespace, value.service) for value in values}
    return any(_service_of(entry) in named for entry in cache.entries(POOLS))


def _service_of(entry: Entry) -> tuple[str, str] | None:
    """The Service whose endpoints a pool names."""
    if isinstance(entry.value, Unreadable) or entry.value.spec is None or entry.value.spec.endpoints is None:
        return None
    return entry.meta.namespace or "", entry.value.spec.endpoints.service_ref.name
