"""LvsRealServerPool: who the real servers are, how they are checked, drained and weighted."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from lvs_api.base import ApiModel, Rule
from lvs_api.conditions import Condition
from lvs_api.ipvs_terms import Ipvs
from lvs_api.network_types import (
    MEMBER_PREFIXES,
    Count,
    EndpointPortName,
    Forwarding,
    Generation,
    LabelSelector,
    MemberName,
    ObjectName,
    Port,
    Threshold,
    UsableIpAddress,
    Weight,
)
from lvs_api.patterns import HTTP_HOST, HTTP_PATH


class RealServerState(StrEnum):
    """Whether a real server takes part."""

    ACTIVE = "Active"
    DRAINING = "Draining"
    DISABLED = "Disabled"


class RealServer(ApiModel):
    """One machine, named by its address."""

    name: MemberName
    """Unique within the pool; names that begin with `node.` or `node6.` belong to nodes found by selector, those with
    `endpoint.` to endpoints of a Service."""
    address: Annotated[UsableIpAddress, Ipvs("DEST_ATTR_ADDR, DEST_ATTR_ADDR_FAMILY", ("--real-server",))]
    """Where the director sends packets. Where it is a cluster Node's, that node prepares itself for the service."""
    port: Annotated[Port | None, Ipvs("DEST_ATTR_PORT", ("--real-server",))] = None
    """Its own port; only where the service has one port, and only with Masquerade."""
    weight: Annotated[Weight | None, Ipvs("DEST_ATTR_WEIGHT", ("--weight",))] = None
    """Share of new connections, 0 to 65535 (0: none); the pool's weight when absent."""
    forwarding: Forwarding | None = None
    """The service's forwarding when absent."""
    upper_threshold: Annotated[Threshold, Ipvs("DEST_ATTR_U_THRESH", ("--u-threshold",))] = 0
    """No new connections at this many (ipvsadm -x); 0: no bound."""
    lower_threshold: Annotated[Threshold, Ipvs("DEST_ATTR_L_THRESH", ("--l-threshold",))] = 0
    """New connections again below this many (ipvsadm -y); 0: three quarters of the upper threshold, as the kernel has
    it."""
    state: RealServerState = RealServerState.ACTIVE
    """Draining: no new connections, removed when idle or after `drain`; Disabled: left out."""

    rules = (
        Rule(
            cel=" && ".join(f"!self.name.startsWith('{prefix}')" for prefix in MEMBER_PREFIXES),
            check=lambda self: not self.name.startswith(MEMBER_PREFIXES),
            message="names that begin with node. or node6. belong to nodes found by selector, with endpoint. to "
            "endpoints of a Service",
            field="name",
        ),
        Rule(
            cel="(has(self.lowerThreshold) ? self.lowerThreshold : 0) <= "
            "(has(self.upperThreshold) ? self.upperThreshold : 0)",
            check=lambda self: self.lower_threshold <= self.upper_threshold,
            message="lowerThreshold must be at most upperThreshold, 0 when that is absent",
            field="lowerThreshold",
        ),
    )


class NodeAddressType(StrEnum):
    """Which address of a Node is used."""

    INTERNAL_IP = "InternalIP"


class NodeMembers(ApiModel):
    """Cluster nodes as real servers."""

    selector: LabelSelector
    """Which Nodes, by their labels."""
    address_type: NodeAddressType = NodeAddressType.INTERNAL_IP
    """Which of a Node's addresses the directors send packets to."""


class EndpointServiceReference(ApiModel):
    """A Service of the pool's own namespace."""

    name: ObjectName
    """Its name."""


class EndpointMembers(ApiModel):
    """The endpoints of a Service as real servers, as its EndpointSlices tell them: pods, or what stands there by hand.

    Only with Masquerade, for pods carry no VIP.
    """

    service_ref: EndpointServiceReference
    """Whose EndpointSlices (label `kubernetes.io/service-name`), whoever manages them."""
    port_name: EndpointPortName | None = None
    """Which of the Service's ports, by its name; only where the LvsVirtualService has one port. When absent each port
    of the LvsVirtualService takes the one of the same name, and where both have only one, that one."""


class TcpCheck(ApiModel):
    """A connection is opened and closed."""


class HttpCheck(ApiModel):
    """A GET request is sent and its answer's status compared."""

    path: Annotated[str, Field(min_length=1, max_length=1024, pattern=HTTP_PATH)] = "/"
    """Path and query."""
    host: Annotated[str, Field(min_length=1, max_length=253, pattern=HTTP_HOST)] | None = None
    """The Host header; the real server's address when absent."""
    expected_statuses: (
        Annotated[
            list[Annotated[int, Field(ge=100, le=599)]],
            Field(min_length=1, max_length=16, json_schema_extra={"x-lvs-list-set": True}),
        ]
        | None
    ) = None
    """Statuses that pass; any 2xx when absent."""


class HealthCheck(ApiModel):
    """How a director finds out whether a real server can take connections: exactly one of `tcp`, `http`."""

    interval_seconds: Annotated[int, Field(ge=1, le=3600)] = 2
    """Between the starts of two checks of one real server."""
    timeout_seconds: Annotated[int, Field(ge=1, le=300)] = 1
    """After this a check has failed; at most the interval."""
    rise: Annotated[int, Field(ge=1, le=100)] = 2
    """Passed checks in a row that bring a real server in."""
    fall: Annotated[int, Field(ge=1, le=100)] = 3
    """Failed checks in a row that take it out."""
    port: Port | None = None
    """The port to check; the real server's port when absent (needed when that is 0, or an SCTP port)."""
    tcp: TcpCheck | None = None
    """Connect."""
    http: HttpCheck | None = None
    """Ask for a page."""

    rules = (
        Rule(
            cel="has(self.tcp) != has(self.http)",
            check=lambda self: (self.tcp is None) != (self.http is None),
            message="exactly one of tcp and http is needed",
            field="",
        ),
        Rule(
            cel="self.timeoutSeconds <= self.intervalSeconds",
            check=lambda self: self.timeout_seconds <= self.interval_seconds,
            message="timeoutSeconds must be at most intervalSeconds",
            field="timeoutSeconds",
        ),
    )


class OnFailure(StrEnum):
    """What becomes of a real server that failed its checks."""

    ZERO_WEIGHT = "ZeroWeight"
    REMOVE = "Remove"


class Drain(ApiModel):
    """How a real server leaves."""

    timeout_seconds: Annotated[int, Field(ge=0, le=86400)] | None = None
    """A leaving real server gets no new connections and is removed when it has none left, at the latest after this.
    When absent 300, and 0 in a virtual service of UDP without `onePacketScheduling`: its clients go to another one at
    once."""


def _members_are_distinct(spec: Any) -> bool:  # noqa: ANN401 -- see Rule.check
    members = spec.real_servers or []
    return len({(member.address, member.port) for member in members}) == len(members)


class LvsRealServerPoolSpec(ApiModel):
    """Who the real servers are, how they are checked and how they leave.

    At least one of `realServers`, `nodes` and `endpoints` says who.
    """

    real_servers: (
        Annotated[list[RealServer], Field(max_length=256, json_schema_extra={"x-lvs-list-key": "name"})] | None
    ) = None
    """Machines by address."""
    nodes: NodeMembers | None = None
    """Cluster nodes by label."""
    endpoints: EndpointMembers | None = None
    """Pods, as endpoints of a Service. One gets weight while it is ready; one that is not keeps its connections
    (`onFailure`: ZeroWeight) or goes (Remove), and one that terminates or vanishes leaves as `drain` says, over UDP at
    once when it vanishes. While none is ready those that terminate and still serve keep their weight."""
    weight: Annotated[Weight, Ipvs("DEST_ATTR_WEIGHT", ("--weight",))] = 1
    """Weight of members that do not name their own."""
    health_check: HealthCheck | None = None
    """Absent: real servers are not checked and always count as healthy."""
    on_failure: OnFailure | None = None
    """ZeroWeight: no new connections, those that exist live on; Remove: the entry is taken out of the kernel. When
    absent ZeroWeight, and Remove in a virtual service of UDP without `onePacketScheduling`: who goes on sending from
    one port stays with a real server for as long as it has an entry."""
    drain: Drain = Drain()
    """How members leave."""

    rules = (
        Rule(
            cel="has(self.nodes) || has(self.endpoints) || (has(self.realServers) && size(self.realServers) > 0)",
            check=lambda self: self.nodes is not None or self.endpoints is not None or bool(self.real_servers),
            message="at least one of realServers, nodes and endpoints is needed",
            field="realServers",
        ),
        Rule(
            cel="!has(self.realServers) || self.realServers.all(a, self.realServers.exists_one(b, "
            "b.address == a.address && (has(b.port) ? b.port : 0) == (has(a.port) ? a.port : 0)))",
            check=_members_are_distinct,
            message="each address and port may stand only once",
            field="realServers",
        ),
    )


class LvsRealServerPoolStatus(ApiModel):
    """What the operator makes of it."""

    members: Count | None = None
    """Real servers found."""
    services: Count | None = None
    """LvsVirtualServices that use this pool."""
    observed_generation: Generation | None = None
    """The generation of the spec that this status speaks of."""
    conditions: (
        Annotated[list[Condition], Field(max_length=16, json_schema_extra={"x-lvs-list-key": "type"})] | None
    ) = None
    """Accepted, Ready."""
