"""Who is to give the addresses to another director now: where one stands aside, or a person asked for a hand-over.

Without VRRP the one that carries them lets go and says so, and only then another is named. With VRRP it lets go for
some seconds, and the others settle it as they always do; where nobody takes them it is Master again. Nobody is told to
give way while no other is ready.
"""

from dataclasses import replace

from lvs_api.director_group import HandOver
from lvs_core.cluster_view import ClusterView, DirectorGroup
from lvs_core.director_reports import report_of
from lvs_core.directors import Directors
from lvs_core.hand_over import follow_hand_over, is_under_way, read_request
from lvs_core.mastership import reports_of
from lvs_core.relief import Relief
from lvs_core.virtual_routers import speaks_vrrp


def with_giving_way(view: ClusterView, group: DirectorGroup | None, who: Directors, now: str) -> Directors:
    """The directors of a group with those that give way now; without VRRP perhaps with another active one."""
    if group is None:
        return who
    if group.spec is None:  # what cannot be read moves nothing, and nobody who was told takes anything back
        before = group.status.hand_over if group.status is not None else None
        return replace(who, gives_way=_told(view, group), hand_over=before)
    relief = Relief(view=view, group=group, who=who)
    return _with_vrrp(relief, now) if speaks_vrrp(group) else _without_vrrp(relief, now)


def _with_vrrp(relief: Relief, now: str) -> Directors:
    """Those that are Master and should not be; for one that is to have all the addresses, everybody else."""
    who, name = relief.who, relief.group.meta.name
    record = follow_hand_over(relief, now)
    # Who was told before failover was VRRP stays told until it speaks it: its copy of the group may be an old one.
    told = {one for one in _told(relief.view, relief.group) if not reports_of(relief.view, name, one)}
    if who.begins_with is not None:
        return replace(who, gives_way=frozenset(told - {who.begins_with}), hand_over=record)
    masters = {one.active for one in relief.used if one.active is not None}
    told |= {one for one in masters & who.aside.keys() if relief.ready_beside(one)}
    if any(one.active is None for one in relief.used):  # who would be told anew, would let go anew
        told |= _told(relief.view, relief.group)
    if record is not None and is_under_way(record):
        request = read_request(record.request)
        target = request.target if request is not None else None
        told |= masters & {record.giver} if target is None else {*who.available} - {target}
    return replace(who, gives_way=frozenset(told), hand_over=record, unrelieved=_unrelieved(relief))


def _without_vrrp(relief: Relief, now: str) -> Directors:
    """The active one is told to let go, and stays the one until it has said that it did.

    Who has given way stays told until it is the active one again: its copy of the group may be an old one.
    """
    active, record = relief.who.active, follow_hand_over(relief, now)
    heir = None
    if active is not None and active in relief.who.available and not (relief.who.is_ending or relief.stays):
        heir = _heir(relief, active, record)
    if active is not None and heir is not None and _has_let_go(relief, active):
        active = heir
        relief = replace(relief, who=replace(relief.who, active=active))
        record = follow_hand_over(relief, now)
    told = _told(relief.view, relief.group) - {active}
    if active is not None and heir is not None and heir != active:
        told |= {active}
    return replace(relief.who, gives_way=told, hand_over=record, unrelieved=_unrelieved(relief))


def _heir(relief: Relief, active: str, record: HandOver | None) -> str | None:
    """Who is to be the active one instead; None: nobody."""
    ready = relief.ready_beside(active)
    if record is not None and is_under_way(record):
        request = read_request(record.request)
        target = request.target if request is not None else None
        if target is not None:
            return target if target in ready else None
        if active == record.giver:
            return next(iter(ready), None)
    return next(iter(ready), None) if active in relief.who.aside else None


def _has_let_go(relief: Relief, name: str) -> bool:
    """Whether a director has acted on being told to give way, and carries nothing."""
    node, group = relief.view.lvs_nodes.get(name), relief.group.meta.name
    report = report_of(node, group)
    if node is None or node.status is None or report is None or group not in (node.spec.gives_way or ()):
        return False
    return node.status.observed_generation == node.meta.generation and not report.holds_addresses


def _told(view: ClusterView, group: DirectorGroup) -> frozenset[str]:
    """Who is told so far."""
    return frozenset(name for name, node in view.lvs_nodes.items() if group.meta.name in (node.spec.gives_way or ()))


def _unrelieved(relief: Relief) -> str:
    """Why directors that stand aside carry addresses all the same; empty where none does, or another will."""
    who = relief.who
    left = [name for name in who.carriers(()) if name is not None and name in who.aside]
    if not left or (relief.ready_beside(left[0]) and not relief.stays):
        return ""
    stand = " and ".join(f"{name} ({who.aside[name]})" for name in left)
    return f"{stand} carries the addresses though it is to stand aside: {relief.stays or relief.why_nobody(left[0])}"
