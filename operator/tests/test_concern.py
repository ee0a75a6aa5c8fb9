"""Which EndpointSlices wake the operator."""

from typing import Any

import pytest

from lvs_api.testing import real_server_pool
from lvs_operator.cache import Cache, Entry
from lvs_operator.concern import Concern
from lvs_operator.watched_kinds import CORE_SERVICES, ENDPOINT_SLICES, POOLS, WatchedKind

Json = dict[str, Any]


def raw(name: str, service: str, namespace: str = "default") -> Json:
    labels = {"kubernetes.io/service-name": service}
    metadata = {"name": name, "namespace": namespace, "uid": name, "resourceVersion": "1", "labels": labels}
    return {"metadata": metadata, "addressType": "IPv4", "endpoints": [], "ports": []}


def entry(kind: WatchedKind, one: Json) -> Entry:
    cache = Cache((kind,))
    cache.apply(kind, one)
    (found,) = cache.entries(kind)
    return found


@pytest.fixture
def cache() -> Cache:
    made = Cache()
    for name, changes in (("plain", {}), ("pods", {"realServers": None, "endpoints": {"serviceRef": {"name": "web"}}})):
        made.apply(POOLS, real_server_pool(name, **changes))
    unreadable = real_server_pool("broken", weight="much")
    made.apply(POOLS, unreadable)
    return made


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, raw("a", "web"), True),
        (raw("a", "web"), None, True),
        (raw("a", "web"), raw("a", "other"), True),
        (raw("a", "other"), raw("a", "web"), True),
        (None, raw("a", "other"), False),
        (raw("a", "other"), raw("a", "another"), False),
        (None, raw("a", "web", "elsewhere"), False),
        (None, raw("a", ""), False),
    ],
)
def test_slices_of_services_that_a_pool_names(
    cache: Cache, before: Json | None, after: Json | None, expected: bool
) -> None:
    entries = [None if one is None else entry(ENDPOINT_SLICES, one) for one in (before, after)]
    assert Concern(cache).is_in(*entries) is expected


def test_everything_else_is_of_concern(cache: Cache) -> None:
    concern = Concern(cache)
    assert concern.is_in(None, entry(CORE_SERVICES, raw("web", "")))
    assert concern.is_in(entry(POOLS, real_server_pool("plain")), None)
    assert concern.is_in(None, None)


def test_a_pool_that_comes_to_name_a_service_or_goes_is_noticed(cache: Cache) -> None:
    concern, other = Concern(cache), entry(ENDPOINT_SLICES, raw("a", "other"))
    assert not concern.is_in(None, other)
    cache.apply(POOLS, real_server_pool("late", realServers=None, endpoints={"serviceRef": {"name": "other"}}))
    assert concern.is_in(None, other)
    (late,) = [one for one in cache.entries(POOLS) if one.meta.name == "late"]
    cache.forget(POOLS, late.meta.uid)
    assert not concern.is_in(None, other)
