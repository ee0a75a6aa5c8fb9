"""LvsServiceSlice: one accepted service, resolved. Written by the operator, read by the directors' agents."""

from typing import Annotated

from pydantic import Field

from lvs_api.base import ApiModel
from lvs_api.network_types import (
    Forwarding,
    MemberName,
    ObjectName,
    Port,
    Scheduler,
    SchedulerFlag,
    UsableIpAddress,
    Weight,
)
from lvs_api.real_server_pool import Drain, HealthCheck, OnFailure
from lvs_api.virtual_service import Persistence, ServicePort

MEMBERS_PER_SLICE = 100


class SliceServiceReference(ApiModel):
    """The LvsVirtualService that a slice belongs to; of the same namespace."""

    name: ObjectName
    """Its name."""
    uid: Annotated[str, Field(min_length=1, max_length=64)]
    """Its uid."""


class AcceptedService(ApiModel):
    """The last accepted spec of the service."""

    generation: int
    """The generation of the LvsVirtualService that was accepted."""
    addresses: Annotated[list[UsableIpAddress], Field(min_length=1, max_length=2)]
    """VIPs."""
    ports: Annotated[
        list[ServicePort], Field(min_length=1, max_length=32, json_schema_extra={"x-lvs-list-key": "name"})
    ]
    """Ports."""
    scheduler: Scheduler
    """Scheduler."""
    scheduler_flags: Annotated[list[SchedulerFlag], Field(max_length=2)] | None = None
    """Its flags."""
    persistence: Persistence | None = None
    """Persistence."""
    one_packet_scheduling: bool = False
    """One-packet scheduling."""
    paused: bool = False
    """Agents leave everything of this service as it is."""


class AcceptedPool(ApiModel):
    """The last accepted settings of the pool."""

    name: ObjectName
    """The LvsRealServerPool."""
    generation: int
    """Its generation that was accepted."""
    health_check: HealthCheck | None = None
    """How members are checked."""
    on_failure: OnFailure
    """What becomes of a failed member."""
    drain: Drain
    """How members leave."""


class SliceMember(ApiModel):
    """One real server of the service."""

    name: MemberName
    """The real server's name in the pool, or `node.` and the Node's name for a node found by selector."""
    address: UsableIpAddress
    """Where packets go."""
    port: Port | None = None
    """Its own port where it has one; else the service port's realServerPort, else the service's port."""
    weight: Weight
    """The weight that the user gave; checks and preparation come on top."""
    forwarding: Forwarding
    """How packets reach it."""
    upper_threshold: Annotated[int, Field(ge=0, le=4294967295)] = 0
    """See the pool."""
    lower_threshold: Annotated[int, Field(ge=0, le=4294967295)] = 0
    """See the pool."""
    node: ObjectName | None = None
    """The cluster Node that it is; absent for a plain machine."""
    prepared: bool
    """It may get weight: its agent reported every VIP bound and silent in its present boot, or needs not (Masquerade, or
    a plain machine, which nobody can verify)."""
    boot_id: Annotated[str, Field(max_length=64)] | None = None
    """The boot of the node for which `prepared` was said."""
    refused: Annotated[str, Field(max_length=64)] | None = None
    """A reason for which it never gets weight, such as DirectorIsRealServer."""
    draining: Drain | None = None
    """Present: it is leaving; weight 0 at once, the director counts the time from when it first sees this."""


class LvsServiceSliceSpec(ApiModel):
    """One part of an accepted service: the first (index 0) carries the settings, each carries members."""

    service_ref: SliceServiceReference
    """Whose slice this is."""
    director_group: ObjectName
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
