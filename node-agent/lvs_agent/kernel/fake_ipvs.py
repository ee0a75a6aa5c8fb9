"""The IPVS table without a kernel, for unit tests. It refuses what the kernel refuses, by its errno; counts writes.

The scenarios on real kernels run the same cases against both.
"""

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from lvs_agent.decide.changes import (
    AddDestination,
    AddService,
    DeleteDestination,
    DeleteService,
    EditDestination,
    EditService,
    IpvsChange,
    ZeroService,
)
from lvs_agent.decide.kernel_state import (
    IPIP,
    NO_TRAFFIC,
    AddressFamily,
    AnyServiceKey,
    DestinationKey,
    DestinationSettings,
    DestinationState,
    ForwardingMethod,
    IPAddress,
    IpvsInfo,
    KernelIpvs,
    ServiceSettings,
    ServiceState,
    TrafficCounters,
    TunnelType,
    family_of,
)
from lvs_agent.errors import IpvsUnavailable
from lvs_agent.kernel.interface import IpvsApplied
from lvs_agent.kernel.ipvs import failures_of

SCHEDULERS = frozenset(
    {"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"},
)
_MAX_WEIGHT = (1 << 31) - 1
_MAX_THRESHOLD = (1 << 31) - 1
_NAME_LENGTH = 16  # IP_VS_SCHEDNAME_MAXLEN and IP_VS_PENAME_MAXLEN, the NUL included
_BROADCAST = IPv4Address("255.255.255.255")


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

    def read_counters(self) -> Mapping[AnyServiceKey, TrafficCounters]:
        """What every service has counted."""
        return {key: state.counters for key, state in self._look().items()}

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
