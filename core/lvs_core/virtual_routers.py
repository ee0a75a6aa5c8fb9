"""The virtual routers of director groups: which ids they have, and which director comes first in which.

All of it follows from the objects alone, so that a restored backup, and machines without an operator, find the same; a
group's status tells of ids that deviate.
"""

import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lvs_api.conditions import Reason
from lvs_api.director_group import Failover
from lvs_api.vrrp_settings import LAST_VIRTUAL_ROUTER_ID, MAX_PRIORITIES, DirectorPriority, Vrrp
from lvs_core.cluster_view import DirectorGroup

TOP_PRIORITY: Final = 200
"""The highest of directors that are not listed, where none is."""
_WINDOW: Final = 100
"""They are within so many: low priorities are slow to take over (RFC 9568, 6.1, Skew_Time)."""
LAST_PRIORITY: Final = 254
_IDS: Final = range(1, LAST_VIRTUAL_ROUTER_ID + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class RouterIds:
    """The ids of one group's virtual routers, in their order."""

    ids: tuple[int, ...] = ()
    """None where the group cannot have what it needs."""
    reason: Reason | None = None
    message: str = ""
    """What is the matter."""


def speaks_vrrp(group: DirectorGroup | None) -> bool:
    """Whether the directors of a group settle by VRRP who carries the addresses.

    One that cannot be read does as it did.
    """
    if group is None:
        return False
    if group.spec is None:
        return group.status is not None and bool(group.status.virtual_routers)
    return group.spec.failover is Failover.VRRP


def vrrp_of(group: DirectorGroup) -> Vrrp:
    """The settings of a group that speaks VRRP."""
    return (group.spec.vrrp if group.spec is not None else None) or Vrrp()


def choose_ids(groups: Iterable[DirectorGroup]) -> Mapping[str, RouterIds]:
    """The ids of all groups that speak VRRP. No two groups have the same, whatever links they are on.

    Who has its ids by its status keeps them, then come ids that an administrator named, then those that are chosen; of
    equals the older group.
    """
    speaking = sorted((group for group in groups if speaks_vrrp(group)), key=_rank)
    taken: dict[int, str] = {}
    chosen: dict[str, RouterIds] = {}
    for group in speaking:
        name = group.meta.name
        found = _ids_of(group, taken)
        chosen[name] = found
        taken.update(dict.fromkeys(found.ids, name))
    return chosen


def _told(group: DirectorGroup) -> tuple[int, ...]:
    """The ids that the status tells of."""
    return tuple(one.id for one in (group.status.virtual_routers if group.status is not None else None) or ())


def _rank(group: DirectorGroup) -> tuple[int, str, str]:
    named = tuple(vrrp_of(group).virtual_router_ids or ())
    told = _told(group)
    order = 0 if told and (not named or named == told) else 1 if named else 2
    return order, group.meta.creation_timestamp or "", group.meta.uid


def _ids_of(group: DirectorGroup, taken: Mapping[int, str]) -> RouterIds:
    vrrp = vrrp_of(group)
    if group.spec is None:
        return RouterIds(ids=tuple(one for one in _told(group) if one not in taken))
    if vrrp.virtual_router_ids:
        for one in vrrp.virtual_router_ids:
            if one in taken:
                return RouterIds(
                    reason=Reason.CONFLICT,
                    message=f"spec.vrrp.virtualRouterIds: {one} belongs to LvsDirectorGroup {taken[one]}; use another, "
                    "or give that group another",
                )
        return RouterIds(ids=tuple(vrrp.virtual_router_ids))
    unusable = {*taken, *(vrrp.reserved_virtual_router_ids or ())}
    start = _hash(group.meta.name) % len(_IDS)
    liked = [*_told(group), *(_IDS[(start + step) % len(_IDS)] for step in range(len(_IDS)))]
    free = [one for one in dict.fromkeys(liked) if one not in unusable]
    if len(free) < vrrp.spread:
        return RouterIds(
            reason=Reason.NO_VIRTUAL_ROUTER_ID,
            message=f"spec.vrrp.spread: {vrrp.spread} virtual routers need as many ids, and {len(free)} are free; the "
            "others are in use or reserved",
        )
    return RouterIds(ids=tuple(free[: vrrp.spread]))


def router_orders(
    group: DirectorGroup, directors: Iterable[str], number: int, aside: Container[str] = ()
) -> list[tuple[DirectorPriority, ...]]:
    """The directors of each of so many virtual routers with their priorities, the highest first.

    All have the same priorities; in each another director comes first, so that every one is for its share. Those that
    stand `aside` come last; the others' numbers stay as they are.
    """
    order = order_directors(group.meta.name, vrrp_of(group), directors)[:MAX_PRIORITIES]
    return [
        _with_last(
            [
                DirectorPriority(node=order[(position + index) % len(order)].node, priority=one.priority)
                for position, one in enumerate(order)
            ],
            aside,
        )
        for index in range(number)
    ]


def _with_last(order: Sequence[DirectorPriority], aside: Container[str]) -> tuple[DirectorPriority, ...]:
    """Those that stand aside behind the others, by the lowest numbers; all as they are where nobody else is left."""
    first = [one for one in order if one.node not in aside]
    last = [one.node for one in order if one.node in aside]
    if not first or not last:
        return tuple(order)
    # Where the others have the lowest numbers, two may be equal: then the higher address goes first (RFC 9568, 6.4.3).
    lowest = first[-1].priority
    numbers = [max(1, min(lowest - 1, len(last)) - place) for place in range(len(last))]
    return (*first, *(DirectorPriority(node=name, priority=one) for name, one in zip(last, numbers, strict=True)))


def order_directors(group: str, vrrp: Vrrp, directors: Iterable[str]) -> tuple[DirectorPriority, ...]:
    """Every director with its priority in the first virtual router, the highest first."""
    present = sorted(directors)
    listed = {one.node: one.priority for one in vrrp.priorities or ()}
    found = {name: listed[name] for name in present if name in listed}
    used = set(listed.values())
    ceiling = min(used, default=TOP_PRIORITY + 1) - 1
    for name in sorted((name for name in present if name not in listed), key=lambda name: _hash(group, name)):
        number = _free_number(_hash(group, name), ceiling, used)
        used.add(number)
        found[name] = number
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return tuple(DirectorPriority(node=name, priority=number) for name, number in ordered)


def _free_number(digest: int, ceiling: int, used: set[int]) -> int:
    """By the hash within a window below the ceiling; else the next below it, and above only where none is left."""
    lowest = max(1, ceiling - _WINDOW + 1)
    width = max(ceiling - lowest + 1, 1)
    start = digest % width
    window = [ceiling - (start + step) % width for step in range(width)]
    candidates = [*window, *range(lowest - 1, 0, -1), *range(max(ceiling, 0) + 1, LAST_PRIORITY + 1)]
    return next((one for one in candidates if one not in used and one >= 1), 1)


def _hash(*words: str) -> int:
    return int.from_bytes(hashlib.sha256("\n".join(words).encode()).digest()[:8], "big")
