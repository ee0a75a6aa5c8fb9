"""Pure: what happened to an object between the status that it has and the one that was decided."""

from collections.abc import Iterator, Sequence

from lvs_api.director_group import LvsDirectorGroupStatus, VirtualRouterStatus
from lvs_api.events import MAX_EVENT_MESSAGE, EventReason, EventType, Occurrence, condition_events
from lvs_core.cluster_view import ClusterView, ObjectKey
from lvs_core.decision import Decision
from lvs_operator.watched_kinds import ADDRESS_POOLS, CORE_SERVICES, DIRECTOR_GROUPS, POOLS, VIRTUAL_SERVICES
from lvs_operator.writer import ReplacePart


def status_events(view: ClusterView, decision: Decision, write: ReplacePart) -> tuple[Occurrence, ...]:
    """What a written status tells that the one in the view did not."""
    key = ObjectKey(write.meta.namespace or "", write.meta.name)
    if write.kind is DIRECTOR_GROUPS:
        old, new = view.groups[key.name].status, decision.groups[key.name]
        return (*_active_events(view, old, new), *condition_events(old.conditions if old else None, new.conditions))
    if write.kind is VIRTUAL_SERVICES:
        before = view.services[key].status
        return tuple(condition_events(before.conditions if before else None, decision.services[key].conditions))
    if write.kind is POOLS:
        earlier = view.pools[key].status
        return tuple(condition_events(earlier.conditions if earlier else None, decision.pools[key].conditions))
    if write.kind is ADDRESS_POOLS:
        said = view.address_pools[key.name].status
        return tuple(condition_events(said.conditions if said else None, decision.address_pools[key.name].conditions))
    if write.kind is CORE_SERVICES and key in view.load_balancers:
        return tuple(
            condition_events(view.load_balancers[key].status.conditions, decision.load_balancers[key].conditions)
        )
    return ()


def _active_events(
    view: ClusterView, before: LvsDirectorGroupStatus | None, after: LvsDirectorGroupStatus
) -> Iterator[Occurrence]:
    if after.virtual_routers and after.vrrp_begins_with is None:
        yield from _master_events(before, after.virtual_routers)
        return
    old, new = before.active if before is not None else None, after.active
    if old == new:
        return
    if new is None:
        message = f"no director carries the addresses: {_why_no_longer(view, old or '', after)}"
        yield Occurrence(type=EventType.WARNING, reason=EventReason.NO_ACTIVE_DIRECTOR.value, message=message)
        return
    message = f"{new} is the active director"
    if old is not None:
        message += f" instead of {old}: {_why_no_longer(view, old, after)}"
    yield Occurrence(type=EventType.NORMAL, reason=EventReason.ACTIVE_DIRECTOR_CHANGED.value, message=message)


def _master_events(
    before: LvsDirectorGroupStatus | None, routers: Sequence[VirtualRouterStatus]
) -> Iterator[Occurrence]:
    """Of each virtual router for itself. That nobody is Master of one is told by the condition Ready."""
    known = {one.id: one.active for one in (before.virtual_routers if before is not None else None) or ()}
    for router in routers:
        old = known.get(router.id)
        if router.active is None or router.active == old:
            continue
        message = f"{router.active} is Master of virtual router {router.id}"
        if old is not None:
            message += f" instead of {old}"
        yield Occurrence(
            type=EventType.NORMAL,
            reason=EventReason.ACTIVE_DIRECTOR_CHANGED.value,
            message=f"{message}: {router.message}"[:MAX_EVENT_MESSAGE],
            subject=str(router.id),
        )


def _why_no_longer(view: ClusterView, name: str, after: LvsDirectorGroupStatus) -> str:
    node = view.nodes.get(name)
    if node is None:
        return f"Node {name} is deleted"
    if node.out_of_service:
        return f"Node {name} is tainted node.kubernetes.io/out-of-service"
    still = next((one for one in after.directors or () if one.node == name), None)
    if still is None:
        return f"{name} is no longer selected and has let go of them"
    why = "was asked to hand them over" if still.stands_aside is None else f"stands aside ({still.stands_aside})"
    return f"{name} {why} and has let go of them"
