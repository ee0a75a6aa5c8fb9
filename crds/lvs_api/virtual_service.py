"""LvsVirtualService: addresses and ports that directors balance over a pool."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from lvs_api.api_group import DEFAULT_DIRECTOR_GROUP
from lvs_api.base import ApiModel
from lvs_api.conditions import Condition
from lvs_api.network_types import (
    Forwarding,
    ObjectName,
    Port,
    PortName,
    Protocol,
    Scheduler,
    SchedulerFlag,
    ServicePortNumber,
    UsableIpAddress,
)


class ServicePort(ApiModel):
    """One port of a virtual service."""

    name: PortName
    """Unique within the service."""
    protocol: Protocol = Protocol.TCP
    """TCP or UDP."""
    port: ServicePortNumber
    """The port clients connect to, 1 to 65535; 0 means every port and needs `persistence`."""
    real_server_port: Port | None = None
    """The real servers' port where it differs; only with Masquerade, for the other methods leave ports as they are."""


class Persistence(ApiModel):
    """Connections of one client stick to one real server."""

    timeout_seconds: Annotated[int, Field(ge=1, le=2678400)] = 300
    """Seconds that a client sticks after its last connection ended (ipvsadm -p)."""
    ipv4_prefix_length: Annotated[int, Field(ge=1, le=32)] = 32
    """Clients that share this many leading bits are one client (ipvsadm -M)."""
    ipv6_prefix_length: Annotated[int, Field(ge=1, le=128)] = 128
    """The same for IPv6."""


class RealServerPoolReference(ApiModel):
    """A LvsRealServerPool of the same namespace."""

    name: ObjectName
    """Its name."""


class DirectorGroupReference(ApiModel):
    """A LvsDirectorGroup."""

    name: ObjectName = DEFAULT_DIRECTOR_GROUP
    """Its name."""


class LvsVirtualServiceSpec(ApiModel):
    """What the user wants."""

    addresses: Annotated[list[UsableIpAddress], Field(min_length=1, max_length=2)]
    """The virtual IP addresses (VIPs): one, or one of each family, in canonical spelling."""
    ports: Annotated[
        list[ServicePort], Field(min_length=1, max_length=32, json_schema_extra={"x-lvs-list-key": "name"})
    ]
    """The ports that are balanced, each a kernel service of its own per address."""
    scheduler: Scheduler = Scheduler.WLC
    """How the real server of a new connection is chosen (ipvsadm -s)."""
    scheduler_flags: Annotated[list[SchedulerFlag], Field(max_length=2)] | None = None
    """Options of sh and mh (ipvsadm -b)."""
    forwarding: Forwarding = Forwarding()
    """How packets reach the real servers."""
    persistence: Persistence | None = None
    """Present: connections of one client stick to one real server."""
    one_packet_scheduling: bool = False
    """Schedule every UDP datagram by itself (ipvsadm -o); only where all ports are UDP."""
    real_server_pool_ref: RealServerPoolReference
    """The pool behind this service."""
    director_group_ref: DirectorGroupReference = DirectorGroupReference()
    """The directors that serve it; immutable."""
    paused: bool = False
    """True: agents leave everything of this service as it is."""


class DirectorState(StrEnum):
    """What a director does for a service."""

    ACTIVE = "Active"
    STANDBY = "Standby"
    PENDING = "Pending"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


class DirectorStatus(ApiModel):
    """One director's part in the service."""

    node: ObjectName
    """The Node."""
    state: DirectorState
    """Active: programmed and holds the addresses; Standby: programmed; Pending; Failed: see the condition; Unknown."""
    message: Annotated[str, Field(max_length=512)] | None = None
    """Why, where it is Failed or Pending."""


class RealServerCounts(ApiModel):
    """How many real servers there are and can take connections."""

    total: Annotated[int, Field(ge=0)] = 0
    """In the pool."""
    ready: Annotated[int, Field(ge=0)] = 0
    """With weight on the active director."""
    draining: Annotated[int, Field(ge=0)] = 0
    """On their way out."""


class LvsVirtualServiceStatus(ApiModel):
    """What is."""

    addresses: Annotated[list[UsableIpAddress], Field(max_length=2)] | None = None
    """The addresses accepted for this service; they stay its own until it is gone."""
    directors: (
        Annotated[list[DirectorStatus], Field(max_length=64, json_schema_extra={"x-lvs-list-key": "node"})] | None
    ) = None
    """The group's directors."""
    real_servers: RealServerCounts | None = None
    """Counts, written at most once in 5 seconds."""
    observed_generation: int | None = None
    """The generation of the spec that this status speaks of."""
    conditions: (
        Annotated[list[Condition], Field(max_length=16, json_schema_extra={"x-lvs-list-key": "type"})] | None
    ) = None
    """Accepted, ResolvedRefs, Programmed, Ready."""
