"""The routes by which DirectRouting connections live on after their real server got another method.

A destination has one cached route for every method (`dest_dst`). DirectRouting asks for one that names the real server
as the next hop (FLOWI_FLAG_KNOWN_NH), the others do not: when a packet of the new method fills the cache, packets of
older DirectRouting connections go to their own destination instead, which is the VIP, and are lost
(net/netfilter/ipvs/ip_vs_xmit.c, __ip_vs_get_out_rt; seen on Linux 7.2). A host route that names the real server as its
own gateway makes every cached route name it.
"""

from collections.abc import Mapping

from lvs_agent.decide.kernel_state import HostRoute, IPAddress, Route
from lvs_agent.decide.prepared_plan import PreparedPlan


def wanted_host_routes(prepared: PreparedPlan, routes: Mapping[IPAddress, Route]) -> frozenset[HostRoute]:
    """One for each on-link real server that had DirectRouting before."""
    return frozenset(
        HostRoute(address=address, device=route.device)
        for address in prepared.formerly_direct
        if (route := routes.get(address)) is not None and route.on_link and route.device is not None
    )
