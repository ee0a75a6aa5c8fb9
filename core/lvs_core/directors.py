"""Who the directors of a group are, who of them can be heard, and who carries the addresses."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from lvs_api.director_group import HandOver, StandingAside
from lvs_api.lvs_node import VirtualRouterState
from lvs_core.cluster_view import ClusterView, DirectorGroup
from lvs_core.director_reports import present_boot, report_of
from lvs_core.mastership import Mastership, masterships, reports_of
from lvs_core.memory import GroupMemory
from lvs_core.selectors import selects
from lvs_core.standing_aside import standing_aside
from lvs_core.virtual_routers import RouterIds, speaks_vrrp
from lvs_core.vrrp import router_index


@dataclass(frozen=True, kw_only=True, slots=True)
class Directors:
    """The directors of one group, each list sorted."""

    selected: tuple[str, ...]
    """Nodes that shall be directors."""
    forwarding: tuple[str, ...]
    """Nodes that may hold entries of the group's services: directors, and former ones that have not reported
    themselves clean. Not those whose Node is deleted or out of service: they forward nothing."""
    available: tuple[str, ...]
    """Selected Nodes that are not called gone and whose agent has reported on this group in the Node's present boot."""
    active: str | None
    """Who holds all addresses, or is to."""
    routers: tuple[Mastership, ...] | None = None
    """With failover VRRP: who is Master of which virtual router, in the order in which addresses are shared out."""
    begins_with: str | None = None
    """Who has carried the addresses since before failover was VRRP, and is not Master yet."""
    is_ending: bool = False
    """Failover is VRRP no longer, and directors beside the active one still speak it."""
    aside: Mapping[str, StandingAside] = field(default_factory=lambda: MappingProxyType({}))
    """Selected ones that are to carry addresses only where no other can."""
    gives_way: frozenset[str] = frozenset()
    """Who is told to let go of the addresses for another."""
    hand_over: HandOver | None = None
    """What the status says of the last one that a person asked for."""
    unrelieved: str = ""
    """Why directors that stand aside carry addresses all the same."""

    def carriers(self, addresses: Iterable[str]) -> tuple[str | None, ...]:
        """Who carries these addresses, each once and sorted, None first where one is with nobody.

        Of no addresses at all: who carries any of the group.
        """
        if self.routers is None or self.begins_with is not None:
            return (self.active,)
        asked = {router_index(address, len(self.routers)) for address in addresses} if self.routers else set()
        found = {self.routers[index].active for index in asked}
        if not found:
            found = {one.active for one in self.routers if one.is_used} or {None}
        return tuple(sorted(found, key=lambda name: name or ""))


def directors_of(view: ClusterView, memory: GroupMemory, name: str, ids: RouterIds | None = None) -> Directors:
    """The directors of a group. One that is missing or cannot be read keeps those it has, as long as it has slices.

    The memory has taken this view in before. `ids` are those of its virtual routers, with failover VRRP.
    """
    group = view.groups.get(name)
    selected = tuple(_selected(view, name, group))
    forwarding = tuple(
        node for node, one in view.nodes.items() if not one.out_of_service and (node in selected or node in memory.told)
    )
    available = tuple(
        node
        for node in selected
        if present_boot(view, node) is not None and report_of(view.lvs_nodes.get(node), name) is not None
    )
    aside = standing_aside(view, group, selected) if group is not None else {}
    routers, begins_with, is_ending = None, None, False
    if group is not None and ids is not None and speaks_vrrp(group):
        routers = masterships(view, memory, group, ids.ids)
        is_needed = not routers or any(one.is_used for one in routers)
        begins_with = _begins_with(view, memory, group, selected) if is_needed else None
        active = begins_with or _only_master(routers)
    else:
        active = _active(view, memory, group, selected, sorted(available, key=lambda one: one in aside))
        is_ending = _is_ending(view, group, active, forwarding)
    return Directors(
        selected=selected,
        forwarding=forwarding,
        available=available,
        active=active,
        routers=routers,
        begins_with=begins_with,
        is_ending=is_ending,
        aside=aside,
    )


def _selected(view: ClusterView, name: str, group: DirectorGroup | None) -> Iterator[str]:
    if group is not None and group.spec is not None:
        for node in view.nodes.values():
            if selects(group.spec.nodes.selector, node.labels):
                yield node.name
    elif any(one.content.director_group == name for one in view.slices.values()):
        for node_name, lvs_node in view.lvs_nodes.items():
            if node_name in view.nodes and name in (lvs_node.spec.director_groups or ()):
                yield node_name


def _active(
    view: ClusterView,
    memory: GroupMemory,
    group: DirectorGroup | None,
    selected: Sequence[str],
    available: Sequence[str],
) -> str | None:
    """The present one as long as it can be; another only when it is certain that nobody else has the addresses.

    A director that is only unreachable may hold them still: it stays the one until its Node is deleted, or tainted
    by somebody who knows that the machine is off. So none is named that may be off already.
    """
    active = group.status.active if group is not None and group.status is not None else None
    if group is None or group.spec is None:
        return active
    alive = active is not None and active in view.nodes and not view.nodes[active].out_of_service
    if alive and (active in selected or active in memory.told):
        return active
    holders = [node for node in memory.told if node != active and _holds(view, group.meta.name, node)]
    for holder in sorted(holders):
        return holder if holder in selected else active
    return next((name for name in available if view.runs(view.nodes[name])), None)


def _holds(view: ClusterView, group: str, name: str) -> bool:
    report, node = report_of(view.lvs_nodes.get(name), group), view.nodes.get(name)
    return report is not None and report.holds_addresses and node is not None and not node.out_of_service


def _only_master(routers: Sequence[Mastership]) -> str | None:
    """The Master of every virtual router that has addresses."""
    masters = {one.active for one in routers if one.is_used}
    return masters.pop() if len(masters) == 1 else None


def _begins_with(view: ClusterView, memory: GroupMemory, group: DirectorGroup, selected: Sequence[str]) -> str | None:
    """Who carried the addresses when failover became VRRP, until it is Master, or cannot be, or another is.

    Its VRRP must run first: the others hear no adverts from a director that does not know yet of VRRP, and would take
    the addresses that it carries. One that is out of reach carries them still, as without VRRP; and so does one whose
    VRRP daemon does not run, for only from the daemon it takes that it has to let go.
    """
    status = group.status
    if status is None:
        return None
    name = status.vrrp_begins_with if status.virtual_routers else status.active
    if name is None or name not in view.nodes or view.nodes[name].out_of_service:
        return None
    if name not in selected and name not in memory.told:
        return None
    own = [one.state for one in reports_of(view, group.meta.name, name)]
    cannot_be = VirtualRouterState.FAULT in own and not _holds(view, group.meta.name, name)
    if cannot_be or (own and all(state is VirtualRouterState.MASTER for state in own)):
        return None
    others = (one.state for node in view.lvs_nodes if node != name for one in reports_of(view, group.meta.name, node))
    return None if VirtualRouterState.MASTER in others else name


def _is_ending(view: ClusterView, group: DirectorGroup | None, active: str | None, forwarding: Sequence[str]) -> bool:
    """Whether the active director has to go on with VRRP, for others would take the addresses if they heard no adverts.

    Also one that is out of reach may; it is waited for as for one that carries addresses without VRRP.
    """
    if group is None or group.status is None or not group.status.virtual_routers:
        return False
    others = (report_of(view.lvs_nodes.get(name), group.meta.name) for name in forwarding if name != active)
    return any(report is not None and report.virtual_routers for report in others)
