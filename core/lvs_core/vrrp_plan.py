"""From a group's settings and status to how one of its directors takes part in VRRP."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

from lvs_api.director_group import LvsDirectorGroupStatus, VirtualRouterStatus
from lvs_api.network_types import Family
from lvs_api.vrrp_settings import VERSION_OF_IPV4_ONLY, Vrrp, VrrpTransport
from lvs_core.cluster_view import DirectorGroup
from lvs_core.virtual_routers import vrrp_of
from lvs_core.vrrp import VirtualRouter, VrrpPlan, router_index

IpAddress = IPv4Address | IPv6Address


def vrrp_plan(node: str, group: DirectorGroup, addresses: Iterable[IpAddress]) -> VrrpPlan | None:
    """What a director says and listens to; None while the group's status does not tell all that it needs.

    `addresses` are the VIPs of the services that it serves.
    """
    vrrp, status = vrrp_of(group), group.status
    routers = (status.virtual_routers if status is not None else None) or ()
    if status is None or len(routers) != vrrp.spread:
        return None
    own = _usable(vrrp, _addresses(status, [node]))
    peers = _usable(vrrp, _addresses(status, [one.node for one in status.directors or () if one.node != node]))
    if vrrp.transport is VrrpTransport.MULTICAST:
        own, peers = (), ()
    elif not own:
        return None
    carried = _usable(vrrp, {*addresses, *(ip_address(one) for one in vrrp.gateway_addresses or ())})
    planned: list[VirtualRouter] = []
    for index, router in enumerate(routers):
        priority = next((one.priority for one in router.priorities or () if one.node == node), None)
        if priority is None:
            return None
        weaker = frozenset(one.node for one in router.priorities or () if one.priority < priority)
        mine = [one for one in carried if router_index(one, len(routers)) == index]
        planned += (replace(one, weaker=weaker) for one in _by_family(router, priority, mine))
    return VrrpPlan(
        version=vrrp.version,
        advert_interval_milliseconds=vrrp.advert_interval_milliseconds,
        preempt_delay_seconds=vrrp.preemption.delay_seconds if vrrp.preemption is not None else None,
        peers=peers,
        own=own,
        password=vrrp.authentication.password if vrrp.authentication is not None else None,
        tracked_interfaces=tuple(sorted(vrrp.tracked_interfaces or ())),
        routers=tuple(sorted(planned, key=lambda one: (one.id, one.family))),
    )


def _addresses(status: LvsDirectorGroupStatus, nodes: Sequence[str]) -> Iterable[IpAddress]:
    return [
        ip_address(address) for one in status.directors or () if one.node in nodes for address in one.addresses or ()
    ]


def _usable(vrrp: Vrrp, addresses: Iterable[IpAddress]) -> tuple[IpAddress, ...]:
    """Sorted, and those of which this version of VRRP can speak."""
    kept = {one for one in addresses if vrrp.version != VERSION_OF_IPV4_ONLY or isinstance(one, IPv4Address)}
    return tuple(sorted(kept, key=lambda one: (one.version, int(one))))


def _by_family(router: VirtualRouterStatus, priority: int, addresses: Sequence[IpAddress]) -> Iterable[VirtualRouter]:
    for family, kind in ((Family.IPV4, IPv4Address), (Family.IPV6, IPv6Address)):
        mine = tuple(one for one in addresses if isinstance(one, kind))
        if mine:
            yield VirtualRouter(id=router.id, family=family, priority=priority, addresses=mine)
