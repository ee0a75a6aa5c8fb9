"""From the slices, the director groups and its own LvsNode to what one node has to do."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from lvs_core.cluster_view import DirectorGroup, LvsNode, ObjectKey, Slice, SliceContent
from lvs_core.compile_service import OwnNode, compile_service, ip, order_of
from lvs_core.digest import slices_digest
from lvs_core.group_settings import settings_of
from lvs_core.plan import (
    AnyVirtualKey,
    BoundAddress,
    DirectorPlan,
    Holding,
    IpAddress,
    NodePlan,
    OtherDirector,
    PlannedService,
)
from lvs_core.virtual_routers import speaks_vrrp
from lvs_core.vrrp import VrrpPlan
from lvs_core.vrrp_plan import vrrp_plan


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentView:
    """All that an agent reads: complete lists, never a part of one."""

    node: str
    """The Node on which the agent runs."""
    lvs_node: LvsNode | None
    """Its own LvsNode; None: there is none, the node has no part."""
    groups: Mapping[str, DirectorGroup] = field(default_factory=lambda: MappingProxyType({}))
    slices: tuple[Slice, ...] = ()
    """At least those of the groups in which the node is a director; what is held stands here as it was."""
    held: Mapping[ObjectKey, str] = field(default_factory=lambda: MappingProxyType({}))
    """Services of which `slices` has more, or something older, than the API server has, each with the reason why."""
    acted_on: tuple[Slice, ...] | None = None
    """What the digest speaks of: the slices as the API server has them; None: `slices`."""


def compile_plan(view: AgentView) -> NodePlan:
    """What the node has to do. Equal views give equal plans."""
    return PlanCompiler().compile(view)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Compiled:
    """The virtual services of one LvsVirtualService, and what they were made from."""

    parts: tuple[SliceContent, ...]
    me: OwnNode
    services: tuple[PlannedService, ...]

    def is_of(self, parts: Sequence[Slice], me: OwnNode) -> bool:
        """Whether they were made from just these."""
        return (
            self.me == me
            and len(self.parts) == len(parts)
            and all(mine is part.content for mine, part in zip(self.parts, parts, strict=True))
        )


class PlanCompiler:
    """Compiles one view after the other, anew only those LvsVirtualServices of which the slices are others than before.

    With thousands of them that is what an event about one costs, and what two plans take in memory.
    """

    def __init__(self) -> None:
        self._before: dict[tuple[str, ObjectKey], _Compiled] = {}
        self._now: dict[tuple[str, ObjectKey], _Compiled] = {}

    def compile(self, view: AgentView) -> NodePlan:
        """What the node has to do, as `compile_plan` says it."""
        self._before, self._now = self._now, {}
        if view.lvs_node is None:
            return NodePlan(node=view.node, observed_generation=None)
        return _node_plan(view, view.lvs_node, self)

    def services(self, group: str, key: ObjectKey, parts: Sequence[Slice], me: OwnNode) -> _Compiled | None:
        """The virtual services of one LvsVirtualService; None where its first slice has not been seen."""
        compiled = self._before.get((group, key))
        if compiled is None or not compiled.is_of(parts, me):
            made = compile_service(key, parts, me)
            if made is None:
                return None
            compiled = _Compiled(parts=tuple(part.content for part in parts), me=me, services=made)
        self._now[group, key] = compiled
        return compiled


def _node_plan(view: AgentView, node: LvsNode, compiler: PlanCompiler) -> NodePlan:
    spec = node.spec
    taken: dict[AnyVirtualKey, ObjectKey] = {}
    return NodePlan(
        node=view.node,
        observed_generation=node.meta.generation,
        directing=tuple(_director_plan(view, name, taken, compiler) for name in sorted(spec.director_groups or ())),
        bind=tuple(
            sorted(
                (
                    BoundAddress(
                        address=ip(one.address), device=one.device, gue_ports=tuple(sorted(one.gue_ports or ()))
                    )
                    for one in spec.addresses or ()
                ),
                key=lambda bound: (bound.address.version, int(bound.address), bound.device),
            )
        ),
        director_addresses=tuple(sorted(map(ip, spec.director_addresses or ()), key=_ip_order)),
        settings=settings_of(view.node, (view.groups.get(name) for name in spec.director_groups or ())),
    )


def _director_plan(
    view: AgentView, name: str, taken: dict[AnyVirtualKey, ObjectKey], compiler: PlanCompiler
) -> DirectorPlan:
    group = view.groups.get(name)
    slices = _of_group(view.slices, name)
    known = (group.status.directors if group is not None and group.status is not None else None) or ()
    is_alone = [one.node for one in known] == [view.node]
    own = next((_ips(one.addresses) for one in known if one.node == view.node), ())
    me = OwnNode(view.node, own, is_alone)
    services: list[PlannedService] = []
    conflicts: list[tuple[ObjectKey, AnyVirtualKey, ObjectKey]] = []
    incomplete: list[ObjectKey] = []
    # What is held goes last: an address and port that somebody has now is not kept from them.
    by_service = sorted(_by_service(slices), key=lambda item: (item[0] in view.held, item[0]))
    for key, parts in by_service:
        compiled = compiler.services(name, key, parts, me)
        if compiled is None:
            incomplete.append(key)
            continue
        for planned in compiled.services:
            theirs = next((one for one in planned.claims() if taken.get(one, key) != key), None)
            if theirs is None:
                taken.update(dict.fromkeys(planned.claims(), key))
                services.append(planned)
            else:
                conflicts.append((key, theirs, taken[theirs]))
    addresses = sorted({one.vip for one in services if one.vip is not None}, key=lambda one: (one.version, int(one)))
    gives_way = view.lvs_node is not None and name in (view.lvs_node.spec.gives_way or ())
    holding, vrrp = _holding(view.node, group, addresses)
    if gives_way and holding is Holding.HOLD:
        holding = Holding.RELEASE
    return DirectorPlan(
        group=name,
        view_digest=slices_digest(_of_group(view.slices if view.acted_on is None else view.acted_on, name)),
        holding=holding,
        interface=group.spec.interface if group is not None and group.spec is not None else None,
        addresses=tuple(addresses),
        services=tuple(sorted(services, key=lambda one: (one.service, order_of(one.key)))),
        incomplete=tuple(sorted(incomplete)),
        conflicts=tuple(conflicts),
        held=tuple((key, view.held[key]) for key, _ in by_service if key in view.held),
        generation=group.meta.generation if group is not None else None,
        vrrp=vrrp,
        own_addresses=own,
        others=tuple(OtherDirector(one.node, _ips(one.addresses)) for one in known if one.node != view.node),
        gives_way=gives_way,
        ignored_answers=_ignored_answers(group),
    )


def _ignored_answers(group: DirectorGroup | None) -> frozenset[bytes]:
    named = group.spec.ignore_answers_from if group is not None and group.spec is not None else None
    return frozenset(bytes.fromhex(one.replace(":", "")) for one in named or ())


def _of_group(slices: Iterable[Slice], name: str) -> list[Slice]:
    return [one for one in slices if one.content.director_group == name]


def _holding(node: str, group: DirectorGroup | None, addresses: Iterable[IpAddress]) -> tuple[Holding, VrrpPlan | None]:
    """A group that cannot be read or names nobody moves nothing: who carries the VIPs goes on doing so."""
    if group is None or group.spec is None or group.status is None:
        return Holding.KEEP, None
    if speaks_vrrp(group):
        first = group.status.vrrp_begins_with
        if first is not None and first != node:
            return Holding.RELEASE, None
        vrrp = vrrp_plan(node, group, addresses)
        return (Holding.KEEP if vrrp is None else Holding.VRRP), vrrp
    is_mine = group.status.active == node
    if group.status.active is None or (is_mine and group.status.virtual_routers):
        return Holding.KEEP, None  # while others may still speak VRRP, the last Master must, too
    return (Holding.HOLD if is_mine else Holding.RELEASE), None


def _by_service(slices: Iterable[Slice]) -> Iterator[tuple[ObjectKey, Sequence[Slice]]]:
    """Services with their slices in order of index.

    Where a service was made anew and its predecessor's slices are still there, those of the first uid count.
    """
    grouped: dict[ObjectKey, dict[str, list[Slice]]] = {}
    for one in slices:
        grouped.setdefault(one.service_key, {}).setdefault(one.content.service_uid, []).append(one)
    for key in sorted(grouped):
        uid = min(grouped[key])
        yield key, sorted(grouped[key][uid], key=lambda one: one.content.index)


def _ips(texts: Iterable[str] | None) -> tuple[IpAddress, ...]:
    return tuple(ip(text) for text in texts or ())


def _ip_order(address: IpAddress) -> tuple[int, int]:
    return address.version, int(address)
