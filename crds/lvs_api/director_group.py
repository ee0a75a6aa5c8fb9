"""LvsDirectorGroup: the nodes that are directors together."""

from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import Field

from lvs_api.base import ApiModel, Rule
from lvs_api.conditions import Condition
from lvs_api.ipvs_terms import Ipvs
from lvs_api.network_types import (
    Count,
    Generation,
    InterfaceName,
    LabelSelector,
    MacAddress,
    ObjectName,
    UsableIpAddress,
)
from lvs_api.node_settings import ConnectionSync, IpvsSysctls, Timeouts
from lvs_api.vrrp_settings import MAX_PRIORITIES, MAX_SPREAD, DirectorPriority, VirtualRouterId, Vrrp

_NEVER_FOR_DIRECTORS: Final = ("lo", "tunl0", "ip6tnl0", "gre0", "ip6gre0")
"""Devices of real servers: what is bound there is kept silent."""


class Failover(StrEnum):
    """How the addresses move between directors."""

    NONE = "None"
    VRRP = "VRRP"


class StandingAside(StrEnum):
    """Why a director is to carry addresses only where no other can."""

    MAINTENANCE = "Maintenance"
    CORDONED = "Cordoned"


class HandOverState(StrEnum):
    """How far a planned hand-over is."""

    UNDER_WAY = "UnderWay"
    DONE = "Done"
    REFUSED = "Refused"
    FAILED = "Failed"


class DirectorNodes(ApiModel):
    """Which Nodes are directors."""

    selector: LabelSelector
    """By their labels."""


class LvsDirectorGroupSpec(ApiModel):
    """Which Nodes are directors, and how addresses move between them."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"!has(self.interface) || !(self.interface in {list(_NEVER_FOR_DIRECTORS)})",
            check=lambda self: self.interface not in _NEVER_FOR_DIRECTORS,
            message="lo and tunnel devices (tunl0, ip6tnl0, gre0, ip6gre0) are where real servers carry a VIP "
            "silently; a director needs a device on the clients' link",
            field="interface",
        ),
        Rule(
            cel="!has(self.vrrp) || self.failover == 'VRRP'",
            check=lambda self: self.vrrp is None or self.failover == Failover.VRRP,
            message="vrrp is only for failover VRRP",
            field="vrrp",
        ),
    )

    nodes: DirectorNodes
    """The directors."""
    interface: InterfaceName | None = None
    """The network device that carries the VIPs on every director; absent: the one whose subnet holds the address, else
    that of the default route."""
    failover: Failover = Failover.NONE
    """None: one director holds the addresses, see `status.active`; it changes only when that one has let go of them, or
    its Node is deleted or tainted node.kubernetes.io/out-of-service. VRRP: directors settle it among themselves, within
    seconds or less and without the API server."""
    vrrp: Vrrp | None = None
    """Only with failover VRRP; each field that is absent has its default."""
    maintenance: (
        Annotated[list[ObjectName], Field(max_length=MAX_PRIORITIES, json_schema_extra={"x-lvs-list-set": True})] | None
    ) = None
    """Directors that stand aside: they give the addresses to another that is ready, and carry them only where none is.
    A Node that is cordoned (kubectl cordon, kubectl drain) stands aside by itself."""
    ignore_answers_from: (
        Annotated[list[MacAddress], Field(max_length=16, json_schema_extra={"x-lvs-list-set": True})] | None
    ) = None
    """MAC addresses by which the network itself answers ARP or neighbour solicitations for others (proxy ARP, a fabric
    that suppresses ARP), as AddressConflict names them: what they answer does not count where a director asks whether
    somebody has a VIP. Not that of a machine that may have the VIP itself: a director would take it all the same."""
    timeouts: Timeouts | None = None
    """Time-outs of connections, on every director; each that is absent is left as the node has it."""
    sysctls: IpvsSysctls | None = None
    """Sysctls of net.ipv4.vs, on every director; each that is absent is as the services need it, or as the node has
    it."""
    connection_sync: Annotated[ConnectionSync | None, Ipvs("CMD_NEW_DAEMON", ("--start-daemon",))] = None
    """The director that holds the addresses tells the others of its connections, so that these go on where one of them
    takes over; absent: nobody is told."""


class GroupMember(ApiModel):
    """One director of the group."""

    node: ObjectName
    """The Node."""
    holds_addresses: bool = False
    """It reports that it holds the VIPs."""
    reporting: bool = False
    """Its agent has reported in its present boot."""
    stands_aside: StandingAside | None = None
    """Why it is to carry addresses only where no other director can. Maintenance: `spec.maintenance` names it.
    Cordoned: its Node takes no pods."""
    addresses: (
        Annotated[list[UsableIpAddress], Field(max_length=2, json_schema_extra={"x-lvs-list-set": True})] | None
    ) = None
    """Its own, one of each family that it has, once its agent has named them. Directors that are real servers of their
    own services find one another by them, and with VRRP by unicast adverts go from and to them."""


class VirtualRouterStatus(ApiModel):
    """VIPs that move together."""

    id: VirtualRouterId
    """VRID."""
    priorities: (
        Annotated[
            list[DirectorPriority], Field(max_length=MAX_PRIORITIES, json_schema_extra={"x-lvs-list-key": "node"})
        ]
        | None
    ) = None
    """Of every director."""
    active: ObjectName | None = None
    """The Node that reports to be Master; absent: none does."""
    since: Annotated[str, Field(max_length=32)] | None = None
    """When it became that, by its own clock, RFC 3339."""
    message: Annotated[str, Field(max_length=512)] | None = None
    """Why it and not another, or why none."""


class HandOver(ApiModel):
    """A hand-over that a person asked for (kubectl lvs failover), and what came of it."""

    LONGEST_REQUEST: ClassVar[int] = 512

    request: Annotated[str, Field(min_length=1, max_length=LONGEST_REQUEST)]
    """The value of the annotation lvs-operator.io/hand-over."""
    state: HandOverState
    """UnderWay, and then one of the others for good. Refused: nothing was moved. Failed: nobody took the addresses
    over in time."""
    time: Annotated[str, Field(max_length=32)]
    """Since when it is in this state, RFC 3339."""
    giver: ObjectName | None = None
    """The director that carried the addresses when it was asked for."""
    message: Annotated[str, Field(max_length=512)]
    """What happened, or why not."""


class LvsDirectorGroupStatus(ApiModel):
    """Who the directors are now, and what they do."""

    active: ObjectName | None = None
    """The Node that holds, or is to hold, the addresses. With VRRP the one that reports to be Master of all virtual
    routers; absent where there are several."""
    directors: (
        Annotated[list[GroupMember], Field(max_length=64, json_schema_extra={"x-lvs-list-key": "node"})] | None
    ) = None
    """Every director; with VRRP by unicast also a former one that has not stopped yet."""
    virtual_routers: (
        Annotated[list[VirtualRouterStatus], Field(max_length=MAX_SPREAD, json_schema_extra={"x-lvs-list-key": "id"})]
        | None
    ) = None
    """With failover VRRP: the virtual routers, in the order in which VIPs are shared out among them."""
    vrrp_begins_with: ObjectName | None = None
    """Only while failover changes to VRRP: the Node that has carried the addresses since before. The others wait with
    VRRP until it is Master."""
    hand_over: HandOver | None = None
    """Present once a hand-over was asked for: the last one."""
    services: Count | None = None
    """LvsVirtualServices served."""
    observed_generation: Generation | None = None
    """The generation of the spec that this status speaks of."""
    conditions: (
        Annotated[list[Condition], Field(max_length=16, json_schema_extra={"x-lvs-list-key": "type"})] | None
    ) = None
    """Accepted, Ready; SettingsApplied where the spec has settings of the whole node."""
