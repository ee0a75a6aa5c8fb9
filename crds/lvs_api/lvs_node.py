"""LvsNode: what one node must be, and what its agent says it is."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from lvs_api.base import ApiModel
from lvs_api.bind_device import MAX_GUE_PORTS, MAX_NODE_ADDRESSES, BindDevice
from lvs_api.conditions import Condition
from lvs_api.network_types import (
    Count,
    Family,
    Generation,
    LabelledName,
    ObjectName,
    Port,
    SliceMemberName,
    UsableIpAddress,
)

MAX_EXCEPTIONS = 128
MAX_OWN_ADDRESSES = 32
MAX_VIRTUAL_ROUTERS = 64
MAX_HEARD = 8
MAX_NODE_SETTINGS = 64
MAX_DIRECTOR_ADDRESSES = 256
MAX_DRAINED_MEMBERS = 256
"""Of one service; the others are named when these are gone."""


class NodeAddress(ApiModel):
    """A VIP that this real-server node must bind, silenced."""

    address: UsableIpAddress
    """The VIP."""
    device: BindDevice
    """lo for DirectRouting; for Tunnel tunl0 or ip6tnl0 (IPIP, GUE), gre0 or ip6gre0 (GRE)."""
    gue_ports: (
        Annotated[list[Port], Field(max_length=MAX_GUE_PORTS, json_schema_extra={"x-lvs-list-set": True})] | None
    ) = None
    """UDP ports at which packets for the VIP come in by GUE."""


class LvsNodeSpec(ApiModel):
    """What the operator wants of the node."""

    director_groups: (
        Annotated[list[LabelledName], Field(max_length=16, json_schema_extra={"x-lvs-list-set": True})] | None
    ) = None
    """The LvsDirectorGroups in which it is a director."""
    gives_way: (
        Annotated[list[LabelledName], Field(max_length=16, json_schema_extra={"x-lvs-list-set": True})] | None
    ) = None
    """Of these the ones whose addresses another director is to carry: it lets go of them. With VRRP it does so for some
    seconds and is a Backup again then, whoever has them; without, for as long as the group is named here."""
    addresses: (
        Annotated[
            list[NodeAddress],
            Field(max_length=MAX_NODE_ADDRESSES, json_schema_extra={"x-lvs-list-key": "address,device"}),
        ]
        | None
    ) = None
    """VIPs to bind and keep silent about."""
    director_addresses: (
        Annotated[
            list[UsableIpAddress], Field(max_length=MAX_DIRECTOR_ADDRESSES, json_schema_extra={"x-lvs-list-set": True})
        ]
        | None
    ) = None
    """With VIPs on a tunnel device: every address that their directors send from. Wrapped packets are unwrapped from
    these only. Absent: not all of them are known (yet), and packets are unwrapped whoever sends them."""


class NodeAddressState(StrEnum):
    """What became of an address."""

    BOUND = "Bound"
    FAILED = "Failed"
    CONFLICT = "Conflict"


class NodeAddressStatus(ApiModel):
    """A VIP on this node."""

    address: UsableIpAddress
    """The VIP."""
    device: BindDevice
    """Where it is."""
    state: NodeAddressState
    """Bound: bound, this node does not answer ARP for it, and its `guePorts` are open."""
    message: Annotated[str, Field(max_length=256)] | None = None
    """Why it is not Bound."""
    closed_ports: (
        Annotated[list[Port], Field(max_length=MAX_GUE_PORTS, json_schema_extra={"x-lvs-list-set": True})] | None
    ) = None
    """All that keeps it from being Bound: these of its `guePorts` are not open. What comes to it in any other way is
    received."""


class VirtualRouterState(StrEnum):
    """What a director does in a virtual router."""

    MASTER = "Master"
    BACKUP = "Backup"
    FAULT = "Fault"


class VirtualRouterReport(ApiModel):
    """A virtual router as this director takes part in it."""

    id: Annotated[int, Field(ge=1, le=255)]
    """VRID."""
    family: Family
    """Of its addresses."""
    state: VirtualRouterState
    """Master: it carries the addresses. Backup: it would take them where it hears no Master. Fault: it would not."""
    since: Annotated[str, Field(max_length=32)] | None = None
    """When it became that, RFC 3339."""
    message: Annotated[str, Field(max_length=256)] | None = None
    """Why it is in Fault."""
    heard_from: (
        Annotated[
            list[Annotated[str, Field(max_length=45)]],
            Field(max_length=MAX_HEARD, json_schema_extra={"x-lvs-list-set": True}),
        ]
        | None
    ) = None
    """Addresses from which adverts of it came lately: of the other directors, or of strangers. Over IPv4 only."""


class DirectorReport(ApiModel):
    """What this node does as a director of one group."""

    name: LabelledName
    """The LvsDirectorGroup."""
    view_digest: Annotated[str, Field(max_length=64)] | None = None
    """Which state of the group's slices is programmed and verified (sha256 over uid and generation, in hex)."""
    holds_addresses: bool = False
    """It carries at least one VIP of the group on its network device."""
    virtual_routers: (
        Annotated[
            list[VirtualRouterReport],
            Field(max_length=MAX_VIRTUAL_ROUTERS, json_schema_extra={"x-lvs-list-key": "id,family"}),
        ]
        | None
    ) = None
    """With failover VRRP: what it does in each virtual router of the group."""
    group_generation: Generation | None = None
    """The generation of the LvsDirectorGroup whose settings of the whole node are in force, but for what SettingsDiffer
    says."""


class NodeSettingStatus(ApiModel):
    """A setting of IPVS that this node has once, as it is to be."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    """The field, below LvsDirectorGroup.spec."""
    value: Annotated[str, Field(max_length=256)]
    """What it is to be; a switch is 0 or 1."""
    message: Annotated[str, Field(max_length=512)]
    """Who wants that, and why; or why it is not so."""
    reason: Annotated[str, Field(max_length=64)] | None = None
    """Why it is not so, one of the condition reasons; absent: it is."""


class ServiceException(ApiModel):
    """A service that is not simply programmed with every real server ready."""

    namespace: ObjectName
    """The service's namespace."""
    name: ObjectName
    """The service."""
    reason: Annotated[str, Field(max_length=64)]
    """One of the condition reasons."""
    message: Annotated[str, Field(max_length=512)]
    """What is the matter."""
    programmed: bool
    """False: the kernel does not hold what the slices say."""
    ready: Count | None = None
    """Real servers with weight."""
    draining: Count | None = None
    """Real servers still draining."""


class DrainedMembers(ApiModel):
    """Members of a service whose drain is over on this director."""

    namespace: ObjectName
    """The service's namespace."""
    name: ObjectName
    """The service."""
    members: Annotated[
        list[SliceMemberName], Field(max_length=MAX_DRAINED_MEMBERS, json_schema_extra={"x-lvs-list-set": True})
    ]
    """Names in its slices."""


class NodeCapabilities(ApiModel):
    """What the node's kernel can do."""

    kernel_version: Annotated[str, Field(max_length=128)] | None = None
    """uname -r."""
    ipvs_version: Annotated[str, Field(max_length=32)] | None = None
    """As the kernel's IPVS says; absent when IPVS is not available."""


class CountersZeroed(ApiModel):
    """The last request to let counters begin at 0, and what came of it."""

    LONGEST_REQUEST: ClassVar[int] = 512

    request: Annotated[str, Field(min_length=1, max_length=LONGEST_REQUEST)]
    """The value of the annotation lvs-operator.io/zero that was carried out."""
    time: Annotated[str, Field(max_length=32)]
    """When, RFC 3339."""
    services: Count
    """How many virtual services of the kernel: 0 where none of that name is here."""


class LvsNodeStatus(ApiModel):
    """What the node's agent says. Written only when something differs."""

    boot_id: Annotated[str, Field(max_length=64)] | None = None
    """/proc/sys/kernel/random/boot_id of the boot that this speaks of."""
    agent_version: Annotated[str, Field(max_length=64)] | None = None
    """The agent's version."""
    observed_generation: Generation | None = None
    """The generation of the spec that this status speaks of."""
    capabilities: NodeCapabilities | None = None
    """What the kernel can do."""
    addresses: (
        Annotated[
            list[NodeAddressStatus],
            Field(max_length=MAX_NODE_ADDRESSES, json_schema_extra={"x-lvs-list-key": "address,device"}),
        ]
        | None
    ) = None
    """VIPs of a real-server node; one that is gone from here is no longer bound."""
    own_addresses: (
        Annotated[
            list[UsableIpAddress], Field(max_length=MAX_OWN_ADDRESSES, json_schema_extra={"x-lvs-list-set": True})
        ]
        | None
    ) = None
    """Addresses of the node's own, with a subnet, and those that it sends wrapped packets from; of directors only. None
    of them is a VIP that it carries, whatever its kubelet reports."""
    director_groups: (
        Annotated[list[DirectorReport], Field(max_length=16, json_schema_extra={"x-lvs-list-key": "name"})] | None
    ) = None
    """Its part as a director."""
    drained: (
        Annotated[
            list[DrainedMembers],
            Field(max_length=MAX_EXCEPTIONS, json_schema_extra={"x-lvs-list-key": "namespace,name"}),
        ]
        | None
    ) = None
    """Members that may be removed."""
    exceptions: (
        Annotated[
            list[ServiceException],
            Field(max_length=MAX_EXCEPTIONS, json_schema_extra={"x-lvs-list-key": "namespace,name"}),
        ]
        | None
    ) = None
    """Services with something to say, the worst first: not programmed, then draining, then the others. Every other
    service is programmed with all real servers ready."""
    truncated: bool = False
    """There were more exceptions than fit: of services not named it is only known that they are no worse than the last
    one named."""
    settings: (
        Annotated[
            list[NodeSettingStatus], Field(max_length=MAX_NODE_SETTINGS, json_schema_extra={"x-lvs-list-key": "name"})
        ]
        | None
    ) = None
    """Settings of IPVS that it has once, as far as somebody wants them."""
    release_token: Annotated[str, Field(max_length=64)] | None = None
    """Present while something is held, see the conditions RemovalHeld and ClusterChanged. The annotation
    lvs-operator.io/release with this value (kubectl lvs release) lets go what is held now, and nothing else."""
    counters_zeroed: CountersZeroed | None = None
    """Present once counters were zeroed on request (kubectl lvs zero): the last time."""
    conditions: (
        Annotated[list[Condition], Field(max_length=16, json_schema_extra={"x-lvs-list-key": "type"})] | None
    ) = None
    """Ready, and what the node as a whole suffers from, such as IPVSUnavailable."""

    @property
    def rest_is_programmed(self) -> bool:
        """Whether every service that is not among the exceptions is programmed, with nothing left to drain."""
        last = self.exceptions[-1] if self.exceptions else None
        return not self.truncated or (last is not None and last.programmed and not last.draining)
