"""Machines: a kernel that a power cut empties, a disk that it does not, and what other hands do there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Protocol

from lvs_agent.decide.changes import IpvsChange, LinkChange
from lvs_agent.decide.kernel_state import (
    AddressBinding,
    AnyServiceKey,
    DestinationKey,
    DestinationSettings,
    DestinationState,
    ForwardingMethod,
    InterfaceAddress,
    IPAddress,
    KernelLinks,
    ReceivePort,
    Route,
    RouteKind,
    ServiceKey,
    ServiceSettings,
    ServiceState,
    TransportProtocol,
)
from lvs_agent.decide.kernel_sysctls import SysctlKey, conf_key
from lvs_agent.kernel.fake_delivery_routes import FakeDeliveryRoutes
from lvs_agent.kernel.fake_ftp_helper import FakeFtpHelper
from lvs_agent.kernel.fake_ipvs import FakeIpvsTable
from lvs_agent.kernel.fake_ipvs_settings import FakeIpvsSettings
from lvs_agent.kernel.fake_links import FakeHostRoutes, FakeLinks
from lvs_agent.kernel.fake_neighbours import FakeAnnouncer
from lvs_agent.kernel.fake_packet_filter import FakePacketFilter
from lvs_agent.kernel.fake_receive_ports import FakeReceivePorts
from lvs_agent.kernel.fake_sysctls import FakeSysctls
from lvs_agent.kernel.interface import IpvsApplied, LinkFailure

ETH: Final = "eth0"
FOREIGN_VIP: Final = "192.168.4.20"
ARP_IGNORE: Final = conf_key("ipv4", "all", "arp_ignore")
ARP_ANNOUNCE: Final = conf_key("ipv4", "all", "arp_announce")
SILENT: Final = {ARP_IGNORE: 1, ARP_ANNOUNCE: 2}
_SYSCTLS: Final = ("arp_ignore", "arp_announce", "rp_filter", "send_redirects", "forwarding")


class Crash(BaseException):
    """The agent's process is killed in the middle of what it does."""


class Watcher(Protocol):
    """Looks at what an agent does to a kernel, before it is done."""

    def ipvs(self, machine: "Machine", change: IpvsChange) -> None:
        """A change of the table."""

    def link(self, machine: "Machine", change: LinkChange) -> None:
        """An address bound or unbound."""

    def port_closed(self, machine: "Machine", port: ReceivePort) -> None:
        """A port for GUE is closed."""

    def announced(self, machine: "Machine", device: str, address: IPAddress) -> None:
        """Neighbours are told."""


@dataclass(kw_only=True)
class WatchedIpvs(FakeIpvsTable):
    """The table, looked at by a watcher, with a place for the agent to die at."""

    machine: "Machine"
    crash_after: int | None = None
    """Changes that are made before the process is killed."""
    zero_since: dict[tuple[AnyServiceKey, DestinationKey], float] = field(default_factory=dict)
    """Since when a destination has had no weight."""
    weight_since: dict[tuple[AnyServiceKey, DestinationKey], float] = field(default_factory=dict)
    """Since when it has had some."""

    def apply(self, changes: Sequence[IpvsChange]) -> IpvsApplied:
        """Carry out, as far as the process lives."""
        for position, change in enumerate(changes):
            if self.crash_after is not None and position >= self.crash_after:
                self.crash_after = None
                super().apply(changes[:position])
                raise Crash
            self.machine.watcher.ipvs(self.machine, change)
        done = super().apply(changes)
        self.note_weights()
        return done

    def note_weights(self) -> None:
        """Whoever changed them."""
        present = {
            (service, key): found.settings.weight
            for service, state in self.services.items()
            for key, found in state.destinations.items()
        }
        now = self.machine.clock()
        self.zero_since = {where: self.zero_since.get(where, now) for where, weight in present.items() if weight == 0}
        self.weight_since = {where: self.weight_since.get(where, now) for where, weight in present.items() if weight}


@dataclass(kw_only=True)
class WatchedLinks(FakeLinks):
    """Addresses, looked at by a watcher; an unchanged answer is given again, as the real one does."""

    machine: "Machine"
    known: KernelLinks | None = None

    async def read(self, *, fresh: bool = False) -> KernelLinks:
        """Every device and address."""
        if self.known is None or fresh:
            self.known = await super().read(fresh=fresh)
        return self.known

    async def apply(self, changes: Sequence[LinkChange]) -> tuple[LinkFailure, ...]:
        """Bind and unbind, one by one."""
        failures: list[LinkFailure] = []
        for change in changes:
            self.machine.watcher.link(self.machine, change)
            failures += await super().apply([change])
            self.machine.taken_by_others.pop(change.binding, None)
        return tuple(failures)

    def _changed(self) -> None:
        self.known = None
        super()._changed()


@dataclass(kw_only=True)
class WatchedPorts(FakeReceivePorts):
    """Ports for GUE, looked at by a watcher."""

    machine: "Machine"

    def close_port(self, port: ReceivePort) -> None:
        """Close one."""
        self.machine.watcher.port_closed(self.machine, port)
        super().close_port(port)


@dataclass(kw_only=True)
class WatchedAnnouncer(FakeAnnouncer):
    """Announcements, looked at by a watcher."""

    machine: "Machine"

    def announce(self, device: str, address: IPAddress) -> None:
        """Tell neighbours."""
        super().announce(device, address)
        self.machine.watcher.announced(self.machine, device, address)


class Machine:
    """One machine."""

    def __init__(
        self,
        name: str,
        address: str,
        *,
        disk: Path,
        watcher: Watcher,
        clock: Callable[[], float],
        neighbours: Sequence[str],
    ) -> None:
        self.name = name
        self.address = address
        self.disk = disk
        self.watcher = watcher
        self.clock = clock
        self._neighbours = tuple(neighbours)
        self.mac = bytes([2, *name.encode().rjust(5, b"\0")])
        self.boot = 0
        self.powered = True
        self.serves = True
        """Its server answers clients and checks."""
        self.fenced = False
        """Known to be off, by the people who said so to the cluster; it is."""
        self.went_off = float("-inf")
        """When it last lost its power."""
        self.ready = True
        """Its kubelet is well and heard, or was until now."""
        self.lost_ledger = False
        """What it made before it may now be anybody's."""
        self.lost_view = False
        """It does not know what it served before."""
        self.start()

    @property
    def boot_id(self) -> str:
        """Of the present boot."""
        return f"{self.name}-boot-{self.boot}"

    def start(self) -> None:
        """Boot: nothing is left of the last kernel."""
        self.boot += 1
        self.powered = True
        self.lost_ledger = self.lost_view = False
        self.booted = self.clock()
        self.ipvs = WatchedIpvs(machine=self)
        self.settings = FakeIpvsSettings()
        self.links = WatchedLinks(machine=self)
        self.links.add_device("lo", arp_capable=False)
        self.links.add_device(ETH)
        self.links.devices[ETH] = replace(self.links.devices[ETH], hardware_address=self.mac)
        self.links.addresses.add(InterfaceAddress(device=ETH, address=ip_address(self.address), prefix_length=24))
        for neighbour in self._neighbours:
            self.links.routes[ip_address(neighbour)] = Route(kind=RouteKind.UNICAST, device=ETH)
        keys = [conf_key("ipv4", device, name) for device in ("all", ETH, "lo", "tunl0") for name in _SYSCTLS]
        keys += [SysctlKey(("ipv4", "vs", name)) for name in ("conntrack", "conn_reuse_mode")]
        self.sysctls = FakeSysctls(values=dict.fromkeys(keys, 0))
        self.announcer = WatchedAnnouncer(machine=self)
        self.host_routes = FakeHostRoutes()
        self.packet_filter = FakePacketFilter()
        self.ftp_helper = FakeFtpHelper()
        self.delivery = FakeDeliveryRoutes()
        self.receive_ports = WatchedPorts(machine=self)
        self.foreign: set[AnyServiceKey] = set()
        """Services that somebody else made."""
        self.planned: dict[AnyServiceKey, str] = {}
        """Services that its agent was ever told of in this boot, with the uid of the last."""
        self.taken_by_others: dict[AddressBinding, float] = {}
        """When somebody else removed bindings that nobody has made again."""
        self.silence_broken = float("-inf")
        """When somebody else last changed the sysctls."""

    def cut_power(self) -> None:
        """Off. Its disk keeps what it has."""
        self.powered = False
        self.went_off = self.clock()

    def break_silence(self) -> None:
        """`sysctl -w net.ipv4.conf.all.arp_ignore=0`."""
        if self.is_silent:
            self.silence_broken = self.clock()
            self.sysctls.values[ARP_IGNORE] = 0

    # What it is

    def carries(self, address: str, device: str) -> bool:
        """Whether an address is bound there now."""
        return InterfaceAddress(device=device, address=ip_address(address), prefix_length=32) in self.links.addresses

    @property
    def gue_ports(self) -> set[int]:
        """Where it unwraps GUE."""
        return {one.port for one in self.receive_ports.present}

    @property
    def is_silent(self) -> bool:
        """Whether it answers no ARP for addresses of lo and tunnel devices."""
        return all(self.sysctls.values[key] == value for key, value in SILENT.items())

    def answers_for(self, address: IPAddress) -> bool:
        """Whether it answers ARP for an address."""
        return any(one.address == address and (one.device == ETH or not self.is_silent) for one in self.bindings())

    def bindings(self) -> set[AddressBinding]:
        """Every host address."""
        return {
            AddressBinding(address=one.address, device=one.device)
            for one in self.links.addresses
            if one.prefix_length == 32
        }

    def destination(self, service: AnyServiceKey, key: DestinationKey) -> DestinationState | None:
        """One entry of its table."""
        state = self.ipvs.services.get(service)
        return state.destinations.get(key) if state else None

    # What others do to it

    def clean_up(self) -> None:
        """`lvs-agent cleanup`, or as good as: nothing is left of what was made here."""
        for file in ("view", "ledger"):
            (self.disk / file).unlink(missing_ok=True)
        self.start()
        self.boot -= 1  # the machine did not boot

    def take_address(self, binding: AddressBinding) -> None:
        """`ip address del`."""
        found = [one for one in self.links.addresses if one.address == binding.address and one.device == binding.device]
        for one in found:
            self.links.remove_behind_our_back(one)
            self.taken_by_others[binding] = self.clock()

    def clear_table(self) -> None:
        """`ipvsadm -C`."""
        self.foreign.clear()
        self.ipvs.clear()
        self.ipvs.note_weights()

    def make_foreign_service(self) -> None:
        """`ipvsadm -A` and `-a`, for an address of somebody's own."""
        key = ServiceKey(protocol=TransportProtocol.TCP, address=ip_address(FOREIGN_VIP), port=53)
        settings = DestinationSettings(method=ForwardingMethod.MASQUERADE, weight=1)
        entry = {DestinationKey(address=ip_address(self._neighbours[-1]), port=53): DestinationState(settings)}
        self.ipvs.services.setdefault(key, ServiceState(settings=ServiceSettings(scheduler="rr"), destinations=entry))
        self.foreign.add(key)

    def set_weight(self, service: AnyServiceKey, key: DestinationKey, weight: int) -> None:
        """`ipvsadm -e`."""
        state = self.ipvs.services[service]
        found = state.destinations[key]
        changed = found._replace(settings=replace(found.settings, weight=weight))
        self.ipvs.services[service] = replace(state, destinations={**state.destinations, key: changed})
        self.ipvs.note_weights()

    def take_destination(self, service: AnyServiceKey, key: DestinationKey) -> None:
        """`ipvsadm -d`."""
        state = self.ipvs.services[service]
        kept = {one: found for one, found in state.destinations.items() if one != key}
        self.ipvs.services[service] = replace(state, destinations=kept)
        self.ipvs.note_weights()

    def connect(self, connections: int) -> None:
        """Clients: each real server with weight has so many connections; without, those that it had live on."""
        for service, state in list(self.ipvs.services.items()):
            for key, found in state.destinations.items():
                if found.settings.weight or not connections:
                    self.ipvs.set_connections(service, key, active=connections)

    def lose_state(self, what: str, content: str | None) -> None:
        """A state file goes, or becomes something else."""
        path = self.disk / what
        if content is None:
            path.unlink(missing_ok=True)
        elif path.exists():
            path.write_text(content, encoding="utf-8")
        self.lost_ledger = self.lost_ledger or what == "ledger"
        self.lost_view = self.lost_view or what == "view"
