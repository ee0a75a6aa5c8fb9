"""The operator's view and its writes, against a real API server."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lvs_api.testing import real_server_pool, virtual_service
from lvs_operator.api_client import ApiClient, read_kubeconfig
from lvs_operator.cache import Cache
from lvs_operator.errors import ApiForbiddenError, ApiNotFoundError, ApiUnavailableError, NotLeaderError
from lvs_operator.watched_kinds import NODES, POOLS, VIRTUAL_SERVICES, Meta, Unreadable, WatchedKind
from lvs_operator.writer import Create, Delete, ReplacePart, SetLabel, WriteKey, Writer
from support.api_server import ApiServer

STATUS = {"members": 2, "services": 1}
Json = dict[str, Any]


@pytest.fixture
def pool(api_server: ApiServer) -> Iterator[Json]:
    raw = api_server.create(real_server_pool("seen")).raise_for_status()
    yield raw
    api_server.delete(raw)


@pytest.fixture
async def client(api_server: ApiServer) -> AsyncIterator[ApiClient]:
    async with ApiClient(read_kubeconfig(api_server.kubeconfig)) as client:
        yield client


def open_gate() -> None:
    """This replica leads."""


def only(cache: Cache, kind: WatchedKind, name: str) -> Meta:
    (entry,) = [entry for entry in cache.entries(kind) if entry.meta.name == name]
    return entry.meta


async def test_a_check_finds_what_no_event_told(api_server: ApiServer, client: ApiClient, pool: Json) -> None:
    cache = Cache((POOLS,))
    assert not cache.complete
    assert await cache.check(client)
    assert cache.complete
    assert only(cache, POOLS, "seen").uid == pool["metadata"]["uid"]

    assert not await cache.check(client)

    pool["spec"]["weight"] = 7
    api_server.replace(pool).raise_for_status()
    assert await cache.check(client)
    (entry,) = cache.entries(POOLS)
    assert entry.value.spec.weight == 7

    api_server.delete(pool).raise_for_status()
    assert await cache.check(client)
    assert not cache.entries(POOLS)


async def test_many_differences_are_read_as_one_list(api_server: ApiServer, client: ApiClient) -> None:
    raws = [api_server.create(real_server_pool(f"many-{number}")).raise_for_status() for number in range(60)]
    try:
        cache = Cache((POOLS,))
        await cache.check(client)
        assert {entry.meta.name for entry in cache.entries(POOLS)} == {raw["metadata"]["name"] for raw in raws}
        assert not any(isinstance(entry.value, Unreadable) for entry in cache.entries(POOLS))
    finally:
        for raw in raws:
            api_server.delete(raw)


def test_late_news_of_an_object_that_is_gone_do_not_bring_it_back(pool: Json) -> None:
    cache = Cache((POOLS,))
    assert cache.apply(POOLS, pool)
    assert cache.apply(POOLS, pool, gone=True)
    newer = pool | {"metadata": pool["metadata"] | {"resourceVersion": "999999999"}}
    assert not cache.apply(POOLS, newer)
    assert not cache.entries(POOLS)


def test_old_news_do_not_replace_newer_ones(api_server: ApiServer, pool: Json) -> None:
    cache = Cache((POOLS,))
    newer = api_server.replace(pool | {"spec": pool["spec"] | {"weight": 9}}).raise_for_status()
    cache.apply(POOLS, newer)
    assert not cache.apply(POOLS, pool)
    (entry,) = cache.entries(POOLS)
    assert entry.value.spec.weight == 9


async def test_a_kind_that_is_not_served_makes_the_view_incomplete(client: ApiClient) -> None:
    strange = WatchedKind(
        name="Strange",
        plural="stranges",
        group="lvs-operator.io",
        version="v1alpha1",
        namespaced=True,
        parse=dict,
        same=lambda one, other: bool(one == other),
    )
    cache = Cache((POOLS, strange))
    with pytest.raises(ApiNotFoundError):
        await cache.check(client)
    assert cache.missing_kinds == ["Strange"]
    assert not cache.complete


async def test_a_status_is_written_and_nothing_else(api_server: ApiServer, client: ApiClient, pool: Json) -> None:
    cache = Cache((POOLS,))
    await cache.check(client)
    writer = Writer(client, cache, open_gate)
    assert await writer.carry_out([status_write(cache)]) == 1

    after = api_server.get(pool).raise_for_status()
    assert after["status"] == STATUS
    assert after["spec"] == pool["spec"]
    managers = {(one["manager"], one.get("subresource")) for one in after["metadata"]["managedFields"]}
    assert ("lvs-operator", "status") in managers
    assert ("lvs-operator", None) not in managers
    (entry,) = cache.entries(POOLS)
    assert entry.meta.version == int(after["metadata"]["resourceVersion"])


def status_write(cache: Cache) -> ReplacePart:
    return ReplacePart(kind=POOLS, meta=only(cache, POOLS, "seen"), part="status", value=STATUS)


async def test_a_write_onto_an_older_state_is_refused_and_read_anew(
    api_server: ApiServer, client: ApiClient, pool: Json
) -> None:
    cache = Cache((POOLS,))
    await cache.check(client)
    stale = status_write(cache)
    api_server.replace(pool | {"spec": pool["spec"] | {"weight": 5}}).raise_for_status()
    writer = Writer(client, cache, open_gate)
    assert await writer.carry_out([stale]) == 0
    assert api_server.get(pool).body["status"]["conditions"][0]["reason"] == "Pending"
    (entry,) = cache.entries(POOLS)
    assert entry.value.spec.weight == 5


@pytest.mark.parametrize("verb", ["status", "delete"])
async def test_a_namesake_is_left_alone(api_server: ApiServer, client: ApiClient, pool: Json, verb: str) -> None:
    cache = Cache((POOLS,))
    await cache.check(client)
    meta = only(cache, POOLS, "seen")
    api_server.delete(pool).raise_for_status()
    namesake = api_server.create(real_server_pool("seen")).raise_for_status()
    # Even a version that is the namesake's own does not make it the object that was meant.
    meta = Meta(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        version=int(namesake["metadata"]["resourceVersion"]),
    )
    write = ReplacePart(kind=POOLS, meta=meta, part="status", value=STATUS) if verb == "status" else None
    writer = Writer(client, cache, open_gate)
    assert await writer.carry_out([write or Delete(kind=POOLS, meta=meta)]) == 0
    after = api_server.get(pool).raise_for_status()
    assert after["metadata"]["resourceVersion"] == namesake["metadata"]["resourceVersion"]


async def test_a_name_that_is_taken_is_found_out(client: ApiClient, pool: Json) -> None:
    cache = Cache((POOLS,))
    body = real_server_pool("seen")
    body = {**body, "metadata": {"name": "seen", "namespace": "default"}}
    writer = Writer(client, cache, open_gate)
    assert await writer.carry_out([Create(kind=POOLS, namespace="default", body=body)]) == 0
    assert only(cache, POOLS, "seen").uid == pool["metadata"]["uid"]


async def test_nothing_is_written_with_the_gate_closed(api_server: ApiServer, client: ApiClient, pool: Json) -> None:
    def closed_gate() -> None:
        raise NotLeaderError("another leads")

    cache = Cache((POOLS,))
    await cache.check(client)
    writer = Writer(client, cache, closed_gate)
    with pytest.raises(NotLeaderError):
        await writer.carry_out([status_write(cache)])
    assert api_server.get(pool).body["metadata"]["resourceVersion"] == pool["metadata"]["resourceVersion"]


async def test_writes_give_way_to_news(api_server: ApiServer, client: ApiClient, pool: Json) -> None:
    cache = Cache((POOLS,))
    await cache.check(client)
    writer = Writer(client, cache, open_gate)
    assert await writer.carry_out([status_write(cache)], give_way=lambda: True) == 0
    assert api_server.get(pool).body["metadata"]["resourceVersion"] == pool["metadata"]["resourceVersion"]
    assert await writer.carry_out([status_write(cache)]) == 1  # left to the next round, not held


async def test_one_refused_write_holds_up_no_other(api_server: ApiServer, client: ApiClient, pool: Json) -> None:
    cache = Cache((POOLS,))
    await cache.check(client)
    homeless = {**real_server_pool("homeless"), "metadata": {"name": "homeless", "namespace": "nowhere"}}
    wrong = {**real_server_pool("wrong", weight=-1), "metadata": {"name": "wrong", "namespace": "default"}}
    writer = Writer(client, cache, open_gate)
    writes = [
        Create(kind=POOLS, namespace="nowhere", body=homeless),
        Create(kind=POOLS, namespace="default", body=wrong),
        status_write(cache),
    ]
    assert await writer.carry_out(writes) == 1
    assert api_server.get(pool).body["status"] == STATUS
    assert await writer.carry_out(writes[1:2]) == 0  # held for now: not even tried
    assert writer.next_try() is not None


async def test_missing_rights_are_told_from_an_absent_server(api_server: ApiServer, tmp_path: Path) -> None:
    kubeconfig = api_server.write_kubeconfig(tmp_path / "nobody", token="nobody")  # noqa: S106 (no token of anybody)
    async with ApiClient(read_kubeconfig(kubeconfig)) as nobody:
        with pytest.raises(ApiForbiddenError):
            await nobody.get(POOLS.collection())
    kubeconfig = api_server.write_kubeconfig(tmp_path / "nowhere", url="https://127.0.0.1:1")
    async with ApiClient(read_kubeconfig(kubeconfig)) as nowhere:
        with pytest.raises(ApiUnavailableError):
            await nowhere.get(POOLS.collection())


@pytest.mark.usefixtures("pool")
async def test_what_the_server_drops_is_noticed_once_and_not_repeated(client: ApiClient) -> None:
    newer = replace(POOLS, parse=lambda raw: raw.get("status"), same=lambda one, other: bool(one == other))
    cache = Cache((newer,))
    await cache.check(client)
    writer = Writer(client, cache, open_gate)

    def status(value: Json) -> ReplacePart:
        return ReplacePart(kind=newer, meta=only(cache, newer, "seen"), part="status", value=value)

    key = WriteKey("LvsRealServerPool", "default", "seen", "status")
    later = STATUS | {"inventedLater": {"deep": [1]}}
    assert await writer.carry_out([status(later)]) == 1
    assert writer.dropped() == {key: ("status.inventedLater.deep[0]",)}
    assert await writer.carry_out([status(later)]) == 0
    writer.forgive()
    assert await writer.carry_out([status(later)]) == 1  # the CRDs may have changed
    assert await writer.carry_out([status(STATUS)]) == 1
    assert writer.dropped() == {}


async def test_a_default_that_the_server_drops_is_no_loss(api_server: ApiServer, client: ApiClient, pool: Json) -> None:
    cache = Cache((POOLS,))
    await cache.check(client)
    writer = Writer(client, cache, open_gate)
    value = STATUS | {"inventedLater": 1}  # nothing that this version reads
    write = ReplacePart(kind=POOLS, meta=only(cache, POOLS, "seen"), part="status", value=value)
    assert await writer.carry_out([write]) == 1
    assert api_server.get(pool).body["status"] == STATUS
    assert writer.dropped() == {}


async def test_a_node_gets_its_label_and_keeps_the_rest(api_server: ApiServer, client: ApiClient) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "labelled", "labels": {"rack": "a"}}}
    api_server.request("POST", "/api/v1/nodes", node).raise_for_status()
    try:
        cache = Cache((NODES,))
        writer = Writer(client, cache, open_gate)
        for value in ("wanted", None):
            await cache.check(client)
            meta = only(cache, NODES, "labelled")
            assert await writer.carry_out([SetLabel(kind=NODES, meta=meta, label="example.com/x", value=value)]) == 1
            labels = api_server.request("GET", "/api/v1/nodes/labelled").body["metadata"]["labels"]
            assert labels.get("example.com/x") == value
            assert labels["rack"] == "a"
    finally:
        api_server.request("DELETE", "/api/v1/nodes/labelled")


def test_a_spec_of_a_later_version_is_kept_as_unreadable_not_as_absent(api_server: ApiServer) -> None:
    raw = api_server.create(virtual_service("later")).raise_for_status()
    try:
        cache = Cache((VIRTUAL_SERVICES,))
        raw["spec"]["inventedLater"] = True
        cache.apply(VIRTUAL_SERVICES, raw)
        (entry,) = cache.entries(VIRTUAL_SERVICES)
        assert "inventedLater" in (entry.value.spec_error or "")
    finally:
        api_server.delete(raw)
