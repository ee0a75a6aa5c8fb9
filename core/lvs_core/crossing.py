"""Which packets of a service a real server takes: those of its own family, or of the other one where there are none.

By GRE only: gre0 and ip6gre0 unwrap both families, while tunl0 and ip6tnl0 each unwrap one (ip6_fb_tnl_dev_init in
net/ipv6/ip6_tunnel.c, ipip_tunnel_init_net in net/ipv4/ipip.c). DirectRouting and Masquerade never cross families, and
while a sync daemon runs the kernel takes no such real server (ip_vs_new_dest in ip_vs_ctl.c).
"""

from collections.abc import Set as AbstractSet
from typing import Final

from lvs_api.network_types import Family, Forwarding, ForwardingMethod, TunnelType
from lvs_core.cluster_view import family_of

_ONLY: Final = {family: frozenset({family}) for family in Family}
_NONE: Final = frozenset[Family]()


def may_cross(forwarding: Forwarding) -> bool:
    """Whether a real server that is so reached can take packets of the other family."""
    tunnel = forwarding.tunnel
    return forwarding.method is ForwardingMethod.TUNNEL and tunnel is not None and tunnel.type is TunnelType.GRE


def served_families(address: str, forwarding: Forwarding, wanted: AbstractSet[Family]) -> AbstractSet[Family]:
    """Of the families of a service's packets those that come to a real server of this address."""
    own = family_of(address)
    if own in wanted:
        return _ONLY[own]
    return wanted if may_cross(forwarding) else _NONE


def crosses(address: str, forwarding: Forwarding, wanted: AbstractSet[Family]) -> bool:
    """Whether a real server of this address takes packets of the other family."""
    return not served_families(address, forwarding, wanted) <= {family_of(address)}
