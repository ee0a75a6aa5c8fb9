"""How the directors of a group settle among themselves who carries the addresses: VRRP (RFC 9568, RFC 3768)."""

from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from lvs_api.base import ApiModel, Rule
from lvs_api.network_types import InterfaceName, ObjectName, UsableIpAddress
from lvs_api.patterns import VRRP_PASSWORD

MAX_SPREAD: Final = 16
MAX_PRIORITIES: Final = 64
LAST_VIRTUAL_ROUTER_ID: Final = 255
VERSION_OF_IPV4_ONLY: Final = 2
DEFAULT_INTERVAL_MILLISECONDS: Final = 1000
_HUNDREDTH_MILLISECONDS: Final = 10
_IPV4: Final = 4
VirtualRouterId = Annotated[int, Field(ge=1, le=LAST_VIRTUAL_ROUTER_ID)]
"""VRID: tells the virtual routers of one link apart."""
VrrpPriority = Annotated[int, Field(ge=1, le=254)]
"""255 is for a router that owns the address, which no director does; 0 says that one gives up (RFC 9568, 5.2.4)."""


class VrrpTransport(StrEnum):
    """How adverts reach the other directors."""

    MULTICAST = "Multicast"
    UNICAST = "Unicast"


class DirectorPriority(ApiModel):
    """A director's place in the order."""

    node: ObjectName
    """The Node."""
    priority: VrrpPriority
    """The highest that is heard carries the addresses."""


class Preemption(ApiModel):
    """A director that comes back takes the addresses from one of lower priority."""

    delay_seconds: Annotated[int, Field(ge=0, le=1000)] = 0
    """How long it waits before it does."""


class VrrpAuthentication(ApiModel):
    """The password of VRRP version 2."""

    password: Annotated[str, Field(min_length=1, max_length=8, pattern=VRRP_PASSWORD)]
    """In the clear in every advert, and in this object: it keeps away those who are there by mistake, and nobody
    else."""


def _priorities_differ(vrrp: Any) -> bool:  # noqa: ANN401 -- see Rule.check
    numbers = [one.priority for one in vrrp.priorities or ()]
    return len(set(numbers)) == len(numbers)


def _gateways_are_ipv4(vrrp: Any) -> bool:  # noqa: ANN401 -- see Rule.check
    return vrrp.version != VERSION_OF_IPV4_ONLY or all(
        ip_address(address).version == _IPV4 for address in vrrp.gateway_addresses or ()
    )


class Vrrp(ApiModel):
    """How directors speak VRRP, and who of them comes first."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.version != 2 || self.advertIntervalMilliseconds % 1000 == 0",
            check=lambda self: (
                self.version != VERSION_OF_IPV4_ONLY
                or self.advert_interval_milliseconds % DEFAULT_INTERVAL_MILLISECONDS == 0
            ),
            message="version 2 counts in whole seconds: write a multiple of 1000",
            field="advertIntervalMilliseconds",
        ),
        Rule(
            cel="self.advertIntervalMilliseconds % 10 == 0",
            check=lambda self: self.advert_interval_milliseconds % _HUNDREDTH_MILLISECONDS == 0,
            message="adverts tell their interval in hundredths of a second: write a multiple of 10",
            field="advertIntervalMilliseconds",
        ),
        Rule(
            cel="!has(self.priorities) || "
            "self.priorities.all(p, self.priorities.exists_one(q, q.priority == p.priority))",
            check=_priorities_differ,
            message="each director needs a priority of its own",
            field="priorities",
        ),
        Rule(
            cel="!has(self.authentication) || self.version == 2",
            check=lambda self: self.authentication is None or self.version == VERSION_OF_IPV4_ONLY,
            message="only version 2 has a password; version 3 has done away with it, for it protected nothing",
            field="authentication",
        ),
        Rule(
            cel="!has(self.virtualRouterIds) || size(self.virtualRouterIds) == self.spread",
            check=lambda self: self.virtual_router_ids is None or len(self.virtual_router_ids) == self.spread,
            message="as many ids are needed as there are virtual routers, see spread",
            field="virtualRouterIds",
        ),
        Rule(
            cel="!has(self.virtualRouterIds) || !has(self.reservedVirtualRouterIds) || "
            "!self.virtualRouterIds.exists(i, i in self.reservedVirtualRouterIds)",
            check=lambda self: not set(self.virtual_router_ids or ()) & set(self.reserved_virtual_router_ids or ()),
            message="an id cannot be both used and reserved for others",
            field="virtualRouterIds",
        ),
        Rule(
            cel="!has(self.gatewayAddresses) || size(self.gatewayAddresses) == 0 || self.spread == 1",
            check=lambda self: not self.gateway_addresses or self.spread == 1,
            message="with several virtual routers no single director is the gateway: give each gateway a group of its "
            "own",
            field="gatewayAddresses",
        ),
        Rule(
            cel="self.version != 2 || !has(self.gatewayAddresses) || "
            "self.gatewayAddresses.all(a, !isIP(a) || ip(a).family() == 4)",
            check=_gateways_are_ipv4,
            message="version 2 has no IPv6",
            field="gatewayAddresses",
        ),
    )

    version: Annotated[int, Field(ge=2, le=3)] = 3
    """3 (RFC 9568), or 2 (RFC 3768) for what already speaks that: IPv4 only, whole seconds."""
    advert_interval_milliseconds: Annotated[int, Field(ge=10, le=40950)] = DEFAULT_INTERVAL_MILLISECONDS
    """How often the director that carries the addresses says so; the others take them when they miss three. A
    multiple of 10, in version 2 of 1000."""
    priorities: (
        Annotated[
            list[DirectorPriority], Field(max_length=MAX_PRIORITIES, json_schema_extra={"x-lvs-list-key": "node"})
        ]
        | None
    ) = None
    """Who comes first. Directors that are not listed come after these, in an order that follows from their names; leave
    room for them below the lowest number."""
    preemption: Preemption | None = None
    """Present: the addresses go back to a director of higher priority once it is there. Absent: they stay, for a
    director that comes back knows only those connections of which it was told since."""
    transport: VrrpTransport = VrrpTransport.MULTICAST
    """Multicast: to all on the link. Unicast: to each director's own address, which a switch or a cloud that carries no
    multicast needs."""
    authentication: VrrpAuthentication | None = None
    """Only with version 2, for what already runs that way: no protection, see `password`."""
    spread: Annotated[int, Field(ge=1, le=MAX_SPREAD)] = 1
    """Virtual routers among which the VIPs are shared out by a hash; each of several directors comes first in one or
    more of them, so that all of them work. Every VIP may move when this changes."""
    virtual_router_ids: (
        Annotated[
            list[VirtualRouterId],
            Field(min_length=1, max_length=MAX_SPREAD, json_schema_extra={"x-lvs-list-set": True}),
        ]
        | None
    ) = None
    """The ids (VRID) of the virtual routers, where they must be certain ones; absent: the operator chooses, see
    `status.virtualRouters`."""
    reserved_virtual_router_ids: (
        Annotated[
            list[VirtualRouterId],
            Field(max_length=LAST_VIRTUAL_ROUTER_ID, json_schema_extra={"x-lvs-list-set": True}),
        ]
        | None
    ) = None
    """Ids that others on the link have: routers, firewalls. The operator does not choose them."""
    tracked_interfaces: (
        Annotated[list[InterfaceName], Field(max_length=16, json_schema_extra={"x-lvs-list-set": True})] | None
    ) = None
    """Network devices without which a director does not carry the addresses, such as the one towards the real servers;
    the one that carries the VIPs is among them by itself."""
    gateway_addresses: (
        Annotated[list[UsableIpAddress], Field(max_length=4, json_schema_extra={"x-lvs-list-set": True})] | None
    ) = None
    """Addresses that move together with the VIPs: the default gateway of Masquerade real servers, on the inside."""
