"""LvsServiceSlice: one accepted service, resolved. Written by the operator, read by the directors' agents."""

from typing import Annotated

from pydantic import Field

from lvs_api.base import ApiModel, Rule
from lvs_api.network_types import (
    Forwarding,
    Generation,
    LabelledName,
    ObjectName,
    Port,
    PortName,
    Scheduler,
    SchedulerFlag,
    SliceMemberName,
    Threshold,
    UsableIpAddress,
    Weight,
)
from lvs_api.quorum import Quorum
from lvs_api.real_server_pool import Drain, HealthCheck, OnFailure
from lvs_api.virtual_service import FirewallMark, Persistence, ServicePort

MEMBERS_PER_SLICE = 100


class SliceServiceReference(ApiModel):
    """The LvsVirtualService that a slice belongs to; of the same namespace."""

    name: ObjectName
    """Its name."""
    uid: Annotated[str, Field(min_length=1, max_length=64)]
    """Its uid."""


class AcceptedService(ApiModel):
    """The last accepted spec of the service."""

    generation: Generation
    """The generation of the LvsVirtualService that was accepted."""
    addresses: Annotated[list[UsableIpAddress], Field(min_length=1, max_length=2)] | None = None
    """VIPs."""
    ports: (
        Annotated[list[ServicePort], Field(min_length=1, max_length=32, json_schema_extra={"x-lvs-list-key": "name"})]
        | None
    ) = None
    """Ports."""
    firewall_mark: FirewallMark | None = None
    """Present: packets are found by this mark. Directors set it for packets to `ports`, where there are some."""
    scheduler: Scheduler
    """Scheduler."""
    scheduler_flags: (
        Annotated[list[SchedulerFlag], Field(max_length=2, json_schema_extra={"x-lvs-list-set": True})] | None
    ) = None
    """Its flags."""
    persistence: Persistence | None = None
    """Persistence."""
    one_packet_scheduling: bool = False
    """One-packet scheduling."""
    quorum: Quorum | None = None
    """How much of the real servers must be in use."""
    paused: bool = False
    """Agents leave everything of this service as it is."""


class AcceptedPool(ApiModel):
    """The last accepted settings of the pool."""

    name: ObjectName
    """The LvsRealServerPool."""
    generation: Generation
    """Its generation that was accepted."""
    health_check: HealthCheck | None = None
    """How members are checked."""
    on_failure: OnFailure
    """What becomes of a failed member."""
    udp_on_failure: OnFailure | None = None
    """Where the pool names none, what becomes of it in a virtual service of UDP without one-packet scheduling. Absent:
    the same. A field of its own, for agents of an older version read the other one."""
    drain: Drain
    """How members leave."""


class Leaving(ApiModel):
    """How a real server leaves."""

    timeout_seconds: Annotated[int, Field(ge=0, le=86400)]
    """It is removed when it has no connections left, at the latest after this. In a virtual service of UDP without
    one-packet scheduling at the latest after what the pool names, at once where it names none."""


class FormerForwarding(ApiModel):
    """A method by which a real server was reached before, connections of which may still live."""

    forwarding: Forwarding
    """How packets of those connections reach it."""
    timeout_seconds: Annotated[int, Field(ge=0, le=86400)]
    """How long the real server stays prepared for them, counted by each director from when it first sees this."""


class MemberPort(ApiModel):
    """Where packets for one port of a service go on a real server."""

    name: PortName
    """The service's port."""
    port: Port
    """The real server's."""


class SliceMember(ApiModel):
    """One real server of the service."""

    name: SliceMemberName
    """The real server's name in the pool; `node.` (by its IPv6 address `node6.`) and the Node's name for one found by
    selector; `endpoint.`, its address and its port for an endpoint of a Service."""
    address: UsableIpAddress
    """Where packets go."""
    port: Port | None = None
    """Its own port where it has one; else the service port's realServerPort, else the service's port."""
    ports: (
        Annotated[list[MemberPort], Field(min_length=1, max_length=32, json_schema_extra={"x-lvs-list-key": "name"})]
        | None
    ) = None
    """Present for an endpoint of a Service, where the LvsVirtualService has several ports: its own port for each of
    those that it serves."""
    weight: Weight
    """The weight that the user gave; checks and preparation come on top."""
    forwarding: Forwarding
    """How packets reach it."""
    upper_threshold: Threshold = 0
    """See the pool."""
    lower_threshold: Threshold = 0
    """See the pool."""
    node: ObjectName | None = None
    """The cluster Node that it is; absent for a plain machine."""
    prepared: bool
    """It may get weight: its agent reported every VIP bound and silent in its present boot, or none is needed
    (Masquerade, or a plain machine, which nobody can verify)."""
    boot_id: Annotated[str, Field(max_length=64)] | None = None
    """The boot of the node for which `prepared` was said."""
    refused: Annotated[str, Field(max_length=64)] | None = None
    """A reason for which it never gets weight, such as DirectorIsRealServer."""
    former: FormerForwarding | None = None
    """Present: the method was edited. The node keeps what the former one needs until every director names the member as
    drained: it has no connections left, or the time is up. Its weight is not touched."""
    unready: bool | None = None
    """True for an endpoint of a Service that is not ready, or not there any more: clients that go on sending by UDP do
    not stay with it, unless `onFailure` says so of one that is not ready."""
    draining: Leaving | None = None
    """Present: it is leaving; weight 0 at once, the director counts the time from when it first sees this."""


class LvsServiceSliceSpec(ApiModel):
    """One part of an accepted service: the first (index 0) carries the settings, each carries members."""

    service_ref: SliceServiceReference
    """Whose slice this is."""
    director_group: LabelledName
    """The LvsDirectorGroup that serves it; equal to the label."""
    index: Annotated[int, Field(ge=0, le=15)]
    """Position among the service's slices."""
    service: AcceptedService | None = None
    """Settings; only in the first slice."""
    pool: AcceptedPool | None = None
    """Settings of the pool; only in the first slice."""
    members: (
        Annotated[list[SliceMember], Field(max_length=MEMBERS_PER_SLICE, json_schema_extra={"x-lvs-list-key": "name"})]
        | None
    ) = None
    """Real servers; one never moves between slices."""

    rules = (
        Rule(
            cel="(self.index == 0) == has(self.service)",
            check=lambda self: (self.index == 0) == (self.service is not None),
            message="service stands in the first slice (index 0) and only there",
            field="service",
        ),
        Rule(
            cel="(self.index == 0) == has(self.pool)",
            check=lambda self: (self.index == 0) == (self.pool is not None),
            message="pool stands in the first slice (index 0) and only there",
            field="pool",
        ),
        Rule(
            cel="self.serviceRef == oldSelf.serviceRef",
            check=None,
            message="serviceRef is immutable",
            field="serviceRef",
        ),
        Rule(
            cel="self.directorGroup == oldSelf.directorGroup",
            check=None,
            message="directorGroup is immutable",
            field="directorGroup",
        ),
        Rule(cel="self.index == oldSelf.index", check=None, message="index is immutable", field="index"),
    )


class LvsServiceSliceStatus(ApiModel):
    """Nothing: what directors say of a slice is in their LvsNodes."""
