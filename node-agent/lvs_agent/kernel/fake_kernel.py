"""The seams without a kernel, for unit tests. They refuse what the kernel refuses, with its errno, and count writes.

The scenarios on real kernels run the same cases against both.
"""

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from lvs_agent.decide.changes import (
    AddDestination,
    AddService,
    BindAddress,
    DeleteDestination,
    DeleteService,
    EditDestination,
    EditService,
    IpvsChange,
    LinkChange,
    ZeroService,
)
from lvs_agent.decide.kernel_state import (
    HOST_PREFIX_LENGTH,
    IPIP,
    NO_TRAFFIC,
    AddressFamily,
    AnyServiceKey,
    DestinationKey,
    DestinationSettings,
    DestinationState,
    Device,
    ForwardingMethod,
    HostRoute,
    InterfaceAddress,
    IPAddress,
    IpvsInfo,
    KernelIpvs,
    KernelLinks,
    Route,
    RouteKind,
    ServiceSettings,
    ServiceState,
    SysctlKey,
    TunnelType,
    conf_key,
    family_of,
)
from lvs_agent.errors import (
    AddressRefused,
    DeviceNotFound,
    IpvsUnavailable,
    LinkError,
    NamespaceInUse,
    SysctlError,
)
from lvs_agent.kernel.interface import IpvsApplied, LinkFailure
from lvs_agent.kernel.ipvs import failures_of

SCHEDULERS = frozenset(
    {"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"},
)
_TUNNEL_KINDS = {"tunl0": "ipip", "ip6tnl0": "ip6tnl", "gre0": "gre", "ip6gre0": "ip6gre"}
_MAX_WEIGHT = (1 << 31) - 1
_MAX_THRESHOLD = (1 << 31) - 1
_NAME_LENGTH = 16  # IP_VS_SCHEDNAME_MAXLEN and IP_VS_PENAME_MAXLEN, the NUL included
_BROADCAST = IPv4Address("255.255.255.255")
_ALL_FORWARDING = conf_key("ipv6", "all", "forwarding")


def _shown(destinations: Mapping[DestinationKey, DestinationState]) -> Iterator[tuple[str, str, int]]:
    for key, state in destinations.items():
        yield str(key), state.settings.method.name, state.settings.weight


@dataclass(kw_only=True)
class FakeIpvsTable:
    """`IpvsTable` in memory. `services` may be changed behind the agent's back, as `ipvsadm` would."""

    services: dict[AnyServiceKey, ServiceState] = field(default_factory=dict)
    schedulers: frozenset[str] = SCHEDULERS
    persistence_engines: frozenset[str] = frozenset({"sip"})
    sync_daemon_runs: bool = False
    available: bool = True
    room: int | None = None
    """For how many services and destinations there is memory; None: for all."""
    shows_summary: bool = True
    """/proc/net/ip_vs is there."""
    knows_tunnel_types: bool = True
    """False: as before Linux 5.2, which passes over their attributes and makes every tunnel IPIP."""
    writes: int = 0
    reads: int = 0

    def info(self) -> IpvsInfo:
        """The version of the kernels since 2.6."""
        self._check_available()
        return IpvsInfo(version="1.2.1", connection_table_size=4096)

    def read(self) -> KernelIpvs:
        """The whole table."""
        return KernelIpvs(services=self._look())

    def read_services(self) -> Mapping[AnyServiceKey, ServiceSettings]:
        """Every service, without destinations."""
        return {key: state.settings for key, state in self._look().items()}

    def glance(self) -> bytes | None:
        """The same of what /proc/net/ip_vs shows, in another form."""
        if not self.shows_summary:
            return None
        lines = [
            (str(key), state.settings.scheduler, *_shown(state.destinations)) for key, state in self.services.items()
        ]
        return repr(lines).encode()

    def read_only(self, services: Iterable[AnyServiceKey]) -> KernelIpvs:
        """These services with their destinations."""
        wanted = set(services)
        return KernelIpvs(services={key: s for key, s in self._look().items() if key in wanted})

    def apply(self, changes: Sequence[IpvsChange]) -> IpvsApplied:
        """Carry out the changes in their order."""
        self._check_available()
        results = [(change, self._carry_out(change)) for change in changes]
        refused = [(change, code) for change, code in results if code]
        self.writes += len(results) - len(refused)
        return IpvsApplied(written=len(results) - len(refused), failures=failures_of(refused))

    def close(self) -> None:
        """Nothing to release."""

    def set_connections(
        self, service: AnyServiceKey, destination: DestinationKey, *, active: int, inactive: int = 0
    ) -> None:
        """As if clients had connected; a deleted and re-made destination loses them."""
        state = self.services[service]
        changed = state.destinations[destination]._replace(active_connections=active, inactive_connections=inactive)
        self.services[service] = replace(state, destinations={**state.destinations, destination: changed})

    def clear(self) -> None:
        """`ipvsadm -C` by somebody else."""
        self.services.clear()

    def _look(self) -> dict[AnyServiceKey, ServiceState]:
        self._check_available()
        self.reads += 1
        return dict(self.services)

    def _check_available(self) -> None:
        if not self.available:
            raise IpvsUnavailable("the kernel has no IPVS and could not load it: load the module ip_vs on this node")

    def _carry_out(self, change: IpvsChange) -> int:
        if isinstance(change, AddService | EditService | DeleteService):
            return self._change_service(change)
        if isinstance(change, ZeroService):
            return self._zero(change.service)
        return self._change_destination(change)

    def _is_full(self) -> bool:
        return self.room is not None and self.room <= sum(1 + len(one.destinations) for one in self.services.values())

    def _change_service(self, change: AddService | EditService | DeleteService) -> int:
        present = self.services.get(change.service)
        if isinstance(change, AddService) and present is not None:
            return errno.EEXIST
        if not isinstance(change, AddService) and present is None:
            return errno.ESRCH
        if isinstance(change, DeleteService):
            del self.services[change.service]
            return 0
        code = self._check_service(change.service, change.settings)
        if not code and present is None and self._is_full():
            code = errno.ENOMEM
        if not code:
            self.services[change.service] = replace(
                present or ServiceState(settings=change.settings), settings=change.settings
            )
        return code

    def _zero(self, key: AnyServiceKey) -> int:
        """As ip_vs_zero_service: counters and rates, not the connections."""
        state = self.services.get(key)
        if state is None:
            return errno.ESRCH
        destinations = {one: found._replace(counters=NO_TRAFFIC) for one, found in state.destinations.items()}
        self.services[key] = replace(state, counters=NO_TRAFFIC, destinations=destinations)
        return 0

    def _check_service(self, key: AnyServiceKey, settings: ServiceSettings) -> int:
        if len(settings.scheduler) >= _NAME_LENGTH or len(settings.persistence_engine) >= _NAME_LENGTH:
            return errno.EINVAL
        if settings.scheduler not in self.schedulers:
            return errno.ENOENT
        if settings.persistence_engine and settings.persistence_engine not in self.persistence_engines:
            return errno.ENOENT
        lengths = range(1, 129) if key.family is AddressFamily.IPV6 else range(33)
        if settings.persistence and settings.persistence.prefix_length not in lengths:
            return errno.EINVAL
        return 0

    def _change_destination(self, change: AddDestination | EditDestination | DeleteDestination) -> int:
        service = self.services.get(change.service)
        if service is None:
            return errno.ESRCH
        present = service.destinations.get(change.destination)
        if isinstance(change, AddDestination) and present is not None:
            return errno.EEXIST
        if not isinstance(change, AddDestination) and present is None:
            return errno.ENOENT
        destinations = dict(service.destinations)
        if isinstance(change, DeleteDestination):
            del destinations[change.destination]
        else:
            if code := self._check_destination(change.service, change.destination, change.settings):
                return code
            if present is None and self._is_full():
                return errno.ENOMEM
            made = change.settings if self.knows_tunnel_types else replace(change.settings, tunnel=IPIP)
            destinations[change.destination] = (present or DestinationState(made))._replace(settings=made)
        self.services[change.service] = replace(service, destinations=destinations)
        return 0

    def _check_destination(
        self, service: AnyServiceKey, destination: DestinationKey, settings: DestinationSettings
    ) -> int:
        """As ip_vs_add_dest, ip_vs_edit_dest and ip_vs_new_dest in ip_vs_ctl.c do."""
        address = destination.address
        if not 0 <= settings.weight <= _MAX_WEIGHT or settings.lower_threshold > settings.upper_threshold:
            return errno.ERANGE
        if settings.upper_threshold > _MAX_THRESHOLD:
            return errno.EINVAL
        tunnel = settings.tunnel
        asks_gue = settings.method is ForwardingMethod.TUNNEL and tunnel.type is TunnelType.GUE
        if asks_gue and tunnel.port == 0 and self.knows_tunnel_types:
            return errno.EINVAL
        mixed = family_of(address) is not service.family
        if mixed and (self.sync_daemon_runs or settings.method is not ForwardingMethod.TUNNEL):
            return errno.EINVAL
        return 0 if _is_host(address) else errno.EINVAL


def _is_host(address: IPAddress) -> bool:
    """What the kernel takes for a host's address; it takes loopback and 169.254.0.0/16, too."""
    if address.is_multicast or address.is_unspecified or address == _BROADCAST:
        return False
    return isinstance(address, IPv4Address) or (address.ipv4_mapped is None and not address.is_link_local)


@dataclass(slots=True)
class FakeHostRoutes:
    """`HostRoutes` in memory. `foreign` are addresses to which somebody else has a host route."""

    routes: set[HostRoute] = field(default_factory=set)
    foreign: set[IPAddress] = field(default_factory=set)
    writes: int = 0

    async def read(self) -> frozenset[HostRoute]:
        """Ours."""
        return frozenset(self.routes)

    async def add(self, route: HostRoute) -> None:
        """Refused where there is one to this address already."""
        if route.address in self.foreign | {present.address for present in self.routes}:
            raise AddressRefused(f"route to {route.address}: File exists")
        self.writes += 1
        self.routes.add(route)

    async def remove(self, route: HostRoute) -> None:
        """Take it away."""
        self.writes += route in self.routes
        self.routes.discard(route)

    async def close(self) -> None:
        """Nothing to release."""


@dataclass(kw_only=True)
class FakeLinks:
    """`Links` in memory. Tunnel devices come by themselves, as with their modules, unless `modules` is false."""

    devices: dict[str, Device] = field(default_factory=dict)
    addresses: set[InterfaceAddress] = field(default_factory=set)
    default_devices: dict[AddressFamily, str] = field(default_factory=dict)
    routes: dict[IPAddress, Route] = field(default_factory=dict)
    gateways: set[IPAddress] = field(default_factory=set)
    """Next hops beside those of `routes`, say of a default route."""
    modules: bool = True
    writes: int = 0
    wake: Callable[[], None] | None = None

    async def read(self, *, fresh: bool = False) -> KernelLinks:  # noqa: ARG002 (never stale)
        """Every device and address."""
        return KernelLinks(
            devices=dict(self.devices),
            addresses=frozenset(self.addresses),
            default_devices=dict(self.default_devices),
        )

    async def apply(self, changes: Sequence[LinkChange]) -> tuple[LinkFailure, ...]:
        """Bind and unbind."""
        failures: list[LinkFailure] = []
        for change in changes:
            try:
                self._carry_out(change)
            except LinkError as error:
                failures.append(LinkFailure(change=change, error=error))
        return tuple(failures)

    async def route_to(self, address: IPAddress) -> Route:
        """What `routes` says; LOCAL for addresses that are bound here."""
        if any(a.address == address for a in self.addresses):
            return Route(kind=RouteKind.LOCAL, device="lo")
        return self.routes.get(address, Route(kind=RouteKind.UNREACHABLE))

    async def next_hops(self) -> frozenset[IPAddress]:
        """Those of `routes`, and the gateways."""
        named = {route.next_hop for route in self.routes.values() if route.next_hop is not None}
        return frozenset(named | self.gateways)

    async def watch(self, wake: Callable[[], None]) -> None:
        """Remember whom to wake."""
        self.wake = wake

    async def close(self) -> None:
        """Nothing to release."""

    def add_device(self, name: str, *, kind: str = "", arp_capable: bool = True) -> None:
        """A device as if somebody had plugged it in."""
        index = len(self.devices) + 1
        self.devices[name] = Device(
            index=index,
            name=name,
            kind=kind,
            up=True,
            arp_capable=arp_capable,
            hardware_address=bytes([2, *[index] * 5]),
        )
        self._changed()

    def remove_behind_our_back(self, address: InterfaceAddress) -> None:
        """`ip addr del` by somebody else."""
        self.addresses.remove(address)
        self._changed()

    def _carry_out(self, change: LinkChange) -> None:
        binding = change.binding
        if isinstance(change, BindAddress) and binding.device not in self.devices:
            if binding.device not in _TUNNEL_KINDS or not self.modules:
                raise DeviceNotFound(f"there is no network device {binding.device}")
            self.add_device(binding.device, kind=_TUNNEL_KINDS[binding.device], arp_capable=False)
        entry = InterfaceAddress(
            device=binding.device,
            address=binding.address,
            prefix_length=HOST_PREFIX_LENGTH[binding.address.version],
        )
        present = entry in self.addresses
        if isinstance(change, BindAddress) == present:
            return
        self.writes += 1
        (self.addresses.discard if present else self.addresses.add)(entry)
        self._changed()

    def _changed(self) -> None:
        if self.wake is not None:
            self.wake()


@dataclass(kw_only=True)
class FakeSysctls:
    """`Sysctls` in memory: only keys in `values` exist, and IPv6 all.forwarding reaches every device, as in Linux."""

    values: dict[SysctlKey, int] = field(default_factory=dict)
    writes: int = 0

    def read(self, keys: Iterable[SysctlKey]) -> Mapping[SysctlKey, int]:
        """The present values."""
        return {key: self.values[key] for key in keys if key in self.values}

    def write(self, key: SysctlKey, value: int) -> None:
        """Set one value."""
        if key not in self.values:
            raise SysctlError(f"writing {key}={value}: no such file")
        self.writes += 1
        if key == _ALL_FORWARDING and self.values[key] != value:
            for other in self.values:
                if other.path[0] == "ipv6" and other.path[-1] == "forwarding":
                    self.values[other] = value
        self.values[key] = value


@dataclass(kw_only=True)
class FakeNamespaceLock:
    """`NamespaceLock` among the fakes that share `namespace`."""

    namespace: set[str] = field(default_factory=set)
    held: bool = False

    def acquire(self) -> None:
        """Take it, or raise NamespaceInUse."""
        if "agent" in self.namespace:
            raise NamespaceInUse("another lvs-agent works in this network namespace")
        self.namespace.add("agent")
        self.held = True

    def release(self) -> None:
        """Give it back."""
        if self.held:
            self.namespace.discard("agent")
            self.held = False
