"""What a kernel holds that concerns us: IPVS services, addresses and routes, as frozen values.

Identity and settings are types apart: a key finds an entry, settings are what may be changed in place.
Words are the kernel's: a *service* is a virtual service, a *destination* a real server in one service.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag, StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

IPAddress = IPv4Address | IPv6Address
IPV4: Final = 4
IPV6: Final = 6
"""Versions of addresses, as `ipaddress` counts them."""

HOST_PREFIX_LENGTH = {4: 32, 6: 128}


class AddressFamily(IntEnum):
    """AF_INET and AF_INET6 as Linux numbers them (kept here: this package may not import socket)."""

    IPV4 = 2
    IPV6 = 10

    @property
    def word(self) -> str:
        """As people and the API write it."""
        return "IPv4" if self is AddressFamily.IPV4 else "IPv6"


class TransportProtocol(IntEnum):
    """The IP protocol numbers for which IPVS balances connections."""

    TCP = 6
    UDP = 17
    SCTP = 132


class ForwardingMethod(IntEnum):
    """How a packet gets to the destination (IP_VS_CONN_F_FWD_MASK in linux/ip_vs.h)."""

    MASQUERADE = 0
    LOCAL = 1
    TUNNEL = 2
    DIRECT_ROUTE = 3
    BYPASS = 4
    OTHER = 7
    """Read from a foreign entry: the kernel stores numbers that its header files do not name."""


class TunnelType(IntEnum):
    """Encapsulation of a tunnel destination (IP_VS_CONN_F_TUNNEL_TYPE_* in linux/ip_vs.h)."""

    IPIP = 0
    GUE = 1
    GRE = 2
    OTHER = 255
    """Read from a foreign entry or a newer kernel."""


class TunnelFlag(IntFlag):
    """Checksum choices of GUE and GRE (IP_VS_TUNNEL_ENCAP_FLAG_* in linux/ip_vs.h)."""

    CHECKSUM = 1
    REMOTE_CHECKSUM = 2


class ServiceFlag(IntFlag):
    """Service flags that are settings; "persistent" and "hashed" are not: one is `Persistence`, one the kernel's own.

    SCHEDULER_1 and SCHEDULER_2 mean fallback and port to sh and mh; SCHEDULER_3 is unused by the kernel's schedulers.
    """

    ONE_PACKET = 0x04
    SCHEDULER_1 = 0x08
    SCHEDULER_2 = 0x10
    SCHEDULER_3 = 0x20


NO_SERVICE_FLAGS = ServiceFlag(0)
NO_TUNNEL_FLAGS = TunnelFlag(0)


_IPV4_LENGTH, _IPV4_REST = 4, bytes(12)
FAMILY_BYTE: Mapping[int, bytes] = {family.value: bytes((family,)) for family in AddressFamily}
_IPV4_FAMILY, _IPV6_FAMILY = FAMILY_BYTE[AddressFamily.IPV4], FAMILY_BYTE[AddressFamily.IPV6]


def family_of(address: IPAddress) -> AddressFamily:
    """The family of an address."""
    return AddressFamily.IPV4 if address.version == IPV4 else AddressFamily.IPV6


def packed_endpoint(address: IPAddress, port: int) -> bytes:
    """Address (16 bytes, an IPv4 one followed by zeros), port and family number: 19 bytes that no other one has."""
    packed = address.packed
    if len(packed) == _IPV4_LENGTH:
        return packed + _IPV4_REST + port.to_bytes(2, "big") + _IPV4_FAMILY
    return packed + port.to_bytes(2, "big") + _IPV6_FAMILY


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ServiceKey:
    """Identity of an IPVS service that is found by address, port and protocol. Port 0 catches every port."""

    protocol: TransportProtocol
    address: IPAddress
    port: int
    identity: bytes = field(init=False, repr=False)
    """The same in bytes. Each round compares and looks up tens of thousands of keys: over the fields it takes ten
    times as long."""

    def __post_init__(self) -> None:
        packed = packed_endpoint(self.address, self.port) + bytes((self.protocol,))
        object.__setattr__(self, "identity", packed)

    def __hash__(self) -> int:
        return hash(self.identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ServiceKey) and self.identity == other.identity

    @property
    def family(self) -> AddressFamily:
        """The family of the address."""
        return family_of(self.address)

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.family is AddressFamily.IPV6 else str(self.address)
        return f"{self.protocol.name} {host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallMarkKey:
    """Identity of an IPVS service that is found by a firewall mark; one mark may have a service per family."""

    family: AddressFamily
    mark: int

    def __str__(self) -> str:
        return f"mark {self.mark} {self.family.word}"


AnyServiceKey = ServiceKey | FirewallMarkKey


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DestinationKey:
    """Identity of a destination within its service."""

    address: IPAddress
    port: int
    identity: bytes = field(init=False, repr=False)
    """The same in bytes, as in `ServiceKey`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "identity", packed_endpoint(self.address, self.port))

    def __hash__(self) -> int:
        return hash(self.identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DestinationKey) and self.identity == other.identity

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == IPV6 else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Persistence:
    """One client (or one network of clients, by prefix length) sticks to a destination for so many seconds."""

    timeout_seconds: int
    prefix_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """What of a service may be edited in place."""

    scheduler: str
    flags: ServiceFlag = NO_SERVICE_FLAGS
    persistence: Persistence | None = None
    persistence_engine: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelSettings:
    """Encapsulation; port is GUE's UDP port and 0 otherwise."""

    type: TunnelType = TunnelType.IPIP
    port: int = 0
    flags: TunnelFlag = NO_TUNNEL_FLAGS


IPIP = TunnelSettings()


class ReceivePort(NamedTuple):
    """A UDP port of every address of a family at which the kernel unwraps GUE, whoever sends it (`ip fou`)."""

    family: AddressFamily
    port: int

    def __str__(self) -> str:
        return f"UDP port {self.port} for GUE by {self.family.word}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationSettings:
    """What of a destination may be edited in place. A threshold of 0 is no limit; tunnel counts for TUNNEL only."""

    weight: int
    method: ForwardingMethod
    upper_threshold: int = 0
    lower_threshold: int = 0
    tunnel: TunnelSettings = IPIP


class TrafficCounters(NamedTuple):
    """Totals since the entry was made or zeroed, and rates; a tuple, since each full read makes one per entry.

    Rates are the kernel's estimates: every two seconds it looks, and weighs the past in (ip_vs_est.c).
    """

    connections: int = 0
    in_packets: int = 0
    out_packets: int = 0
    in_bytes: int = 0
    out_bytes: int = 0
    connections_per_second: int = 0
    in_packets_per_second: int = 0
    out_packets_per_second: int = 0
    in_bytes_per_second: int = 0
    out_bytes_per_second: int = 0


NO_TRAFFIC = TrafficCounters()


class DestinationState(NamedTuple):
    """A destination as it was read. Connections are those now in the table; persistent ones are templates.

    A tuple, as `TrafficCounters` is one: a full read makes one per entry.
    """

    settings: DestinationSettings
    active_connections: int = 0
    inactive_connections: int = 0
    persistent_connections: int = 0
    counters: TrafficCounters = NO_TRAFFIC

    @property
    def connections(self) -> int:
        """Connections that still live on the destination; persistence templates are no connections."""
        return self.active_connections + self.inactive_connections


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """A service as it was read, with its destinations."""

    settings: ServiceSettings
    destinations: Mapping[DestinationKey, DestinationState] = field(default_factory=dict)
    counters: TrafficCounters = NO_TRAFFIC


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelIpvs:
    """The whole IPVS table of this network namespace, foreign entries included."""

    services: Mapping[AnyServiceKey, ServiceState] = field(default_factory=dict)
    wide_counters: bool = True
    """False where the kernel, older than 4.1, has counters of connections and packets of 32 bits, which begin anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedService:
    """A service as it shall be; an empty destinations mapping is a service that refuses every connection."""

    settings: ServiceSettings
    destinations: Mapping[DestinationKey, DestinationSettings] = field(default_factory=dict)


WantedIpvs = Mapping[AnyServiceKey, WantedService]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A network device. `arp_capable` tells that it answers ARP: neither loopback nor IFF_NOARP.

    `up` is how somebody set it (IFF_UP), `carrier` whether frames get through it now (IFF_RUNNING).
    """

    index: int
    name: str
    kind: str
    up: bool
    arp_capable: bool
    carrier: bool = True
    hardware_address: bytes = b""
    mtu: int = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceAddress:
    """An address on a device. `usable` is false while it is tentative or after duplicate detection failed."""

    device: str
    address: IPAddress
    prefix_length: int
    usable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressBinding:
    """An address of ours on a device, always as a host address (/32 or /128)."""

    address: IPAddress
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelLinks:
    """Devices by name, every address on them, and through which device each family's default route goes."""

    devices: Mapping[str, Device] = field(default_factory=dict)
    addresses: frozenset[InterfaceAddress] = frozenset()
    default_devices: Mapping[AddressFamily, str] = field(default_factory=dict)

    def bindings(self) -> frozenset[AddressBinding]:
        """The usable host addresses, by which our bindings are found."""
        return frozenset(
            AddressBinding(address=a.address, device=a.device)
            for a in self.addresses
            if a.usable and a.prefix_length == HOST_PREFIX_LENGTH[a.address.version]
        )


class RouteKind(StrEnum):
    """What the kernel would do with a packet to the address."""

    UNICAST = "unicast"
    LOCAL = "local"
    UNREACHABLE = "unreachable"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The kernel's answer for one address; without `next_hop` a unicast route is on link."""

    kind: RouteKind
    device: str | None = None
    next_hop: IPAddress | None = None
    source: IPAddress | None = None
    mtu: int | None = None
    """Where the route names one, or the kernel has learned of a smaller one on the way; else the device's counts."""

    @property
    def on_link(self) -> bool:
        """Whether frames go straight to the address, as DIRECT_ROUTE needs it."""
        return self.kind is RouteKind.UNICAST and self.next_hop is None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRoute:
    """A route of ours to one on-link address that names the address itself as the gateway."""

    address: IPAddress
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDelivery:
    """Packets that are taken for this machine's own by their mark, whatever their address."""

    rules: frozenset[FirewallMarkKey] = frozenset()
    """Marks with a rule of ours in the routing policy, which leads to our table."""
    routes: frozenset[AddressFamily] = frozenset()
    """Families of which every address is local in our table."""

    @classmethod
    def of(cls, marks: Iterable[FirewallMarkKey]) -> "LocalDelivery":
        """What these marks need."""
        rules = frozenset(marks)
        return cls(rules=rules, routes=frozenset(mark.family for mark in rules))


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsInfo:
    """What the kernel says about its IPVS."""

    version: str
    connection_table_size: int
