"""Ways of forwarding: one shared value for each, and what a real server so reached must have."""

from functools import lru_cache

from lvs_api.network_types import Forwarding, ForwardingMethod, Tunnel


def needs_address(method: ForwardingMethod) -> bool:
    """Whether a real server so reached takes packets for the VIP itself, and so must have it."""
    return method is not ForwardingMethod.MASQUERADE


@lru_cache(maxsize=64)
def forwarding_of(method: ForwardingMethod, tunnel: Tunnel | None, source_nat: bool | None = None) -> Forwarding:
    """One shared value for each way of forwarding; many thousand members point at it."""
    if method is ForwardingMethod.TUNNEL and tunnel is None:
        tunnel = Tunnel()
    return Forwarding(method=method, tunnel=tunnel, source_nat=source_nat)


def shared_forwarding(forwarding: Forwarding) -> Forwarding:
    """The shared value that means the same; an absent tunnel under Tunnel is written out, and no source NAT is not."""
    return forwarding_of(forwarding.method, forwarding.tunnel, forwarding.source_nat or None)
