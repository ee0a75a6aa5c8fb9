"""Who the directors of a group are, who of them can be heard, and who carries the addresses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lvs_api.lvs_node import DirectorReport
from lvs_core.cluster_view import ClusterView, DirectorGroup, LvsNode
from lvs_core.memory import GroupMemory
from lvs_core.selectors import selects


@dataclass(frozen=True, kw_only=True, slots=True)
class Directors:
    """The directors of one group, each list sorted."""

    selected: tuple[str, ...]
    """Nodes that shall be directors."""
    forwarding: tuple[str, ...]
    """Nodes that may hold entries of the group's services: directors, and former ones that have not reported
    themselves clean. Not those whose Node is deleted or out of service: they forward nothing."""
    available: tuple[str, ...]
    """Selected Nodes that are ready and whose agent has reported on this group in the Node's present boot."""
    active: str | None
    """Who holds the addresses, or is to."""


def report_of(node: LvsNode | None, group: str) -> DirectorReport | None:
    """What a node says of its part in a group."""
    if node is None or node.status is None:
        return None
    return next((report for report in node.status.director_groups or () if report.name == group), None)


def present_boot(view: ClusterView, name: str) -> str | None:
    """The boot that a Node's agent has reported from.

    None where it has not reported, or where the Node is called gone, or has booted again since.
    """
    node, lvs_node = view.nodes.get(name), view.lvs_nodes.get(name)
    if node is None or node.out_of_service or lvs_node is None or lvs_node.status is None:
        return None
    if view.is_called_gone(node):
        return None
    boot = lvs_node.status.boot_id
    return None if node.boot_id is not None and boot != node.boot_id else boot


def directors_of(view: ClusterView, memory: GroupMemory, name: str) -> Directors:
    """The directors of a group. One that is missing or cannot be read keeps those it has, as long as it has slices.

    The memory has taken this view in before.
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
    return Directors(
        selected=selected,
        forwarding=forwarding,
        available=available,
        active=_active(view, memory, group, selected, available),
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
    by somebody who knows that the machine is off.
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
    return available[0] if available else None


def _holds(view: ClusterView, group: str, name: str) -> bool:
    report, node = report_of(view.lvs_nodes.get(name), group), view.nodes.get(name)
    return report is not None and report.holds_addresses and node is not None and not node.out_of_service
