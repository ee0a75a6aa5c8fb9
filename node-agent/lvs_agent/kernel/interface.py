"""The seams to the kernel: one small Protocol each. The fakes beside them refuse what the real ones refuse.

IPVS, sysctls and announcements are plain calls: each is a bounded run of system calls that never waits for a peer
(a full table of 1,000 services x 10 destinations takes tens of milliseconds), and awaiting between them would only
allow the table to be changed by two rounds at once. Links are coroutines since pyroute2's sockets are asyncio's.
Probes run in a process of their own, so none of this delays a check.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from lvs_agent.decide.changes import IpvsChange, LinkChange
from lvs_agent.decide.claims import Claim
from lvs_agent.decide.heard_adverts import Advert
from lvs_agent.decide.kernel_settings import KernelTimeouts, SyncDaemon, SyncDaemons, SyncState
from lvs_agent.decide.kernel_state import (
    AnyServiceKey,
    FirewallMarkKey,
    HostRoute,
    IPAddress,
    IpvsInfo,
    KernelIpvs,
    KernelLinks,
    LocalDelivery,
    ReceivePort,
    Route,
    ServiceKey,
    ServiceSettings,
    TrafficCounters,
)
from lvs_agent.decide.kernel_sysctls import SysctlKey
from lvs_agent.decide.packet_table import PacketRules, PacketTable
from lvs_agent.decide.unseen_packets import Arrivals
from lvs_agent.errors import IpvsEntryError, LinkError


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsFailure:
    """A change that failed alone; every other one of its batch was carried out."""

    change: IpvsChange
    error: IpvsEntryError


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsApplied:
    """What came of a batch. `certain` is false when replies were lost: only a read tells what the kernel did."""

    written: int
    failures: tuple[IpvsFailure, ...] = ()
    certain: bool = True


class IpvsTable(Protocol):
    """The IPVS table of this network namespace."""

    def read(self) -> KernelIpvs:
        """The whole table. Raises IpvsUnavailable, IpvsReadFailed or PermissionRefused; an error is never empty."""

    def read_services(self) -> Mapping[AnyServiceKey, ServiceSettings]:
        """Every service without its destinations: one cheap dump, to see a table that somebody cleared."""

    def read_counters(self) -> Mapping[AnyServiceKey, TrafficCounters]:
        """What every service has counted: the same cheap dump. The kernel brings it up to date every two seconds."""

    def glance(self) -> bytes | None:
        """The table in short: equal as long as all services and destinations are there with their methods and weights.

        It takes a fifth of what reading takes, and leaves out thresholds, tunnels and flags. None where the kernel
        does not show it so; then nothing is known.
        """

    def read_only(self, services: Iterable[AnyServiceKey]) -> KernelIpvs:
        """These services with their destinations; the ones that do not exist are left out."""

    def apply(self, changes: Sequence[IpvsChange]) -> IpvsApplied:
        """Carry out the changes in their order, in few system calls. Bad entries fail alone and are returned."""

    def info(self) -> IpvsInfo:
        """Version and connection table size. Loads ip_vs where that is allowed; raises IpvsUnavailable."""

    def close(self) -> None:
        """Release the socket; the table stays as it is."""


class IpvsSettings(Protocol):
    """What IPVS has once in this network namespace."""

    def read_timeouts(self) -> KernelTimeouts:
        """The time-outs. Loads ip_vs where that is allowed; raises IpvsUnavailable and IpvsReadFailed."""

    def write_timeouts(self, timeouts: KernelTimeouts) -> None:
        """Set these and leave the others. For the kernel 0 means to leave it, too.

        Raises SettingRefused, and IpvsReadFailed where it is not known what became of it.
        """

    def read_daemons(self) -> SyncDaemons:
        """The sync daemons that run. Raises IpvsUnavailable and IpvsReadFailed."""

    def start_daemon(self, state: SyncState, daemon: SyncDaemon) -> None:
        """Start one. Raises SettingRefused, also where one of this state runs already, and IpvsReadFailed."""

    def stop_daemon(self, state: SyncState) -> None:
        """Stop one; one that does not run is a success. What it learned stays. Raises IpvsReadFailed."""

    def close(self) -> None:
        """Release the socket; the settings stay as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLines:
    """What of the connections was read."""

    lines: tuple[str, ...]
    """As the kernel writes them."""
    cut: bool
    """There are more."""


class Connections(Protocol):
    """The connections that IPVS knows in this network namespace."""

    def read(self, most: int) -> ConnectionLines:
        """So many at most. Raises IpvsUnavailable, IpvsReadFailed or PermissionRefused."""


class FtpHelper(Protocol):
    """The kernel's helper for FTP behind Masquerade: module ip_vs_ftp. Its ports are chosen when it is loaded."""

    def ports(self) -> frozenset[int]:
        """What it follows in this network namespace; nothing while it is not loaded.

        Raises IpvsReadFailed and PermissionRefused.
        """

    def load(self) -> None:
        """Have the kernel load it; where it can not, nothing happens. Raises IpvsUnavailable and PermissionRefused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFailure:
    """A link change that failed alone."""

    change: LinkChange
    error: LinkError


class Links(Protocol):
    """Devices, addresses and routes of this network namespace."""

    async def read(self, *, fresh: bool = False) -> KernelLinks:
        """Every device and address. While watching, an unchanged answer is given again unless `fresh` is asked for."""

    async def apply(self, changes: Sequence[LinkChange]) -> tuple[LinkFailure, ...]:
        """Bind and unbind, one by one, in order. Binding what is bound and unbinding what is gone are successes."""

    async def route_to(self, address: IPAddress) -> Route:
        """What the kernel would do with a packet to the address; UNREACHABLE when there is no route."""

    async def next_hops(self) -> frozenset[IPAddress]:
        """The next hops of every route. While watching, an unchanged answer is given again. Raises LinkError."""

    async def watch(self, wake: Callable[[], None]) -> None:
        """From now on call `wake` whenever a device, an address or a route changes. It carries nothing else."""

    async def close(self) -> None:
        """Stop watching and release the sockets; addresses stay as they are."""


class ReceivePorts(Protocol):
    """The UDP ports at which the kernel of this network namespace unwraps GUE: `ip fou`, module fou."""

    def read(self) -> frozenset[ReceivePort]:
        """Those that receive from anybody at every address; none while the module is not loaded.

        Raises ReceivePortError and PermissionRefused; an error is never empty.
        """

    def is_free(self, port: ReceivePort) -> bool:
        """Whether neither a program nor the kernel has it, at any address of its family."""

    def open(self, port: ReceivePort) -> None:
        """Open one; loads the module where that is allowed.

        Raises ReceivePortError, also where a program or the kernel has the port already, and PermissionRefused.
        """

    def close_port(self, port: ReceivePort) -> None:
        """Close one; one that is gone is a success. Raises ReceivePortError and PermissionRefused."""

    def close(self) -> None:
        """Release the socket; ports stay as they are."""


class HostRoutes(Protocol):
    """Our routes to single real servers: those that carry our protocol number (see rtnetlink(7), rtm_protocol)."""

    async def read(self) -> frozenset[HostRoute]:
        """Those that there are. Raises LinkError."""

    async def add(self, route: HostRoute) -> None:
        """Make one. Raises LinkError, also where somebody else has a route to just this address."""

    async def remove(self, route: HostRoute) -> None:
        """Take one of ours away; one that is gone is a success. Raises LinkError."""

    async def close(self) -> None:
        """Release the socket; routes stay as they are."""


class DeliveryRoutes(Protocol):
    """Local delivery by marks: rules and routes that carry our protocol number."""

    async def read(self) -> LocalDelivery:
        """What there is of ours. Raises LinkError."""

    async def replace(self, marks: Collection[FirewallMarkKey]) -> None:
        """Leave just what these marks need: routes come before rules and go after them.

        Raises LinkError or PermissionRefused; part of it may be made then.
        """

    async def close(self) -> None:
        """Release the socket; rules and routes stay as they are."""


class PacketFilter(Protocol):
    """Our table of the packet filter: marks, source NAT, what tunnels need. It is ours by its name."""

    def generation(self) -> int:
        """A number that changes whenever anybody changes any rule of this network namespace.

        Raises PacketFilterError.
        """

    async def read(self) -> PacketTable | None:
        """What there is; None without a table. Raises PacketFilterError or PermissionRefused."""

    async def replace(self, rules: PacketRules) -> None:
        """Make the table just so, at one moment; without rules there is none.

        Of two marks for one address, protocol and port, of a connection that is to have its source rewritten and kept,
        or of two sizes for one address, the kernel takes neither. Raises PacketFilterError or PermissionRefused.
        """


class Sysctls(Protocol):
    """The files below /proc/sys/net of this network namespace."""

    def read(self, keys: Iterable[SysctlKey]) -> Mapping[SysctlKey, int]:
        """The present values; keys that do not exist (a device went) are left out."""

    def write(self, key: SysctlKey, value: int) -> None:
        """Set one value. Raises SysctlError or PermissionRefused."""


class Announcer(Protocol):
    """Tells neighbours on a device's link that an address is here."""

    def announce(self, device: str, address: IPAddress) -> None:
        """Send one gratuitous ARP request and reply, or unsolicited neighbour advertisement. Raises AnnounceError."""


class DuplicateProbe(Protocol):
    """Asks the neighbours on a device's link whether one of them has an address."""

    async def ask(
        self,
        device: str,
        addresses: Collection[IPAddress],
        *,
        heed_probes: bool = True,
        sources: Collection[IPAddress] = (),
    ) -> Mapping[IPAddress, frozenset[bytes]]:
        """The MAC addresses that answered, by address; nothing for those that nobody has. Takes a fraction of a second.

        Who asks the same question meanwhile is about to take the address, and counts unless probes are not heeded; and
        for this question he does not take it, unless it comes from one of the `sources`, addresses of this node. A
        device of this node may be among them. Raises LinkNotAsked (the device is gone, or down) and
        PermissionRefused.
        """


class PacketTap(Protocol):
    """Hears what arrives at this node's network cards, before any filter can drop it."""

    async def listen(self, fronts: Collection[ServiceKey], seconds: float) -> Arrivals:
        """What comes meanwhile to these, `MOST_FRONTS` at most; port 0 stands for every port.

        First packets of connections and datagrams, addressed to this host's own MAC addresses; not from itself. When
        very many come, some are left out. Raises ArrivalsUnknown and PermissionRefused.
        """


class Adverts(Protocol):
    """Adverts of VRRP that reach this machine, over IPv4."""

    def hear(self) -> list[Advert]:
        """Those that have come since the last look, a bounded number; never those of this machine."""

    def close(self) -> None:
        """Hear nothing any more."""


class Claims(Protocol):
    """What others tell neighbours unasked: gratuitous ARP and unsolicited neighbour advertisements."""

    def hear(self, addresses: AbstractSet[IPAddress]) -> frozenset[Claim]:
        """What was heard since the last look; from now on of these addresses, and without any of nothing.

        When very many come, some are left out. Those of this node may be among them. Raises PermissionRefused.
        """

    def close(self) -> None:
        """Hear nothing any more."""


class NamespaceLock(Protocol):
    """Held by the one agent of a network namespace, for its life."""

    def acquire(self) -> None:
        """Take it, or raise NamespaceInUse."""

    def release(self) -> None:
        """Give it back; the kernel does so too when the process ends."""
