"""The plan as the API server gives it: complete copies of what concerns this node, compiled; the last one on disk."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from lvs_agent.decide.absence import DEFAULT_BRAKE
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.stored_plan import by_stored_view, provisional
from lvs_agent.decide.withheld import NOTHING_WITHHELD, Withheld, cluster_changed, node_missing, with_unreadable
from lvs_agent.disk.packed_slice import PackedSlice, Raw, pack
from lvs_agent.disk.view_store import ViewStore
from lvs_agent.errors import ApiUnavailable, InvalidSettings, StateFileDamaged
from lvs_agent.objects.api_connection import ApiConnection, ApiRefused
from lvs_agent.objects.cluster_identity import ClusterIdentity
from lvs_agent.objects.held_view import Copies, HeldView, asked_release, without_status
from lvs_agent.objects.removal_check import RemovalCheck
from lvs_agent.objects.watch import Kept, Reflector, Selection, as_it_is, read_page
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.api_group import ANNOTATION_ZERO, API_VERSION, LABEL_DIRECTOR_GROUP
from lvs_api.kinds import DIRECTOR_GROUP, NODE, SERVICE_SLICE, Kind
from lvs_api.lvs_node import LvsNodeStatus
from lvs_api.violations import InvalidObject
from lvs_core.compile import AgentView, PlanCompiler, compile_plan
from lvs_core.plan import NodePlan
from lvs_core.view_objects import group_from_raw, lvs_node_from_raw, slice_from_raw

_API: Final = f"/apis/{API_VERSION}"
_NODES: Final = "/api/v1/nodes"
STORED_VIEW_SECONDS: Final = 5.0
"""So long an agent that starts from the last view on disk waits for the API server before it takes VIPs by that."""
STORED_VIEW_SECONDS_CONNECTED: Final = 30.0
"""So long where the API server answers and has not told everything."""
LONGEST_SPACING: Final = 1.0
_log = logging.getLogger(__name__)


class ApiSource:
    """Owner of the reflectors. `wake` is called when the plan changed, or what is withheld of it."""

    def __init__(
        self,
        api: ApiConnection,
        *,
        node_name: str,
        store: ViewStore,
        metrics: AgentMetrics,
        wake: Callable[[], None],
        brake: float = DEFAULT_BRAKE,
    ) -> None:
        self._api = api
        self._node_name = node_name
        self._store = store
        self._metrics = metrics
        self._wake = wake
        self._news = asyncio.Event()
        self._identity = ClusterIdentity(api, self._news.set)
        self._check = RemovalCheck(api, self._news.set)
        self._node = self._reflector(NODE, as_it_is, field_selector=f"metadata.name={node_name}")
        self._groups = self._reflector(DIRECTOR_GROUP, as_it_is)
        self._slices: dict[str, tuple[Reflector[PackedSlice], asyncio.Task[None]]] = {}
        self._held = HeldView(node_name, brake=brake)
        self._compiler = PlanCompiler()
        self._due: float | None = None
        self._plan: NodePlan | None = None
        self._cautious: NodePlan | None = None
        """In the place of a plan by the last view on disk, until the API server told everything or is not there."""
        self._plan_changed = time.monotonic()
        self._withheld = NOTHING_WITHHELD
        self._complaint: str | None = None
        metrics.view_age_seconds.set_function(lambda: time.monotonic() - self._plan_changed)

    @property
    def plan(self) -> NodePlan | None:
        """What is to be done."""
        return self._cautious or self._plan

    @property
    def withheld(self) -> Withheld:
        """What the API server says and the plan does not."""
        return self._withheld

    @property
    def observed_node(self) -> Raw | None:
        """This node's LvsNode as the API server gave it last; None while it is not known or is not there."""
        return next(iter(self._node.objects().values()), None) if self._node.complete else None

    @property
    def addressed_node(self) -> Raw | None:
        """The same for whoever speaks to it: None too until it is known of which cluster it is and what that means.

        The operator of another cluster would take a standby's word for a reason to name a director.
        """
        cluster, before = self._identity.uid, self._held.cluster_id
        is_settled = cluster is not None and (before in (None, cluster) or self._withheld.cluster is not None)
        return self.observed_node if is_settled else None

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

    def asked_zero(self) -> str | None:
        """What a person wrote on the LvsNode for counters to be zeroed."""
        raw = self.observed_node
        said = (raw["metadata"].get("annotations") or {}).get(ANNOTATION_ZERO) if raw is not None else None
        return said if isinstance(said, str) else None

    def state_faults(self) -> tuple[Fault, ...]:
        """What is the matter with the last view on disk."""
        return (self._store.fault,) if self._store.fault is not None else ()

    def load(self) -> None:
        """Start from the last view on disk, until the API server has told everything."""
        try:
            stored = self._store.read(self._node_name)
            view = self._held.load(stored) if stored is not None else None
        except StateFileDamaged:
            return  # the store tells
        except InvalidObject as error:
            _log.warning("no last view: %s", error)
            return
        if view is not None:
            _log.info("starting from the last view, of cluster %s", self._held.cluster_id)
            self._carry_out(view)
        if self._plan is not None:
            self._plan, self._cautious = by_stored_view(self._plan), provisional(self._plan)

    async def run(self) -> None:
        """Follow the API server until cancelled. What ends one of the tasks ends all: no copy grows old unnoticed."""
        async with asyncio.TaskGroup() as following:
            for part in (self._node, self._groups, self._identity, self._check, self._store):
                following.create_task(part.run())
            following.create_task(self._trust_stored_view())
            while True:
                await self._wait()
                began = time.monotonic()
                self._follow_groups(following)
                self._metrics.api_up.set(1 if self._is_connected() else 0)
                cluster = self._identity.uid
                if cluster is not None and all(reflector.complete for reflector in self._all_reflectors()):
                    self._take(cluster)
                # What comes meanwhile is taken together, and half of the time is left for rounds.
                await asyncio.sleep(min(time.monotonic() - began, LONGEST_SPACING))

    async def _wait(self) -> None:
        """Until there is news, or something has waited long enough."""
        due = None if self._due is None else max(0.0, self._due - time.monotonic())
        try:
            async with asyncio.timeout(due):
                await self._news.wait()
        except TimeoutError:
            self._due = None
        self._news.clear()

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

    def _reflector(
        self,
        kind: Kind[Any, Any],
        keep: Callable[[Raw], Kept],
        *,
        label: str | None = None,
        field_selector: str | None = None,
    ) -> Reflector[Kept]:
        selection = Selection(
            path=f"{_API}/{kind.plural}", kind=kind.name, label_selector=label, field_selector=field_selector
        )
        return Reflector(self._api, selection, self._news.set, keep=keep, connected=self._identity.doubt)

    def _follow_groups(self, following: asyncio.TaskGroup) -> None:
        """One copy of slices for each group in which this node is a director, or was when its LvsNode was whole."""
        raw = self.observed_node
        if raw is None:
            return
        wanted = set((raw.get("spec") or {}).get("directorGroups") or ())
        before = self._held.node
        if before is not None and before.meta.uid != raw["metadata"]["uid"]:
            wanted |= set(before.spec.director_groups or ())
        for gone in self._slices.keys() - wanted:
            self._slices.pop(gone)[1].cancel()
        for group in wanted - self._slices.keys():
            reflector = self._reflector(SERVICE_SLICE, pack, label=f"{LABEL_DIRECTOR_GROUP}={group}")
            self._slices[group] = (reflector, following.create_task(reflector.run()))

    def _all_reflectors(self) -> list[Reflector[Any]]:
        return [self._node, self._groups, *(reflector for reflector, _ in self._slices.values())]

    def _is_connected(self) -> bool:
        copies = all(reflector.complete and reflector.failure is None for reflector in self._all_reflectors())
        return copies and self._identity.failure is None

    def _take(self, cluster: str) -> None:
        """Take over what the API server says. Every kind was listed to its end in this process, from this cluster."""
        node = self.observed_node
        if (before := self._held.cluster_id) not in (None, cluster):
            withheld = cluster_changed(before or "", cluster)
            if node is None or asked_release(node) != withheld.token:
                self._withhold(withheld)
                return
            _log.warning("cluster %s is let in by the annotation on the LvsNode", cluster)
            self._held.adopt(cluster)
        if node is None:
            # The operator makes it before there is anything to do and removes it after everything is clean; one that
            # is missing means neither, so what there is stays.
            self._complain("there is no LvsNode for this node: everything stays as it is")
            self._withhold(node_missing(self._held.node))
            return
        self._held.cluster_id = cluster
        groups = sorted(self._groups.objects().values(), key=_name)
        slices = sorted(packed for reflector, _ in self._slices.values() for packed in reflector.objects().values())
        try:
            taken = self._held.take(
                Copies(node=node, groups=groups, slices=slices), self._check.answers, time.monotonic()
            )
        except InvalidObject as error:
            self._withhold(with_unreadable(self._withheld, error))
            return
        self._complaint = None
        self._due = taken.due
        self._check.want(taken.wanted)
        self._carry_out(taken.view)
        self._end_caution()
        self._withhold(taken.withheld)
        self._store.put(taken.stored)

    def _carry_out(self, view: AgentView) -> None:
        plan = self._compiler.compile(view)
        if plan != self._plan:
            self._plan, self._plan_changed = plan, time.monotonic()
            self._wake()

    def _withhold(self, withheld: Withheld) -> None:
        self._metrics.removals_held.set(withheld.count)
        if withheld == self._withheld:
            return
        said = {self._withheld.removal, self._withheld.cluster, self._withheld.unreadable}
        for fault in (withheld.removal, withheld.cluster, withheld.unreadable):
            if fault is not None and fault not in said:
                _log.warning("held: %s", fault.message)
        if withheld == NOTHING_WITHHELD:
            _log.info("nothing is held any more")
        self._withheld = withheld
        self._wake()

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            _log.warning("%s", complaint)
        self._complaint = complaint


async def read_plan_once(api: ApiConnection, node_name: str) -> NodePlan:
    """The plan of this moment, by plain lists. A missing LvsNode is a node without a part, where there is such a Node.

    Raises ApiUnavailable and InvalidSettings.
    """
    raw_node: Raw | None
    try:
        raw_node = await api.get(f"{_API}/{NODE.plural}/{node_name}")
    except ApiRefused as error:
        if not error.not_found:
            raise
        await _must_be_a_node(api, node_name)
        raw_node = None
    groups = await _list_all(api, DIRECTOR_GROUP)
    slices: list[Raw] = []
    for group in ((raw_node or {}).get("spec") or {}).get("directorGroups") or ():
        slices += await _list_all(api, SERVICE_SLICE, label=f"{LABEL_DIRECTOR_GROUP}={group}")
    try:
        return compile_plan(
            AgentView(
                node=node_name,
                lvs_node=lvs_node_from_raw(without_status(raw_node)) if raw_node else None,
                groups={group.meta.name: group for group in map(group_from_raw, groups)},
                slices=tuple(map(slice_from_raw, slices)),
            )
        )
    except InvalidObject as error:
        raise ApiUnavailable(f"the API server has an object that this version can not read: {error}") from error


async def _must_be_a_node(api: ApiConnection, name: str) -> None:
    """By a list, for agents may not get one."""
    nodes = await api.get(_NODES, {"fieldSelector": f"metadata.name={name}"})
    if not any(node["metadata"]["name"] == name for node in nodes.get("items") or ()):
        raise InvalidSettings(f"--node-name {name} (or LVS_AGENT_NODE_NAME, or the host name): there is no such Node")


async def _list_all(api: ApiConnection, kind: Kind[Any, Any], *, label: str | None = None) -> list[Raw]:
    """A whole list; it is small enough to be read at once."""
    selection = Selection(path=f"{_API}/{kind.plural}", kind=kind.name, label_selector=label)
    items, following, _ = read_page(selection, await api.get(selection.path, selection.params()))
    if following:
        raise ApiUnavailable(f"{selection.path}: only a part of the list")
    return list(items.values())


def _name(raw: Mapping[str, Any]) -> tuple[str, str]:
    return raw["metadata"].get("namespace", ""), raw["metadata"]["name"]
