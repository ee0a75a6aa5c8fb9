"""Who is Master of a group's virtual routers, by what the directors report, and for how long that has been unclear.

Reports of two directors come one after the other, and the last word of one that lost its power stays for a while. So
that nobody is Master, or that several are, is a trouble only once it has lasted.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

from lvs_api.lvs_node import VirtualRouterReport, VirtualRouterState
from lvs_core.cluster_view import ClusterView, DirectorGroup
from lvs_core.director_reports import present_boot, report_of
from lvs_core.frontends import vips
from lvs_core.memory import GroupMemory, Memory, Unrest
from lvs_core.virtual_routers import RouterIds, vrrp_of
from lvs_core.vrrp import router_index

VACANT_SECONDS: Final = 10
"""Longer than a change of Master and its report take."""
RIVALS_SECONDS: Final = 30
"""Longer than the agent of a machine without power counts as heard, at half of its Lease's time and a list more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mastership:
    """A virtual router and who is its Master."""

    id: int
    is_used: bool
    """It has addresses."""
    active: str | None
    """The director that reports to be Master. While none does, and reports may be under way, the last one known."""
    since: str | None = None
    """By that director's clock."""
    rivals: tuple[str, ...] = ()
    """Several that have been Master at once for longer than reports take; sorted."""
    is_vacant: bool = False
    """Nobody has been for longer than that."""


def reports_of(view: ClusterView, group: str, node: str) -> Sequence[VirtualRouterReport]:
    """What a director that can be heard says of the virtual routers of a group."""
    report = report_of(view.lvs_nodes.get(node), group)
    return report.virtual_routers or () if report is not None and present_boot(view, node) is not None else ()


def masterships(
    view: ClusterView, memory: GroupMemory, group: DirectorGroup, ids: Sequence[int]
) -> tuple[Mastership, ...]:
    """Every virtual router of a group; the memory has followed this view."""
    used = _used(view, group, ids)
    return tuple(_mastership(view, memory, group, one, is_used=one in used) for one in ids)


def follow_masters(memory: Memory, view: ClusterView, ids: Mapping[str, RouterIds], now: str) -> Memory:
    """The memory after what the directors of this view report; `now` is RFC 3339."""
    groups = dict(memory.groups)
    for name, one in ids.items():
        unrest = dict(_unrest(view, groups[name], view.groups[name], one.ids, now))
        if unrest != groups[name].unrest:
            groups[name] = replace(groups[name], unrest=MappingProxyType(unrest))
    return replace(memory, groups=groups)


def seconds_until_overdue(memory: Memory, now: str) -> float | None:
    """When time alone makes a trouble of what the memory holds; None: not without news."""
    waiting = [one for group in memory.groups.values() for one in group.unrest.values() if not one.is_overdue]
    return min((max(_limit(one.masters) - elapsed_seconds(one.since, now), 0.0) for one in waiting), default=None)


def _mastership(
    view: ClusterView, memory: GroupMemory, group: DirectorGroup, number: int, *, is_used: bool
) -> Mastership:
    masters = _masters(view, group.meta.name, number)
    unrest = memory.unrest.get(number)
    overdue = unrest if unrest is not None and unrest.is_overdue else None
    if masters:
        active, since = masters[0]
        rivals = overdue.masters if overdue is not None else ()
        return Mastership(id=number, is_used=is_used, active=active, since=since, rivals=rivals)
    if overdue is not None or not is_used:
        return Mastership(id=number, is_used=is_used, active=None, is_vacant=overdue is not None)
    before = next((one for one in (group.status and group.status.virtual_routers) or () if one.id == number), None)
    name = before.active if before is not None else None
    if before is None or name is None or name not in view.nodes or view.nodes[name].out_of_service:
        return Mastership(id=number, is_used=is_used, active=None)
    return Mastership(id=number, is_used=is_used, active=name, since=before.since)


def _masters(view: ClusterView, group: str, number: int) -> list[tuple[str, str | None]]:
    """Who reports to be Master for every family of its addresses, and since when.

    Who is heard now goes first, then who became it last.
    """
    found: list[tuple[bool, str, str]] = []
    for node in view.lvs_nodes:
        mine = [one for one in reports_of(view, group, node) if one.id == number]
        if mine and all(one.state is VirtualRouterState.MASTER for one in mine):
            found.append((node in view.signs.late, max(one.since or "" for one in mine), node))
    newest_first = sorted(found, key=lambda item: item[1], reverse=True)
    return [(node, since or None) for _, since, node in sorted(newest_first, key=lambda item: item[0])]


def _used(view: ClusterView, group: DirectorGroup, ids: Sequence[int]) -> frozenset[int]:
    """Those that carry an address of a service, or a gateway's."""
    return (
        frozenset(ids[router_index(address, len(ids))] for address in _addresses(view, group)) if ids else frozenset()
    )


def _addresses(view: ClusterView, group: DirectorGroup) -> Iterator[str]:
    yield from vrrp_of(group).gateway_addresses or ()
    for one in view.slices.values():
        if one.content.director_group == group.meta.name and one.content.service is not None:
            yield from vips(one.content.service)


def _unrest(
    view: ClusterView, memory: GroupMemory, group: DirectorGroup, ids: Iterable[int], now: str
) -> Iterator[tuple[int, Unrest]]:
    numbers = tuple(ids)
    used = _used(view, group, numbers)
    for number in numbers:
        masters = [name for name, _ in _masters(view, group.meta.name, number)]
        heard = tuple(sorted(name for name in masters if name not in view.signs.late))
        if number not in used or len(heard) == 1 or (masters and not heard):
            continue
        before = memory.unrest.get(number)
        since = before.since if before is not None and before.masters == heard else now
        yield number, Unrest(heard, since, elapsed_seconds(since, now) >= _limit(heard))


def _limit(masters: Sequence[str]) -> float:
    return RIVALS_SECONDS if masters else VACANT_SECONDS


def elapsed_seconds(since: str, now: str) -> float:
    """Between two moments of RFC 3339."""
    return (datetime.fromisoformat(now) - datetime.fromisoformat(since)).total_seconds()
