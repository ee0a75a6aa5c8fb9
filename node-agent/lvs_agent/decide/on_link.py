"""Whether DirectRouting reaches a real server, which takes a common link. Pure."""

from collections.abc import Mapping

from lvs_agent.decide.kernel_state import IPAddress, Route, RouteKind
from lvs_api.network_types import ForwardingMethod
from lvs_core.plan import PlannedMember


def not_on_link(member: PlannedMember, routes: Mapping[IPAddress, Route], *, may_be_here: bool = False) -> str | None:
    """Why frames can not go straight to a DirectRouting member; None where they can, or nothing is known.

    The kernel gives what falls to an address of this director to the director itself, for the VIP (ip_vs_xmit.c).
    """
    if member.method is not ForwardingMethod.DIRECT_ROUTING:
        return None
    route = routes.get(member.address)
    if route is None or route.on_link or (may_be_here and route.kind is RouteKind.LOCAL):
        return None
    if route.kind is RouteKind.LOCAL:
        return f"{member.address} is an address of this director"
    if route.next_hop is not None:
        return f"the route to {member.address} has the next hop {route.next_hop}; DirectRouting needs a common link"
    return f"this director has no route to {member.address}"
