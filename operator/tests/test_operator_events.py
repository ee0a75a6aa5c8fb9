"""Events on users' objects: only of what was written, only by the leader; and services counted by readiness."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from lvs_api import testing
from lvs_api.director_group import GroupMember, LvsDirectorGroupStatus, StandingAside, VirtualRouterStatus
from lvs_core.cluster_view import ClusterView, make_view
from lvs_core.decide import decide
from lvs_core.decision import Decision
from lvs_core.memory import Memory
from lvs_core.view_objects import group_from_raw, node_from_raw, pool_from_raw, service_from_raw
from lvs_operator import metrics
from lvs_operator.api_client import ApiClient
from lvs_operator.cache import Cache
from lvs_operator.changes import meta_of
from lvs_operator.errors import ApiError, ApiForbiddenError, ApiNotFoundError, ApiUnavailableError
from lvs_operator.event_poster import EventPoster
from lvs_operator.status_events import status_events
from lvs_operator.watched_kinds import DIRECTOR_GROUPS, LVS_NODES, POOLS, VIRTUAL_SERVICES, Meta, WatchedKind
from lvs_operator.writer import ReplacePart, Writer

NOW = "2025-06-01T00:00:00Z"
Raw = dict[str, Any]


def placed(raw: Raw, status: Raw | None = None) -> Raw:
    """As the API server gives it."""
    metadata = {**raw["metadata"], "uid": f"uid-{raw['metadata']['name']}", "resourceVersion": "7", "generation": 1}
    return {**raw, "metadata": metadata, **({"status": status} if status is not None else {})}


def node(name: str, *, out_of_service: bool = False) -> Raw:
    taints = [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}] if out_of_service else []
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": f"uid-{name}", "labels": {"lvs-director": "true"}},
        "spec": {"taints": taints},
        "status": {},
    }


def decided(
    *, active: str | None = None, nodes: tuple[Raw, ...] = (), pool: bool = True
) -> tuple[ClusterView, Decision]:
    view = make_view(
        services=[service_from_raw(placed(testing.virtual_service("web")))],
        pools=[pool_from_raw(placed(testing.real_server_pool("web")))] if pool else [],
        groups=[group_from_raw(placed(testing.director_group(), {"active": active} if active else None))],
        nodes=[node_from_raw(raw) for raw in nodes],
    )
    return view, decide(view, Memory(), NOW)


def write(kind: WatchedKind, meta: Meta, part: str = "status") -> ReplacePart:
    return ReplacePart(kind=kind, meta=meta, part=part, value={})


def events_of_group(**changes: Any) -> list[tuple[str, str]]:
    view, decision = decided(**changes)
    found = status_events(view, decision, write(DIRECTOR_GROUPS, meta_of(view.groups["default"].meta)))
    return [(one.reason, one.message) for one in found if "ActiveDirector" in one.reason]


def test_a_service_and_its_pool_are_accepted() -> None:
    view, decision = decided(nodes=(node("d1"),))
    for kind, shelf in ((VIRTUAL_SERVICES, view.services), (POOLS, view.pools)):
        (one,) = cast("Mapping[Any, Any]", shelf).values()
        found = status_events(view, decision, write(kind, meta_of(one.meta)))
        assert ("Normal", "Accepted") in {(event.type.value, event.reason) for event in found}


def test_a_missing_pool_is_a_warning() -> None:
    view, decision = decided(nodes=(node("d1"),), pool=False)
    (service,) = view.services.values()
    found = status_events(view, decision, write(VIRTUAL_SERVICES, meta_of(service.meta)))
    assert [(event.type.value, event.reason) for event in found] == [("Warning", "PoolNotFound")]


REASONS = [
    ((), "Node d9 is deleted"),
    ((node("d9", out_of_service=True),), "Node d9 is tainted node.kubernetes.io/out-of-service"),
]


@pytest.mark.parametrize(("nodes", "why"), REASONS)
def test_a_group_says_why_nobody_carries_the_addresses(nodes: tuple[Raw, ...], why: str) -> None:
    assert events_of_group(active="d9", nodes=nodes) == [
        ("NoActiveDirector", f"no director carries the addresses: {why}")
    ]


def test_a_group_says_who_took_over_from_whom() -> None:
    view, decision = decided(active="d9", nodes=(node("d9"),))
    group = decision.groups["default"].model_copy(update={"active": "d1", "directors": None})
    moved = Decision(**{name: getattr(decision, name) for name in Decision.__slots__} | {"groups": {"default": group}})
    found = status_events(view, moved, write(DIRECTOR_GROUPS, meta_of(view.groups["default"].meta)))
    assert (
        found[0].message == "d1 is the active director instead of d9: d9 is no longer selected and has let go of them"
    )
    assert events_of_group(active="d9", nodes=(node("d9"),)) == []


@pytest.mark.parametrize(
    ("aside", "why"), [(None, "was asked to hand them over"), (StandingAside.CORDONED, "stands aside (Cordoned)")]
)
def test_a_group_says_why_a_director_gave_way(aside: StandingAside | None, why: str) -> None:
    view, decision = decided(active="d9", nodes=(node("d9"),))
    members = [GroupMember(node="d9", stands_aside=aside)]
    group = decision.groups["default"].model_copy(update={"active": "d1", "directors": members})
    moved = replace(decision, groups={"default": group})
    found = status_events(view, moved, write(DIRECTOR_GROUPS, meta_of(view.groups["default"].meta)))
    assert found[0].message == f"d1 is the active director instead of d9: d9 {why} and has let go of them"


def master(group: LvsDirectorGroupStatus, *, active: str | None) -> LvsDirectorGroupStatus:
    router = VirtualRouterStatus(id=55, active=active, message="it has the highest priority")
    return group.model_copy(update={"virtual_routers": [router], "active": active})


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (None, "d1", "d1 is Master of virtual router 55: it has the highest priority"),
        ("d2", "d1", "d1 is Master of virtual router 55 instead of d2: it has the highest priority"),
        ("d1", "d1", None),
        ("d1", None, None),
    ],
)
def test_a_group_tells_of_each_new_master(before: str | None, after: str | None, told: str | None) -> None:
    view, decision = decided(nodes=(node("d1"),))
    group = view.groups["default"]
    status = decision.groups["default"]
    view = make_view(groups=[replace(group, status=master(status, active=before))])
    moved = replace(decision, groups={"default": master(status, active=after)})
    found = status_events(view, moved, write(DIRECTOR_GROUPS, meta_of(group.meta)))
    assert [(one.reason, one.message, one.subject) for one in found] == (
        [("ActiveDirectorChanged", told, "55")] if told else []
    )


class Api:
    """Takes writes and events, or refuses as it is told."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.counted: list[Mapping[str, Any]] = []
        self.refusal: ApiError | None = None

    async def create(self, _: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        self.events.append(body)
        return {}

    async def patch(self, path: str, body: Any, *, content_type: str) -> dict[str, Any]:
        assert content_type
        if self.refusal is not None:
            raise self.refusal
        if "/events/" not in path:
            return placed(testing.real_server_pool("web"))
        self.counted.append(body)
        return {}

    async def get(self, _: str) -> dict[str, Any]:
        return placed(testing.real_server_pool("web"))


class Scene:
    def __init__(self) -> None:
        self.api = Api()
        self.leads = True
        self.poster = EventPoster(cast("ApiClient", self.api), identity="one", leads=lambda: self.leads)
        self.before = {result: self.count(result) for result in ("posted", "dropped", "refused")}

    def count(self, result: str) -> float:
        return metrics.REGISTRY.get_sample_value("lvs_operator_events_total", {"result": result}) or 0.0

    def since(self, result: str) -> float:
        return self.count(result) - self.before[result]

    @asynccontextmanager
    async def posting(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.poster.run())
        try:
            yield
        finally:
            task.cancel()

    def happen(self) -> None:
        """A service was accepted."""
        view, decision = decided(nodes=(node("d1"),))
        (service,) = view.services.values()
        done = write(VIRTUAL_SERVICES, meta_of(service.meta))
        found = [one for one in status_events(view, decision, done) if one.reason == "Accepted"]
        self.poster.post(VIRTUAL_SERVICES, done.meta, found)

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 (the poster sets no event of ours)
                await asyncio.sleep(0.01)


async def test_events_are_about_the_object_and_count_up() -> None:
    scene = Scene()
    async with scene.posting():
        scene.happen()
        await scene.until(lambda: scene.since("posted") == 1)
        (event,) = scene.api.events
        assert event["metadata"]["namespace"] == "default"
        assert (event["involvedObject"]["kind"], event["involvedObject"]["name"]) == ("LvsVirtualService", "web")
        scene.happen()
        await scene.until(lambda: scene.since("posted") == 2)
        assert [one["count"] for one in scene.api.counted] == [2]
        scene.api.refusal = ApiNotFoundError("PATCH", "gone", status=404)
        scene.happen()
        await scene.until(lambda: scene.since("refused") == 1)


async def test_only_the_leader_posts() -> None:
    scene = Scene()
    scene.leads = False
    async with scene.posting():
        scene.happen()
        await scene.until(lambda: scene.since("dropped") == 1)
        scene.leads = True
        scene.happen()
        await scene.until(lambda: scene.since("posted") == 1)
        assert len(scene.api.events) == 1


async def test_refused_events_hold_nothing_up_and_unanswered_ones_wait() -> None:
    scene = Scene()
    async with scene.posting():
        scene.api.refusal = ApiForbiddenError("POST", "the namespace is being terminated", status=403)
        scene.happen()
        await scene.until(lambda: scene.since("refused") == 1)
        scene.api.refusal = ApiUnavailableError("POST", "no answer")
        scene.happen()
        scene.api.refusal = None
        await scene.until(lambda: scene.since("posted") == 1)


@pytest.mark.parametrize("refusal", [None, ApiForbiddenError("PATCH", "no", status=403)])
async def test_only_what_the_api_server_took_is_told(refusal: ApiError | None) -> None:
    api, told = Api(), []
    api.refusal = refusal
    writer = Writer(cast("ApiClient", api), Cache((POOLS, LVS_NODES)), lambda: None, told.append)
    meta = Meta(namespace="default", name="web", uid="uid-web", version=7)
    written = await writer.carry_out([write(POOLS, meta)])
    assert (written, [one.key.name for one in told]) == ((1, ["web"]) if refusal is None else (0, []))


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        (metrics.SERVICES, "lvs_operator_services"),
        (metrics.LOAD_BALANCERS, "lvs_operator_load_balancers"),
        (metrics.DIRECTOR_GROUPS, "lvs_operator_director_groups"),
    ],
)
def test_objects_are_counted_by_readiness_as_a_whole_or_not_at_all(shown: metrics.Table, name: str) -> None:
    def value(status: str, reason: str) -> float | None:
        return metrics.REGISTRY.get_sample_value(name, {"status": status, "reason": reason})

    shown.show({("True", "Ready"): 3, ("False", "NoMemberReady"): 1})
    assert (value("True", "Ready"), value("False", "NoMemberReady")) == (3, 1)
    shown.show({("True", "Ready"): 4})
    assert (value("True", "Ready"), value("False", "NoMemberReady")) == (4, None)
    shown.show({})
    assert value("True", "Ready") is None
