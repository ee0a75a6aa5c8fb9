"""How one director takes part in the VRRP of its group: virtual routers, and who else takes part."""

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from lvs_api.network_types import Family


@dataclass(frozen=True, kw_only=True, slots=True)
class VirtualRouter:
    """VIPs of one family that move together, on one link."""

    id: int
    """VRID, 1-255; one for each family may have the same."""
    family: Family
    priority: int
    """Of this director, 1-254: the highest that is heard carries the addresses."""
    addresses: tuple[IPv4Address | IPv6Address, ...]
    """The VIPs, sorted; never empty."""
    weaker: frozenset[str] = frozenset()
    """Directors, by Node, of a lower priority: whichever of them has the addresses as well lets them go."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VrrpPlan:
    """What one director is to say and to listen to for one group."""

    version: int
    """2 or 3."""
    advert_interval_milliseconds: int
    """In version 2 whole seconds."""
    preempt_delay_seconds: int | None
    """How long a director of higher priority waits before it takes the addresses back; None: it never does."""
    peers: tuple[IPv4Address | IPv6Address, ...]
    """Addresses of the other directors, of both families, sorted, to which adverts go; empty: they go to all by
    multicast."""
    own: tuple[IPv4Address | IPv6Address, ...]
    """Addresses of this director from which adverts to `peers` come, at most one of each family; empty with
    multicast."""
    password: str | None
    """Of version 2 only, in the clear on the wire: no protection, but for mistakes."""
    tracked_interfaces: tuple[str, ...]
    """Network devices without which this director does not carry the addresses, sorted."""
    routers: tuple[VirtualRouter, ...]
    """Sorted by id and family; all that have the same id move together."""


def router_index(address: IPv4Address | IPv6Address | str, spread: int) -> int:
    """Which of so many virtual routers carries an address: always the same, on every director."""
    digest = hashlib.sha256(str(address).encode()).digest()
    return int.from_bytes(digest[:8], "big") % spread
