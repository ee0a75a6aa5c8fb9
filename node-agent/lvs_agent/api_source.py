"""The plan as the API server gives it: complete copies of what concerns this node, compiled; the last one on disk."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from lvs_agent.api_connection import ApiConnection, ApiRefused
from lvs_agent.decide.stored_plan import without_claims
from lvs_agent.errors import ApiUnavailable, StateFileDamaged, StateNotWritten
from lvs_agent.metrics import AgentMetrics
from lvs_agent.view_store import Raw, StoredView, ViewStore, without_noise
from lvs_agent.watch import Reflector, Selection
from lvs_api.api_group import API_VERSION, LABEL_DIRECTOR_GROUP
from lvs_api.kinds import DIRECTOR_GROUP, NODE, SERVICE_SLICE
from lvs_api.lvs_node import LvsNodeStatus
from lvs_api.violations import InvalidObject
from lvs_core.cluster_view import DirectorGroup, LvsNode, Slice
from lvs_core.compile import AgentView, compile_plan
from lvs_core.plan import NodePlan
from lvs_core.view_objects import group_from_raw, lvs_node_from_raw, slice_from_raw

_API: Final = f"/apis/{API_VERSION}"
_CLUSTER_PATH: Final = "/api/v1/namespaces/kube-system"
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 15.0
STORED_VIEW_SECONDS: Final = 5.0
"""So long an agent that starts from the last view on disk waits for the API server before it takes VIPs by that."""
STORED_VIEW_SECONDS_CONNECTED: Final = 30.0
"""So long where the API server answers and has not told everything."""
_log = logging.getLogger(__name__)


class ApiSource:
    """Owner of the reflectors. `wake` is called when the plan changed."""

    def __init__(
        self,
        api: ApiConnection,
        *,
        node_name: str,
        store: ViewStore,
        metrics: AgentMetrics,
        wake: Callable[[], None],
    ) -> None:
        self._api = api
        self._node_name = node_name
        self._store = store
        self._metrics = metrics
        self._wake = wake
        self._news = asyncio.Event()
        self._node = self._reflector(NODE.plural, field_selector=f"metadata.name={node_name}")
        self._groups = self._reflector(DIRECTOR_GROUP.plural)
        self._slices: dict[str, tuple[Reflector, asyncio.Task[None]]] = {}
        self._parsed = _ParsedSlices()
        self._cluster_id: str | None = None
        self._plan: NodePlan | None = None
        self._cautious: NodePlan | None = None
        """In the place of a plan by the last view on disk, until the API server told everything or is not there."""
        self._plan_changed = time.monotonic()
        self._complaint: str | None = None
        metrics.view_age_seconds.set_function(lambda: time.monotonic() - self._plan_changed)

    @property
    def plan(self) -> NodePlan | None:
        """What is to be done."""
        return self._cautious or self._plan

    @property
    def observed_node(self) -> Raw | None:
        """This node's LvsNode as the API server gave it last; None while it is not known or is not there."""
        return next(iter(self._node.objects().values()), None) if self._node.complete else None

    def reported_status(self) -> LvsNodeStatus | None:
        """What the node's status says now; None where there is none, or it can not be read."""
        raw = self.observed_node
        if raw is None:
            return None
        try:
            return lvs_node_from_raw(raw).status
        except InvalidObject as error:
            _log.warning("the conditions begin anew: %s", error)
            return None

    def load(self) -> None:
        """Start from the last view on disk, until the API server has told everything."""
        try:
            stored = self._store.read(self._node_name)
        except StateFileDamaged as error:
            _log.warning("no last view: %s", error)
            return
        if stored is not None:
            _log.info("starting from the last view, of cluster %s", stored.cluster_id)
            self._take(stored.node, stored.groups, stored.slices)
        if self._plan is not None:
            self._cautious = without_claims(self._plan)

    async def run(self) -> None:
        """Follow the API server until cancelled. What ends one of the tasks ends all: no copy grows old unnoticed."""
        async with asyncio.TaskGroup() as following:
            for reflector in (self._node, self._groups):
                following.create_task(reflector.run())
            following.create_task(self._learn_cluster())
            following.create_task(self._trust_stored_view())
            while True:
                await self._news.wait()
                self._news.clear()
                self._follow_groups(following)
                self._metrics.api_up.set(1 if self._is_connected() else 0)
                if self._is_complete():
                    await self._compile()

    def _reflector(self, plural: str, *, label: str | None = None, field_selector: str | None = None) -> Reflector:
        selection = Selection(path=f"{_API}/{plural}", label_selector=label, field_selector=field_selector)
        return Reflector(self._api, selection, self._news.set)

    async def _trust_stored_view(self) -> None:
        """Act on all of the last view on disk, if nothing better comes."""
        await asyncio.sleep(STORED_VIEW_SECONDS)
        if any(reflector.complete for reflector in self._all_reflectors()):
            await asyncio.sleep(STORED_VIEW_SECONDS_CONNECTED - STORED_VIEW_SECONDS)
        self._end_caution()

    def _end_caution(self) -> None:
        if self._cautious is not None:
            self._cautious = None
            self._wake()

    async def _learn_cluster(self) -> None:
        delay = _FIRST_DELAY
        while self._cluster_id is None:
            try:
                self._cluster_id = (await self._api.get(_CLUSTER_PATH))["metadata"]["uid"]
                self._news.set()
            except (ApiUnavailable, KeyError, TypeError) as error:
                if delay == _FIRST_DELAY:
                    _log.warning("the cluster's identity is not known yet: %s", error)
                await asyncio.sleep(delay)
                delay = min(2 * delay, _LONGEST_DELAY)

    def _follow_groups(self, following: asyncio.TaskGroup) -> None:
        """One copy of slices for each group in which this node is a director."""
        raw = self.observed_node
        if raw is None:
            return
        wanted = set((raw.get("spec") or {}).get("directorGroups") or ())
        for gone in self._slices.keys() - wanted:
            self._slices.pop(gone)[1].cancel()
        for group in wanted - self._slices.keys():
            reflector = self._reflector(SERVICE_SLICE.plural, label=f"{LABEL_DIRECTOR_GROUP}={group}")
            self._slices[group] = (reflector, following.create_task(reflector.run()))

    def _all_reflectors(self) -> list[Reflector]:
        return [self._node, self._groups, *(reflector for reflector, _ in self._slices.values())]

    def _is_connected(self) -> bool:
        return all(reflector.complete and reflector.failure is None for reflector in self._all_reflectors())

    def _is_complete(self) -> bool:
        """Every kind was listed to its end in this process, and it is known of which cluster."""
        return self._cluster_id is not None and all(reflector.complete for reflector in self._all_reflectors())

    async def _compile(self) -> None:
        node = self.observed_node
        if node is None:
            # The operator makes it before there is anything to do and removes it after everything is clean; one that
            # is missing means neither, so what there is stays.
            self._complain("there is no LvsNode for this node: everything stays as it is")
            return
        groups = sorted(self._groups.objects().values(), key=_name)
        slices = sorted((raw for r, _ in self._slices.values() for raw in r.objects().values()), key=_name)
        if not self._take(node, groups, slices):
            return
        self._end_caution()
        view = StoredView(
            cluster_id=self._cluster_id or "",
            node_name=self._node_name,
            node=without_noise(node, status=False),
            groups=tuple(without_noise(raw, status=True) for raw in groups),
            slices=tuple(without_noise(raw, status=False) for raw in slices),
        )
        try:
            await asyncio.to_thread(self._store.write, view)
        except StateNotWritten as error:
            self._complain(f"the last view is not stored: {error}")

    def _take(self, node: Raw, groups: Iterable[Raw], slices: Iterable[Raw]) -> bool:
        """Make the plan from these objects; False where one of them can not be read: then the last plan goes on."""
        try:
            view = AgentView(
                node=self._node_name,
                lvs_node=_lvs_node(node),
                groups={group.meta.name: group for group in map(_group, groups)},
                slices=self._parsed.parse(slices),
            )
        except InvalidObject as error:
            self._complain(f"the last plan goes on: {error}")
            return False
        plan = compile_plan(view)
        self._complaint = None
        if plan != self._plan:
            self._plan, self._plan_changed = plan, time.monotonic()
            self._wake()
        return True

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            _log.warning("%s", complaint)
        self._complaint = complaint


async def read_plan_once(api: ApiConnection, node_name: str) -> NodePlan:
    """The plan of this moment, by plain lists. Raises ApiUnavailable; a missing LvsNode is a node without a part."""
    raw_node: Raw | None
    try:
        raw_node = await api.get(f"{_API}/{NODE.plural}/{node_name}")
    except ApiRefused as error:
        if not error.not_found:
            raise
        raw_node = None
    groups = await _list_all(api, DIRECTOR_GROUP.plural, {})
    slices: list[Raw] = []
    for group in ((raw_node or {}).get("spec") or {}).get("directorGroups") or ():
        slices += await _list_all(api, SERVICE_SLICE.plural, {"labelSelector": f"{LABEL_DIRECTOR_GROUP}={group}"})
    try:
        return compile_plan(
            AgentView(
                node=node_name,
                lvs_node=_lvs_node(raw_node) if raw_node else None,
                groups={group.meta.name: group for group in map(_group, groups)},
                slices=tuple(map(slice_from_raw, slices)),
            )
        )
    except InvalidObject as error:
        raise ApiUnavailable(f"the API server has an object that this version can not read: {error}") from error


async def _list_all(api: ApiConnection, plural: str, params: Mapping[str, str]) -> list[Raw]:
    """A whole list; it is small enough to be read at once."""
    listed = await api.get(f"{_API}/{plural}", params)
    kind = listed["kind"].removesuffix("List")
    return [{"apiVersion": API_VERSION, "kind": kind} | item for item in listed["items"]]


class _ParsedSlices:
    """Slices by uid and generation, so that an event about one does not parse all."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], Slice] = {}

    def parse(self, raws: Iterable[Raw]) -> tuple[Slice, ...]:
        """The slices. Raises InvalidObject."""
        parsed: dict[tuple[str, int], Slice] = {}
        for raw in raws:
            key = _version(raw)
            parsed[key] = self._known.get(key) or slice_from_raw(raw)
        self._known = parsed
        return tuple(parsed.values())


def _lvs_node(raw: Raw) -> LvsNode:
    """Without its status: what this agent said itself decides nothing."""
    return lvs_node_from_raw({key: value for key, value in raw.items() if key != "status"})


def _group(raw: Raw) -> DirectorGroup:
    return group_from_raw(raw)


def _version(raw: Mapping[str, Any]) -> tuple[str, int]:
    return raw["metadata"]["uid"], raw["metadata"].get("generation", 0)


def _name(raw: Mapping[str, Any]) -> tuple[str, str]:
    return raw["metadata"].get("namespace", ""), raw["metadata"]["name"]
