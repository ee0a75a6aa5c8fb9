"""The same objects read from files, without an API server: one process accepts, resolves and compiles for one machine.

There is nobody with whom to shake hands: every member counts as prepared, as plain machines do, and a member that is
taken out of the files is drained by the director itself.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from lvs_api.api_group import API_VERSION
from lvs_api.director_group import GroupMember, LvsDirectorGroupStatus, VirtualRouterStatus
from lvs_api.kinds import DIRECTOR_GROUP, REAL_SERVER_POOL, VIRTUAL_SERVICE, Kind
from lvs_api.lvs_node import LvsNodeSpec
from lvs_api.objects import ObjectMeta, find_violations, parse_metadata, parse_object
from lvs_api.real_server_pool import LvsRealServerPoolSpec
from lvs_api.violations import InvalidObject, Violation
from lvs_api.virtual_service import LvsVirtualServiceSpec
from lvs_core.accept import Accepted, Frozen, Verdict, Withdrawn, judge
from lvs_core.checks import Candidate, family_mismatch
from lvs_core.cluster_view import ClusterNode, ClusterView, DirectorGroup, LvsNode, ObjectKey, Slice, make_view
from lvs_core.compile import AgentView, compile_plan
from lvs_core.directors import Directors
from lvs_core.drained import DrainReports
from lvs_core.findings import Findings, FindingsBook
from lvs_core.members import PoolFinder
from lvs_core.memory import Memory
from lvs_core.named_directors import no_directors
from lvs_core.needs import Need, needs_for, node_addresses
from lvs_core.object_status import MAX_DIRECTORS
from lvs_core.plan import NodePlan
from lvs_core.preparation import Preparation
from lvs_core.resolve import Resolver
from lvs_core.selectors import selects
from lvs_core.standing_aside import standing_aside
from lvs_core.view_objects import group_from_raw, node_from_raw, pool_from_raw, service_from_raw
from lvs_core.virtual_routers import RouterIds, choose_ids, router_orders
from lvs_core.vrrp_status import one_of_each_family

Raw = Mapping[str, Any]
NODE_KINDS: Final = {("v1", "Node")}
STRANGER: Final = "(this machine)"
"""Stands for a machine that no Node manifest describes."""
_OUR_KINDS: Final[Mapping[str, Kind[Any, Any]]] = {
    kind.name: kind for kind in (VIRTUAL_SERVICE, REAL_SERVER_POOL, DIRECTOR_GROUP)
}
_READERS: Final[Mapping[str, tuple[str, Callable[[Raw], Any]]]] = {
    VIRTUAL_SERVICE.name: ("services", service_from_raw),
    REAL_SERVER_POOL.name: ("pools", pool_from_raw),
    DIRECTOR_GROUP.name: ("groups", group_from_raw),
    "Node": ("nodes", node_from_raw),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestProblem:
    """Why a service, or a part of it, is not as the files say."""

    object: str
    """Kind and name."""
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestPlan:
    """What the machine has to do, and what was left out."""

    plan: NodePlan
    problems: tuple[ManifestProblem, ...]


def check_manifest(raw: Raw) -> None:
    """Whether a document is one that this program reads, and right by itself.

    Raises InvalidObject, which names the object and every field at fault.
    """
    kind = str(raw.get("kind"))
    if (raw.get("apiVersion"), kind) in NODE_KINDS:
        node_from_raw(raw)
        return
    if raw.get("apiVersion") != API_VERSION or kind not in _OUR_KINDS:
        expected = ", ".join(f"{API_VERSION} {name}" for name in _OUR_KINDS)
        message = f"{raw.get('apiVersion')} {kind} is not read from files; expected {expected} or v1 Node"
        violation = Violation(field="kind", message=message)
        raise InvalidObject(kind=kind, name=_name(raw), violations=[violation])
    read = parse_object(_OUR_KINDS[kind], raw)
    violations = (*find_violations(read), *_needs_kubernetes(read.spec))
    if violations:
        raise InvalidObject(kind=kind, name=read.metadata.qualified_name, violations=violations)


def _needs_kubernetes(spec: object) -> Iterator[Violation]:
    """What of a spec is followed by an operator only."""
    if isinstance(spec, LvsRealServerPoolSpec) and spec.endpoints is not None:
        message = "EndpointSlices are not read from files; name the addresses in realServers"
        yield Violation(field="spec.endpoints", message=message)
    if isinstance(spec, LvsVirtualServiceSpec) and spec.address_pool_ref is not None:
        message = "addresses of a pool are given out by the operator, who remembers them; name addresses"
        yield Violation(field="spec.addressPoolRef", message=message)


def read_manifests(documents: Iterable[Raw]) -> ClusterView:
    """All documents together as a view. Raises InvalidObject, also where two have the same kind and name."""
    found: dict[str, list[Any]] = {"services": [], "pools": [], "groups": [], "nodes": []}
    seen: set[tuple[str, str, str]] = set()
    for raw in documents:
        check_manifest(raw)
        kind = str(raw["kind"])
        meta = parse_metadata(raw, namespaced=kind in _OUR_KINDS and _OUR_KINDS[kind].namespaced)
        identity = (kind, meta.namespace or "", meta.name)
        if identity in seen:
            violation = Violation(field="metadata.name", message="the same object stands in the files twice")
            raise InvalidObject(kind=kind, name=meta.qualified_name, violations=[violation])
        seen.add(identity)
        where, read = _READERS[kind]
        found[where].append(_identified(read(raw), kind))
    return make_view(services=found["services"], pools=found["pools"], groups=found["groups"], nodes=found["nodes"])


def plan_manifests(view: ClusterView, own_addresses: Iterable[str]) -> ManifestPlan:
    """What the machine with these addresses has to do.

    It is a director where a Node manifest with one of its addresses is selected by a group, and a real server where
    one of its addresses is a member's. The active director is the one that the group's `status.active` names, else
    the first by name; every machine with the same files finds the same.
    """
    own = frozenset(own_addresses)
    me = next((node.name for node in view.nodes.values() if not own.isdisjoint(node.addresses)), STRANGER)
    directors = {name: _directors(view, group) for name, group in view.groups.items()}
    ids = choose_ids(view.groups.values())
    verdicts = judge(view, PoolFinder(view=view), directors, FindingsBook(view, Findings()))
    accepted = {key: _plain(verdict) for key, verdict in verdicts.items() if isinstance(verdict, Accepted)}
    groups = sorted(name for name, who in directors.items() if me in who.selected)
    needs = {need for verdict in accepted.values() for need in _own_needs(verdict.candidate, me, own)}
    spec = LvsNodeSpec(
        director_groups=groups or None,
        gives_way=[name for name in groups if name in ids and _gives_way(directors[name], me)] or None,
        addresses=node_addresses(sorted(needs)),
    )
    plan = compile_plan(
        AgentView(
            node=me,
            lvs_node=LvsNode(meta=ObjectMeta(name=me), spec=spec),
            groups={
                name: _with_status(view, group, directors[name], ids.get(name)) for name, group in view.groups.items()
            },
            slices=tuple(_slices(view, accepted)),
        )
    )
    problems = (
        *_problems(verdicts, directors),
        *_name_problems(view, directors),
        *_address_problems(view, directors),
        *_setting_problems(plan),
        *_id_problems(ids),
    )
    return ManifestPlan(plan=replace(plan, observed_generation=None), problems=problems)


def _name(raw: Raw) -> str:
    metadata = raw.get("metadata")
    return str(metadata.get("name")) if isinstance(metadata, Mapping) else "(no name)"


def _identified(value: Any, kind: str) -> Any:  # noqa: ANN401 -- one of four value types, told apart by the caller
    """Objects in files have no uid; their kind and name identify them."""
    if isinstance(value, ClusterNode):
        return value
    meta: ObjectMeta = value.meta
    return replace(value, meta=replace(meta, uid=f"{kind}/{meta.qualified_name}", generation=1))


def _directors(view: ClusterView, group: DirectorGroup) -> Directors:
    selected = tuple(
        node.name
        for node in view.nodes.values()
        if group.spec is not None and selects(group.spec.nodes.selector, node.labels)
    )
    named = group.status.active if group.status is not None else None
    aside = standing_aside(view, group, selected)
    active = named if named is not None else next(iter(sorted(selected, key=lambda one: one in aside)), None)
    return Directors(selected=selected, forwarding=(), available=selected, active=active, aside=aside)


def _with_status(view: ClusterView, group: DirectorGroup, who: Directors, ids: RouterIds | None) -> DirectorGroup:
    """With what an operator would say of it: every machine says the same to itself."""
    members = [
        GroupMember(node=name, addresses=list(one_of_each_family(view.nodes[name].internal_addresses)) or None)
        for name in who.selected[:MAX_DIRECTORS]
    ]
    if ids is None:
        return replace(group, status=LvsDirectorGroupStatus(active=who.active, directors=members))
    orders = router_orders(group, who.selected, len(ids.ids), who.aside)
    routers = [VirtualRouterStatus(id=one, priorities=list(order)) for one, order in zip(ids.ids, orders, strict=True)]
    return replace(group, status=LvsDirectorGroupStatus(virtual_routers=routers or None, directors=members))


def _gives_way(who: Directors, me: str) -> bool:
    """Whether others are there for whom it stands aside; whether they are ready nobody tells."""
    return me in who.aside and len(who.aside) < len(who.selected)


def _plain(verdict: Accepted) -> Accepted:
    """With every member a plain machine: nobody reports whether a node has prepared itself."""
    members = tuple(member._replace(node=None) for member in verdict.candidate.members)
    return replace(verdict, candidate=replace(verdict.candidate, members=members))


def _own_needs(candidate: Candidate, me: str, own: frozenset[str]) -> Iterator[Need]:
    for member in candidate.members:
        if member.address in own and member.refused is None:
            yield from needs_for(me, member.address, member.forwarding, candidate.spec)


def _slices(view: ClusterView, accepted: Mapping[ObjectKey, Accepted]) -> Iterator[Slice]:
    resolver = Resolver(
        view=view,
        preparation=Preparation(view=view),
        directors={},
        drain_reports=DrainReports(view=view, memory=Memory(), directors={}),
        book=FindingsBook(view, Findings()),
    )
    for key, verdict in accepted.items():
        for where, content in resolver.resolve(key, verdict).slices.items():
            uid = f"{content.service_uid}/{content.index}"
            yield Slice(meta=ObjectMeta(name=where.name, namespace=where.namespace, uid=uid), content=content)


def _name_problems(view: ClusterView, directors: Mapping[str, Directors]) -> Iterator[ManifestProblem]:
    for name, who in directors.items():
        if message := no_directors(view, view.groups[name], who.selected):
            yield ManifestProblem(object=f"{DIRECTOR_GROUP.name} {name}", message=message)


def _address_problems(view: ClusterView, directors: Mapping[str, Directors]) -> Iterator[ManifestProblem]:
    """A machine is found by an address of its Node: where that has none, nobody is that director."""
    for name, who in directors.items():
        for node in who.selected:
            if not view.nodes[node].addresses:
                message = f"LvsDirectorGroup {name} selects it, and no machine can be it"
                yield ManifestProblem(object=f"Node {node}", message=f"{message}: status.addresses has no address")


def _setting_problems(plan: NodePlan) -> Iterator[ManifestProblem]:
    for conflict in plan.settings.conflicts:
        yield ManifestProblem(object=f"{DIRECTOR_GROUP.name} {conflict.group}", message=str(conflict))


def _id_problems(ids: Mapping[str, RouterIds]) -> Iterator[ManifestProblem]:
    for name, one in ids.items():
        if one.reason is not None:
            yield ManifestProblem(object=f"{DIRECTOR_GROUP.name} {name}", message=one.message)


def _problems(verdicts: Mapping[ObjectKey, Verdict], directors: Mapping[str, Directors]) -> Iterator[ManifestProblem]:
    for key, verdict in verdicts.items():
        problem = None
        if isinstance(verdict, Frozen | Withdrawn):
            problem = verdict.problem
        elif isinstance(verdict, Accepted):
            problem = family_mismatch(verdict.candidate)
        if problem is not None:
            yield ManifestProblem(object=f"{VIRTUAL_SERVICE.name} {key}", message=problem.message)
    for name, who in directors.items():
        if not who.selected:
            yield ManifestProblem(
                object=f"{DIRECTOR_GROUP.name} {name}",
                message="spec.nodes.selector finds no Node manifest; add one (kind Node, with labels and "
                "status.addresses) for each director",
            )
