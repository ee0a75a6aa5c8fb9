"""What each node is told: in which groups it is a director, and which VIPs it carries.

A VIP is given up only when nobody can forward to the node any more: no slice needs it, and every director that could
has reported a view later than the last one that needed it, with nothing left over in its kernel.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lvs_api.bind_device import MAX_NODE_ADDRESSES
from lvs_api.lvs_node import LvsNodeSpec, LvsNodeStatus, NodeAddress
from lvs_core.cluster_view import ClusterView, LvsNode, ObjectKey
from lvs_core.director_addresses import TunnelDirectors
from lvs_core.directors import Directors
from lvs_core.memory import GroupMemory, LastNeed, Memory
from lvs_core.needs import Need, node_addresses, slices_needs, told_needs


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeSpecs:
    """The LvsNodes as they shall be."""

    specs: Mapping[str, LvsNodeSpec]
    delete: tuple[str, ...]
    no_room: frozenset[Need]
    """What is needed and not told, for a LvsNode names no more addresses than `MAX_NODE_ADDRESSES`."""


def node_specs(
    view: ClusterView, memory: Memory, directors: Mapping[str, Directors], wanted: Iterable[Need]
) -> NodeSpecs:
    """Every LvsNode that shall exist; `wanted` is what the services' next slices need."""
    groups: dict[str, list[str]] = {name: [] for name in view.nodes}
    for group, who in sorted(directors.items()):
        for name in {*who.selected, *_to_be_asked(view, memory, group)}:
            groups[name].append(group)
    needs = _needs(view, memory, directors, wanted)
    told = {name: node_addresses(_told(view.lvs_nodes.get(name), needs.get(name, set()))) for name in view.nodes}
    senders = TunnelDirectors(view=view, directors=directors)
    specs = {
        name: _spec(groups[name], _gives_way(name, groups[name], directors), told[name], senders.addresses(told[name]))
        for name in view.nodes
        if groups[name] or told[name] or _is_open(view.lvs_nodes.get(name))
    }
    no_room = (needs.get(name, set()).difference(told_needs(name, asked)) for name, asked in told.items())
    return NodeSpecs(
        specs=specs,
        delete=tuple(name for name in view.lvs_nodes if name not in specs),
        no_room=frozenset[Need]().union(*no_room),
    )


def _to_be_asked(view: ClusterView, memory: Memory, group: str) -> Iterator[str]:
    """Former directors whose LvsNode somebody deleted. Made anew it first says what they were told last.

    For an agent takes nothing away because of a LvsNode that was made anew, but by an edit of one it reported on.
    """
    for name in memory.groups[group].told if group in memory.groups else ():
        node = view.lvs_nodes.get(name)
        unheard = node is None or node.status is None or node.status.observed_generation is None
        if unheard and name in view.nodes and (node is None or group in (node.spec.director_groups or ())):
            yield name


def _needs(
    view: ClusterView, memory: Memory, directors: Mapping[str, Directors], wanted: Iterable[Need]
) -> Mapping[str, set[Need]]:
    """Per node: what is wanted, what the slices as they are need, and what cannot be given up yet."""
    needs: dict[str, set[Need]] = {}
    for need in wanted:
        needs.setdefault(need.node, set()).add(need)
    for need, _, _ in slices_needs(view.slices.values()):
        needs.setdefault(need.node, set()).add(need)
    for name, node in view.lvs_nodes.items():
        mine = needs.setdefault(name, set())
        for need in told_needs(name, node.spec.addresses):
            if need not in mine and not may_leave(view, memory, directors, need):
                mine.add(need)
    return needs


def may_leave(view: ClusterView, memory: Memory, directors: Mapping[str, Directors], need: Need) -> bool:
    """Whether no director can forward to the node for this VIP any more; no slice needs it."""
    for group, views in memory.groups.items():
        last = views.needs.get(need)
        who = directors.get(group)
        if last is None or who is None:
            continue
        if not all(_is_done(view.lvs_nodes.get(name), views, name, last) for name in who.forwarding):
            return False
    return True


def _is_done(node: LvsNode | None, views: GroupMemory, name: str, last: LastNeed) -> bool:
    position = views.position_of(name)
    if position is None or position <= last.position or node is None or node.status is None:
        return False
    return node.status.rest_is_programmed and not _has_leftovers(node.status, last)


def _has_leftovers(status: LvsNodeStatus, last: LastNeed) -> bool:
    """Whether the director says that of a service that needed the VIP something is still to be done."""
    return any(
        (last.services is None or ObjectKey(one.namespace, one.name) in last.services)
        and (not one.programmed or bool(one.draining))
        for one in status.exceptions or ()
    )


def _is_open(node: LvsNode | None) -> bool:
    """Whether a node has been told something and has not said that it is clean again."""
    if node is None:
        return False
    if node.spec.director_groups or node.spec.addresses or node.status is None:
        return True
    clean = not node.status.addresses and not node.status.director_groups
    return not clean or node.status.observed_generation != node.meta.generation


def _told(node: LvsNode | None, needs: set[Need]) -> list[Need]:
    """Of more than a LvsNode can name, those that are named already come first, and the others then."""
    named = set() if node is None else set(told_needs(node.meta.name, node.spec.addresses))
    return [*sorted(needs & named), *sorted(needs - named)][:MAX_NODE_ADDRESSES]


def _gives_way(name: str, groups: Iterable[str], directors: Mapping[str, Directors]) -> list[str] | None:
    return sorted(group for group in groups if group in directors and name in directors[group].gives_way) or None


def _spec(
    groups: Iterable[str], gives_way: list[str] | None, told: list[NodeAddress] | None, senders: Sequence[str]
) -> LvsNodeSpec:
    return LvsNodeSpec.model_construct(
        director_groups=sorted(groups) or None,
        gives_way=gives_way,
        addresses=told,
        director_addresses=list(senders) or None,
    )
