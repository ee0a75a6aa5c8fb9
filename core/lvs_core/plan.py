"""What one node has to do, in LVS words: the virtual services it directs and the VIPs it carries or silences.

Health, drains and time come on top in the agent; a plan changes only when the objects do.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from lvs_api.bind_device import BindDevice
from lvs_api.network_types import (
    Family,
    ForwardingMethod,
    PersistenceEngine,
    Protocol,
    Scheduler,
    SchedulerFlag,
    TunnelChecksum,
    TunnelType,
)
from lvs_api.real_server_pool import OnFailure
from lvs_core.cluster_view import ObjectKey
from lvs_core.group_settings import NO_SETTINGS, NodeSettings
from lvs_core.udp_flows import has_flows
from lvs_core.vrrp import VrrpPlan

IpAddress = IPv4Address | IPv6Address


def family_of_ip(address: IpAddress) -> Family:
    """The family of a parsed address."""
    return Family.IPV6 if isinstance(address, IPv6Address) else Family.IPV4


@dataclass(frozen=True, kw_only=True, slots=True)
class VirtualServerKey:
    """What clients connect to. Port 0 is every port that has no virtual service of its own."""

    address: IpAddress
    port: int
    protocol: Protocol

    def __str__(self) -> str:
        host = f"[{self.address}]" if family_of_ip(self.address) is Family.IPV6 else str(self.address)
        return f"{self.protocol} {host}:{self.port}"


@dataclass(frozen=True, kw_only=True, slots=True)
class MarkKey:
    """Packets of one family that carry a mark, whatever their address and port."""

    mark: int
    family: Family

    def __str__(self) -> str:
        return f"mark {self.mark} {self.family}"


AnyVirtualKey = VirtualServerKey | MarkKey


def protocols_of(key: AnyVirtualKey, marked: Iterable[VirtualServerKey]) -> frozenset[Protocol]:
    """What its packets may be; empty under a mark of which nobody has said to what it is given."""
    return frozenset({key.protocol} if isinstance(key, VirtualServerKey) else {one.protocol for one in marked})


@dataclass(frozen=True, kw_only=True, slots=True)
class TcpTarget:
    """A connection is opened and closed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpTarget:
    """A GET request is sent."""

    path: str
    host: str | None
    """The Host header; the checked address when None."""
    expected_statuses: tuple[int, ...]
    """Sorted; empty: any 2xx."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckTarget:
    """One check to run. Equal targets are one check, however many virtual services ask for it."""

    address: IpAddress
    port: int
    what: TcpTarget | HttpTarget
    interval_seconds: int
    timeout_seconds: int
    rise: int
    fall: int


class PlannedTunnel(NamedTuple):
    """How packets are wrapped."""

    type: TunnelType
    port: int = 0
    """UDP, with GUE; else 0."""
    checksum: TunnelChecksum | None = None
    """Only with GUE."""

    def __str__(self) -> str:
        port = f" to port {self.port}" if self.port else ""
        return f"{self.type}{port}" + (f" with checksum {self.checksum}" if self.checksum is not None else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class FormerMethod:
    """An earlier way of forwarding of which connections may live on; see `SliceMember.former`."""

    method: ForwardingMethod
    timeout_seconds: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedMember:
    """A real server in one virtual service."""

    name: str
    """Its name in the slices, by which `LvsNode.status.drained` speaks of it."""
    address: IpAddress
    port: int
    """Where packets go; 0 in a virtual service of port 0 or of a mark: they keep their port."""
    weight: int
    """What the user gave it. It may have it only where `may_have_weight` says so and its check passes."""
    method: ForwardingMethod
    tunnel: PlannedTunnel | None
    """Only with Tunnel."""
    source_nat: bool
    """Only with Masquerade: it sees the director's own address instead of the client's."""
    upper_threshold: int
    lower_threshold: int
    check: CheckTarget | None
    """None: it is not checked and counts as healthy."""
    node: str | None
    """The cluster Node that it is."""
    prepared: bool
    boot_id: str | None
    """The boot of the node for which `prepared` was said."""
    refused: str | None
    """A reason for which it never gets weight; its entry is not made in the kernel."""
    former: FormerMethod | None
    draining_seconds: int | None
    """Not None: weight 0 at once; drained when it has no connections, at the latest after this."""
    is_here: bool = False
    """It is this director itself, to which the kernel gives what falls to it: nothing has to be prepared for that."""
    unready: bool = False
    """An endpoint that is not ready, or not there any more."""

    @property
    def may_have_weight(self) -> bool:
        """Whether the objects alone permit it new connections."""
        return self.prepared and self.refused is None and self.draining_seconds is None


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedPersistence:
    """Clients that share so many leading bits of their address stick to one real server."""

    timeout_seconds: int
    prefix_length: int
    engine: PersistenceEngine | None = None
    """It finds, among such clients, those that are one."""


class PlannedQuorum(NamedTuple):
    """How much of the real servers must be in use, by their weights; see `lvs_api.quorum`."""

    weight: int
    hysteresis: int
    withdraws: bool
    """Below it the address is not to be carried for this service."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedService:
    """One virtual service of the kernel: one address, port and protocol of a LvsVirtualService, or its mark."""

    key: AnyVirtualKey
    vip: IpAddress | None
    """The address that brings its packets: directors carry it, real servers bind it. None under a mark where somebody
    else sees to that."""
    service: ObjectKey
    """The LvsVirtualService."""
    service_uid: str
    port_name: str | None
    """None under a mark: it stands for every port."""
    marked: tuple[VirtualServerKey, ...]
    """Packets to which the director gives the mark, sorted; empty where somebody else does, and without a mark."""
    delivered: bool
    """The director takes packets with the mark for itself, whatever their address."""
    ftp_ports: tuple[int, ...]
    """Ports, sorted, on which clients speak FTP that the kernel's helper is to follow."""
    scheduler: Scheduler
    scheduler_flags: tuple[SchedulerFlag, ...]
    persistence: PlannedPersistence | None
    one_packet_scheduling: bool
    on_failure: OnFailure
    drain_seconds: int
    """For members that vanish without having been announced as draining. Over UDP 0 where the pool names none."""
    paused: bool
    """Everything of this virtual service, its addresses too, stays as it is in the kernel."""
    members: tuple[PlannedMember, ...]
    """Those to which its packets can come, sorted by name: of the family of the key, or by GRE of the other one."""
    has_one_director: bool = False
    """Nobody else directs it: a DirectRouting or Tunnel member may be this director itself."""
    quorum: PlannedQuorum | None = None

    def claims(self) -> tuple[AnyVirtualKey, ...]:
        """What no other virtual service of the node can have."""
        return (self.key, *self.marked)

    @property
    def has_udp_flows(self) -> bool:
        """Whether some of its connections have no end while the client goes on sending; see `udp_flows`."""
        carried = protocols_of(self.key, self.marked)
        return has_flows(carried, one_packet_scheduling=self.one_packet_scheduling)

    @property
    def family(self) -> Family:
        """The family of its packets."""
        return self.key.family if isinstance(self.key, MarkKey) else family_of_ip(self.key.address)


class OtherDirector(NamedTuple):
    """Another director of a group."""

    node: str
    addresses: tuple[IpAddress, ...]
    """Its own, one of each family; empty until its agent has named them."""


class Holding(Enum):
    """What a director does with the VIPs of a group on its network device."""

    HOLD = "hold"
    """Carry and announce them."""
    RELEASE = "release"
    """Another director carries them: let go."""
    KEEP = "keep"
    """The group cannot be read or names nobody: carry on with what is carried, take nothing new."""
    VRRP = "vrrp"
    """`DirectorPlan.vrrp` says who does: the VRRP daemon binds and announces them, and lets them go."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DirectorPlan:
    """This node's part as a director of one group."""

    group: str
    view_digest: str
    """To report once all of this is programmed and verified."""
    holding: Holding
    interface: str | None
    """The network device that carries the VIPs; None: the one whose subnet holds the address, else the default
    route's."""
    addresses: tuple[IpAddress, ...]
    """The VIPs of `services`, sorted; carried where `holding` is HOLD. Under VRRP `vrrp` may have a gateway's beside
    them."""
    services: tuple[PlannedService, ...]
    """Sorted by service and key."""
    incomplete: tuple[ObjectKey, ...] = ()
    """Services of which the first slice has not been seen: what the kernel has of them stays as it is, and the report
    names them as exceptions that are not programmed."""
    conflicts: tuple[tuple[ObjectKey, AnyVirtualKey, ObjectKey], ...] = ()
    """(service, key, holder): virtual services left out because another service of this node has the same key."""
    held: tuple[tuple[ObjectKey, str], ...] = ()
    """(service, why): served as they were, though the API server no longer has all of that; the report names them as
    exceptions that are not programmed, for `view_digest` does not speak of what is held."""
    generation: int | None = None
    """Of the group, where it is known: its settings are among those of the plan."""
    vrrp: VrrpPlan | None = None
    """Where `holding` is VRRP."""
    own_addresses: tuple[IpAddress, ...] = ()
    """Of this director, by the group's status: one of each family."""
    others: tuple[OtherDirector, ...] = ()
    """The other directors of the group, by its status, in its order."""
    gives_way: bool = False
    """Another director is to carry the addresses: with VRRP it lets go for some seconds, once."""
    ignored_answers: frozenset[bytes] = frozenset()
    """MAC addresses of the network itself: by what they answer nobody has an address."""

    def methods(self) -> frozenset[tuple[Family, ForwardingMethod]]:
        """How this director forwards, by the family of the VIP: tells which sysctls it needs."""
        return frozenset((planned.family, member.method) for planned in self.services for member in planned.members)


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundAddress:
    """A VIP that this real-server node binds and keeps silent about."""

    address: IpAddress
    device: BindDevice
    gue_ports: tuple[int, ...] = ()
    """UDP ports, sorted, at which packets for it come in by GUE: open before it is bound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodePlan:
    """All that one node has to do."""

    node: str
    observed_generation: int | None
    """Generation of the LvsNode.spec behind this; None where there is none (manifests)."""
    directing: tuple[DirectorPlan, ...] = ()
    """Sorted by group."""
    bind: tuple[BoundAddress, ...] = ()
    """Sorted by address and device."""
    director_addresses: tuple[IpAddress, ...] = ()
    """What the directors send wrapped packets from, sorted; empty: not (all) known."""
    provisional: bool = False
    """From the last view on disk, which may be older than what was served last: of what is there nothing is changed or
    taken away by it."""
    by_stored_view: bool = False
    """From that view, too, and the API server has told nothing since: what others have by now is not known."""
    settings: NodeSettings = NO_SETTINGS
    """What its groups want of the node as a whole."""

    def services(self) -> Iterator[PlannedService]:
        """The virtual services of all groups."""
        for director in self.directing:
            yield from director.services

    def checks(self) -> frozenset[CheckTarget]:
        """Every check that this node runs."""
        return frozenset(
            member.check for planned in self.services() for member in planned.members if member.check is not None
        )

    def bound_families(self) -> frozenset[tuple[Family, BindDevice]]:
        """Which families are bound on which devices: tells which silencing this node needs."""
        return frozenset((family_of_ip(bound.address), bound.device) for bound in self.bind)
