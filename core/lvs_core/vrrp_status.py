"""The public status of a group whose directors settle by VRRP who carries the addresses."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Final

from lvs_api.conditions import ConditionType, Reason, find_condition
from lvs_api.director_group import VirtualRouterStatus
from lvs_api.lvs_node import MAX_OWN_ADDRESSES, VirtualRouterState
from lvs_api.vrrp_settings import DirectorPriority, VrrpTransport
from lvs_core.cluster_view import ClusterView, DirectorGroup, family_of
from lvs_core.director_reports import report_of
from lvs_core.directors import Directors
from lvs_core.mastership import Mastership, reports_of
from lvs_core.virtual_routers import RouterIds, router_orders, speaks_vrrp, vrrp_of

MAX_ROUTER_MESSAGE: Final = 512
_NAMED: Final = 4
Readiness = tuple[bool | None, Reason, str]


def is_unicast(group: DirectorGroup) -> bool:
    """Whether the group's directors need one another's addresses."""
    return speaks_vrrp(group) and vrrp_of(group).transport is VrrpTransport.UNICAST


def still_speaking(view: ClusterView, group: DirectorGroup, directors: Directors) -> tuple[str, ...]:
    """Former directors that have not said that their VRRP ended, where adverts go by unicast.

    Without an advert from the others they would be Master, and theirs is heard from a peer only.
    """
    if not is_unicast(group):
        return ()
    former = (name for name in directors.forwarding if name not in directors.selected)
    reports = ((name, report_of(view.lvs_nodes.get(name), group.meta.name)) for name in former)
    return tuple(name for name, report in reports if report is not None and report.virtual_routers)


def own_addresses(view: ClusterView, group: DirectorGroup, name: str) -> tuple[str, ...]:
    """By which a director is reached, one of each family: what its Node is known by, else the first that it has.

    A kubelet reports VIPs too, so only what the agent calls the node's own counts. One that says nothing, as after its
    LvsNode was lost, is reached as before: to a director that hears no adverts nobody is Master.
    """
    node, lvs_node = view.nodes.get(name), view.lvs_nodes.get(name)
    status = lvs_node.status if lvs_node is not None else None
    own = (status.own_addresses if status is not None else None) or ()
    if not own:
        before = (group.status.directors if group.status is not None else None) or ()
        return tuple(next((one.addresses or () for one in before if one.node == name), ()))
    known = [one for one in (node.internal_addresses if node is not None else ()) if one in own]
    return one_of_each_family([*known, *own])


def one_of_each_family(addresses: Sequence[str]) -> tuple[str, ...]:
    """The first of IPv4 and the first of IPv6, as far as there are."""
    found = {family_of(address): address for address in reversed(addresses)}
    return tuple(found[family] for family in sorted(found))


def router_statuses(view: ClusterView, group: DirectorGroup, directors: Directors) -> list[VirtualRouterStatus] | None:
    """Every virtual router, as its directors have to know it; after VRRP until the last of them has stopped."""
    if directors.is_ending:
        return group.status.virtual_routers if group.status is not None else None
    if not directors.routers:
        return None
    if group.spec is None:  # what cannot be read changes nothing but who is Master
        before = {one.id: one.priorities for one in (group.status and group.status.virtual_routers) or ()}
        orders = [tuple(before.get(one.id) or ()) for one in directors.routers]
    else:
        orders = router_orders(group, directors.selected, len(directors.routers), directors.aside)
    return [
        VirtualRouterStatus(
            id=router.id,
            priorities=list(priorities) or None,
            active=router.active,
            since=router.since,
            message=_why(view, group.meta.name, router, priorities)[:MAX_ROUTER_MESSAGE],
        )
        for router, priorities in zip(directors.routers, orders, strict=True)
    ]


def vrrp_readiness(view: ClusterView, group: DirectorGroup, directors: Directors, ids: RouterIds) -> Readiness:
    """Whether every virtual router has one Master."""
    if ids.reason is not None:
        return False, ids.reason, ids.message
    if not directors.available:
        return None, Reason.PENDING, "No director has reported yet"
    used = [one for one in directors.routers or () if one.is_used]
    trouble = (
        _foreign(view, group, directors, used)
        or _torn(used)
        or _vacant(view, group, directors, used)
        or _own_gateway(view, group, directors)
    )
    if trouble is not None:
        return trouble
    silent = [name for name in directors.selected if name not in directors.available]
    others = f"; not reporting: {', '.join(silent)}" if silent else ""
    masters = ", ".join(f"{one.active} of virtual router {one.id}" for one in used)
    return True, Reason.READY, f"{f'Master is {masters}' if used else 'There are no addresses to carry yet'}{others}"


def _torn(routers: Sequence[Mastership]) -> Readiness | None:
    """Virtual routers with two Masters."""
    found = [f"{' and '.join(one.rivals)} are Master of virtual router {one.id}" for one in routers if one.rivals]
    return (False, Reason.SPLIT_BRAIN, f"{'; '.join(found)}: they do not hear one another") if found else None


def _foreign(
    view: ClusterView, group: DirectorGroup, directors: Directors, routers: Sequence[Mastership]
) -> Readiness | None:
    """The first virtual router of which somebody else sends adverts.

    Where a director has not told which addresses are its own, or as many as it can, nobody is called a stranger. What
    its Node has counts, too: a machine may send from a host address, which it does not call its own.
    """
    names = {*directors.selected, *directors.forwarding}
    known = [_told_own(view, name) for name in names]
    if not all(0 < len(one) < MAX_OWN_ADDRESSES for one in known):
        return None
    ours = set().union(*known, *(view.nodes[name].addresses for name in names))
    for one in routers:
        heard = {name: _senders(view, group, name, one.id) - ours for name in directors.selected}
        strangers = sorted(set().union(*heard.values()), key=ip_address)
        if strangers:
            witnesses = ", ".join(name for name, addresses in heard.items() if addresses)
            message = (
                f"Adverts of virtual router {one.id} come from {', '.join(strangers[:_NAMED])}, which is no director "
                f"of this group (heard by {witnesses}): give the group another id, by spec.vrrp.virtualRouterIds or "
                "reservedVirtualRouterIds, or that machine"
            )
            return False, Reason.FOREIGN_VRRP, message
    return None


def _senders(view: ClusterView, group: DirectorGroup, name: str, number: int) -> frozenset[str]:
    """From where a director hears adverts of a virtual router."""
    mine = (one.heard_from or () for one in reports_of(view, group.meta.name, name) if one.id == number)
    return frozenset(address for addresses in mine for address in addresses)


def _told_own(view: ClusterView, name: str) -> frozenset[str]:
    """The addresses that a director calls its own; none where it has not told."""
    lvs_node = view.lvs_nodes.get(name)
    status = lvs_node.status if lvs_node is not None else None
    return frozenset((status.own_addresses if status is not None else None) or ())


def _own_gateway(view: ClusterView, group: DirectorGroup, directors: Directors) -> Readiness | None:
    """An address that is to move, and is a director's own."""
    gateways = vrrp_of(group).gateway_addresses or ()
    for name in directors.selected:
        own = _told_own(view, name)
        if (address := next((one for one in gateways if one in own), None)) is not None:
            message = f"spec.vrrp.gatewayAddresses: {address} is {name}'s own; name one that no machine has"
            return False, Reason.NODE_ADDRESS, message
    return None


def _vacant(
    view: ClusterView, group: DirectorGroup, directors: Directors, routers: Sequence[Mastership]
) -> Readiness | None:
    """The first virtual router without a Master. One that was called a trouble before stays one until it has one."""
    one = next((one for one in routers if one.active is None), None)
    if one is None:
        return None
    states = "; ".join(_states(view, group.meta.name, one.id, directors.selected))
    message = f"No director is Master of virtual router {one.id}: {states}"
    before = find_condition(group.status.conditions if group.status is not None else None, ConditionType.READY)
    if one.is_vacant or (before is not None and before.reason == Reason.NO_ACTIVE_DIRECTOR):
        return False, Reason.NO_ACTIVE_DIRECTOR, message
    return None, Reason.PENDING, message


def _why(view: ClusterView, group: str, router: Mastership, priorities: Sequence[DirectorPriority]) -> str:
    """Why the Master is this one, by those who come before it; or why there is none."""
    if not router.is_used:
        return "no VIP falls to it"
    names = [one.node for one in priorities]
    if router.active is None:
        return f"no director is Master: {'; '.join(_states(view, group, router.id, names))}"
    before = names[: names.index(router.active)] if router.active in names else names
    if not before:
        return "it has the highest priority"
    return f"before it by priority: {'; '.join(_states(view, group, router.id, before))}"


def _states(view: ClusterView, group: str, number: int, names: Sequence[str]) -> Iterator[str]:
    """What directors say of themselves, of the first few."""
    for name in names[:_NAMED]:
        mine = [one for one in reports_of(view, group, name) if one.id == number]
        faults = [one.message or "" for one in mine if one.state is VirtualRouterState.FAULT]
        if not mine:
            yield f"{name} does not report"
        elif faults:
            yield f"{name} is in Fault{f': {faults[0]}' if faults[0] else ''}"
        else:
            yield f"{name} is {mine[0].state}"
    if len(names) > _NAMED:
        yield f"and {len(names) - _NAMED} more"
