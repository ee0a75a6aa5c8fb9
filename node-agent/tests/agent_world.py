"""A whole agent on the fake kernel: what the loop's tests share."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from inputs_in_hand import HealthInHand, PlanInHand

from lvs_agent.agent import Agent
from lvs_agent.converge.addresses import AddressKeeper
from lvs_agent.converge.claim_answers import ClaimAnswerer
from lvs_agent.converge.claimants import ClaimantKeeper
from lvs_agent.converge.delivery import DeliveryKeeper
from lvs_agent.converge.duplicates import DuplicateKeeper
from lvs_agent.converge.ftp_helper import FtpHelperKeeper
from lvs_agent.converge.handed_on import HandedOnKeeper
from lvs_agent.converge.left_addresses import LeftAddressKeeper, LeftSeams
from lvs_agent.converge.node_settings import NodeSettingsKeeper
from lvs_agent.converge.packet_filter import PacketFilterKeeper
from lvs_agent.converge.receive_ports import ReceivePortKeeper
from lvs_agent.converge.refusals import ClusterKnowledge, NoCluster, RefusalKeeper
from lvs_agent.converge.routes import RouteKeeper
from lvs_agent.converge.sync_daemons import SyncDaemonKeeper
from lvs_agent.converge.table import TableKeeper
from lvs_agent.converge.unseen_packets import UnseenPacketKeeper
from lvs_agent.converge.virtual_routers import LinkWatchers, VrrpKeeper
from lvs_agent.decide.circumstances import Circumstances
from lvs_agent.decide.judged_table import Judged, TableJudge, judge_table
from lvs_agent.decide.kernel_state import (
    DestinationKey,
    InterfaceAddress,
    KernelLinks,
    Route,
    RouteKind,
    ServiceKey,
    TransportProtocol,
)
from lvs_agent.decide.kernel_sysctls import SysctlKey, conf_key
from lvs_agent.decide.prepared_plan import PreparedPlan
from lvs_agent.decide.refused_addresses import IPNetwork
from lvs_agent.disk.ledger import LedgerFile
from lvs_agent.disk.ledger_keeper import LedgerKeeper
from lvs_agent.keepers import Keepers
from lvs_agent.kernel.fake_delivery_routes import FakeDeliveryRoutes
from lvs_agent.kernel.fake_ftp_helper import FakeFtpHelper
from lvs_agent.kernel.fake_ipvs import FakeIpvsTable
from lvs_agent.kernel.fake_ipvs_settings import FakeIpvsSettings
from lvs_agent.kernel.fake_links import FakeHostRoutes, FakeLinks
from lvs_agent.kernel.fake_neighbours import FakeAnnouncer, FakeClaims, FakeDuplicateProbe
from lvs_agent.kernel.fake_packet_filter import FakePacketFilter
from lvs_agent.kernel.fake_packet_tap import FakePacketTap
from lvs_agent.kernel.fake_receive_ports import FakeReceivePorts
from lvs_agent.kernel.fake_sysctls import FakeSysctls
from lvs_agent.node_status import NodeIdentity
from lvs_agent.serve.metrics import AgentMetrics
from lvs_agent.serve.zero import ZeroKeeper
from lvs_agent.vrrp.shared_directory import VrrpDirectory
from lvs_api.bind_device import BindDevice
from lvs_api.conditions import ConditionType, find_condition
from lvs_api.lvs_node import LvsNodeStatus, NodeCapabilities, ServiceException
from lvs_api.network_types import ForwardingMethod, Protocol, Scheduler
from lvs_api.real_server_pool import OnFailure
from lvs_core.cluster_view import ObjectKey
from lvs_core.plan import (
    BoundAddress,
    CheckTarget,
    DirectorPlan,
    Holding,
    MarkKey,
    NodePlan,
    PlannedMember,
    PlannedService,
    TcpTarget,
    VirtualServerKey,
)

VIP = "192.168.4.15"
SERVICE = ServiceKey(protocol=TransportProtocol.TCP, address=ip_address(VIP), port=80)
NAME = ObjectKey("default", "web")
GROUP = "default"
ARP_IGNORE = conf_key("ipv4", "all", "arp_ignore")
ARP_ANNOUNCE = conf_key("ipv4", "all", "arp_announce")


def destination(number: int) -> DestinationKey:
    return DestinationKey(address=ip_address(f"192.168.4.{number}"), port=80)


def check_target(number: int) -> CheckTarget:
    return CheckTarget(
        address=ip_address(f"192.168.4.{number}"),
        port=80,
        what=TcpTarget(),
        interval_seconds=2,
        timeout_seconds=1,
        rise=2,
        fall=3,
    )


def member(number: int, **changes: Any) -> PlannedMember:
    """A real server 192.168.4.NUMBER, unchecked, of weight 1 and by DirectRouting."""
    made = PlannedMember(
        name=f"rs{number}",
        address=ip_address(f"192.168.4.{number}"),
        port=80,
        weight=1,
        method=ForwardingMethod.DIRECT_ROUTING,
        tunnel=None,
        source_nat=False,
        upper_threshold=0,
        lower_threshold=0,
        check=None,
        node=None,
        prepared=True,
        boot_id=None,
        refused=None,
        former=None,
        draining_seconds=None,
    )
    return replace(made, **changes)


def checked(number: int, **changes: Any) -> PlannedMember:
    """The same with a check of its TCP port."""
    return member(number, check=check_target(number), **changes)


def service(*members: PlannedMember, **changes: Any) -> PlannedService:
    """VIP:80/TCP of default/web."""
    key = changes.get("key", VirtualServerKey(address=ip_address(VIP), port=80, protocol=Protocol.TCP))
    made = PlannedService(
        key=key,
        vip=None if isinstance(key, MarkKey) else key.address,
        marked=(),
        delivered=False,
        ftp_ports=(),
        service=NAME,
        service_uid="u",
        port_name="http",
        scheduler=Scheduler.RR,
        scheduler_flags=(),
        persistence=None,
        one_packet_scheduling=False,
        on_failure=OnFailure.ZERO_WEIGHT,
        drain_seconds=300,
        paused=False,
        members=members,
    )
    return replace(made, **changes)


def other_service(*members: PlannedMember) -> PlannedService:
    """VIP:81/TCP of default/other."""
    key = VirtualServerKey(address=ip_address(VIP), port=81, protocol=Protocol.TCP)
    return service(*members, key=key, service=ObjectKey("default", "other"), service_uid="o")


def director(*services: PlannedService, holding: Holding = Holding.HOLD, **changes: Any) -> NodePlan:
    """A plan with one director group."""
    group = DirectorPlan(
        group=GROUP,
        view_digest="digest",
        holding=holding,
        interface=changes.pop("interface", "eth0"),
        addresses=tuple(sorted({one.vip for one in services if one.vip is not None}, key=int)),
        services=services,
        incomplete=changes.pop("incomplete", ()),
        conflicts=changes.pop("conflicts", ()),
        held=changes.pop("held", ()),
        ignored_answers=changes.pop("ignored_answers", frozenset()),
    )
    return NodePlan(node="node", observed_generation=1, directing=(group,), **changes)


def real_server(*vips: str, device: BindDevice = BindDevice.LO) -> NodePlan:
    """A plan that binds VIPs."""
    bind = tuple(BoundAddress(address=ip_address(vip), device=device) for vip in vips)
    return NodePlan(node="node", observed_generation=1, bind=bind)


NO_PART = NodePlan(node="node", observed_generation=1)


class ComparedJudge(TableJudge):
    """What it does not judge again it says all the same."""

    def judge(self, prepared: PreparedPlan, around: Circumstances) -> Judged:
        judged = super().judge(prepared, around)
        assert judged == judge_table(prepared, around)
        return judged


class World:
    """An agent and its fake kernel; `restart` makes a new agent on the same kernel and disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ipvs = FakeIpvsTable()
        self.settings = FakeIpvsSettings()
        self.links = FakeLinks()
        self.links.add_device("lo", arp_capable=False)
        self.links.add_device("eth0")
        self.links.addresses.add(InterfaceAddress(device="eth0", address=ip_address("192.168.4.5"), prefix_length=24))
        for number in range(100, 110):
            self.links.routes[ip_address(f"192.168.4.{number}")] = Route(kind=RouteKind.UNICAST, device="eth0")
        self.sysctls = FakeSysctls(values=dict.fromkeys(_sysctl_keys(), 0))
        self.announcer = FakeAnnouncer()
        self.host_routes = FakeHostRoutes()
        self.packet_filter = FakePacketFilter()
        self.receive_ports = FakeReceivePorts()
        self.ftp_helper = FakeFtpHelper()
        self.delivery = FakeDeliveryRoutes()
        self.probe = FakeDuplicateProbe()
        self.claims = FakeClaims()
        self.tap = FakePacketTap()
        self.vrrp_is_spoken = False
        self.refused_ranges: list[IPNetwork] = []
        self.cluster: ClusterKnowledge = NoCluster()
        self.source = PlanInHand()
        self.health = HealthInHand()
        self.now = 1000.0
        self.boot_id = "boot-1"
        self.statuses: list[LvsNodeStatus] = []
        self.restart()

    def restart(self) -> None:
        self.metrics = AgentMetrics()
        self.vrrp = VrrpDirectory(self.directory / "vrrp", self.boot_id)
        self.health = HealthInHand()
        self.answered = asyncio.Event()
        self.duplicates = DuplicateKeeper(self.probe, monotonic=lambda: self.now, wake=self.answered.set)
        self.handed_on = HandedOnKeeper(self.probe, monotonic=lambda: self.now, wake=self.answered.set)
        self.claimants = ClaimantKeeper(
            self.probe, self.announcer, self.metrics, monotonic=lambda: self.now, wake=self.answered.set
        )
        seams = LeftSeams(links=self.links, probe=self.probe, is_spoken=lambda: self.vrrp_is_spoken)
        self.left = LeftAddressKeeper(self.vrrp, seams, monotonic=lambda: self.now, wake=self.answered.set)
        self.unseen = UnseenPacketKeeper(
            tap=self.tap,
            ipvs=self.ipvs,
            links=self.links,
            sysctls=self.sysctls,
            metrics=self.metrics,
            monotonic=lambda: self.now,
        )
        file = LedgerFile(self.directory / "ledger", self.boot_id)
        self.ledger = LedgerKeeper(file, self.metrics, lambda: self.now)
        self.agent = Agent(
            source=self.source,
            keepers=Keepers(
                table=TableKeeper(self.ipvs, self.metrics, lambda: self.now, ComparedJudge()),
                settings=NodeSettingsKeeper(self.settings, self.sysctls, self.metrics, lambda: self.now),
                daemons=SyncDaemonKeeper(self.settings, self.metrics, lambda: self.now),
                addresses=AddressKeeper(
                    links=self.links,
                    sysctls=self.sysctls,
                    announcer=self.announcer,
                    duplicates=self.duplicates,
                    metrics=self.metrics,
                    monotonic=lambda: self.now,
                ),
                host_routes=RouteKeeper(self.host_routes, self.metrics),
                packet_filter=PacketFilterKeeper(self.packet_filter, self.metrics, lambda: self.now),
                receive_ports=ReceivePortKeeper(self.receive_ports, self.metrics),
                ftp_helper=FtpHelperKeeper(self.ftp_helper, lambda: self.now),
                delivery=DeliveryKeeper(self.delivery, self.metrics, lambda: self.now),
                handed_on=self.handed_on,
                refusals=RefusalKeeper(
                    links=self.links,
                    cluster=self.cluster,
                    resolv_confs=[self.directory / "resolv.conf"],
                    refused_ranges=self.refused_ranges,
                ),
                vrrp=VrrpKeeper(
                    self.vrrp,
                    LinkWatchers(
                        claimants=self.claimants,
                        left=self.left,
                        answers=ClaimAnswerer(self.claims, self.announcer, self.metrics, lambda: self.now),
                    ),
                    self.metrics,
                    lambda: self.now,
                ),
                ledger=self.ledger,
                zero=ZeroKeeper(self.ipvs),
                unseen=self.unseen,
            ),
            links=self.links,
            prober=self.health,
            identity=NodeIdentity(boot_id=self.boot_id, agent_version="1", capabilities=NodeCapabilities),
            metrics=self.metrics,
            tell=self.statuses.append,
            boot_clock=lambda: self.now,
        )

    async def do(self, plan: NodePlan | None, *, rounds: int = 1) -> None:
        """Carry out a plan."""
        self.source.plan = plan
        for _ in range(rounds):
            await self._round()

    async def later(self, seconds: float) -> None:
        """One more round, after some time."""
        self.now += seconds
        await self._round()

    async def _round(self) -> None:
        """One round, and another one if it asked a link and is woken by the answer."""
        self.answered.clear()
        await self.agent.round()
        asking = (
            self.duplicates.is_asking,
            self.handed_on.is_asking,
            self.claimants.is_asking,
            self.left.is_asking,
        )
        if any(asking) or self.answered.is_set():
            await self.answered.wait()
            await self.agent.round()

    def weights(self, key: ServiceKey = SERVICE) -> dict[str, int]:
        """The weights in the kernel, by last part of the address."""
        state = self.ipvs.services[key]
        return {str(d.address).rsplit(".", 1)[1]: s.settings.weight for d, s in state.destinations.items()}

    def bound(self) -> set[str]:
        """Host addresses, as ADDRESS@DEVICE."""
        return {f"{b.address}@{b.device}" for b in _links(self.links).bindings()}

    @property
    def status(self) -> LvsNodeStatus:
        return self.statuses[-1]

    def exception(self) -> ServiceException:
        """The one exception that is reported."""
        (found,) = self.status.exceptions or ()
        return found

    def writes(self) -> tuple[int, int, int]:
        """Writes to IPVS, addresses and sysctls."""
        return self.ipvs.writes, self.links.writes, self.sysctls.writes

    def condition(self, kind: ConditionType) -> tuple[str, str] | None:
        """Reason and message of a condition that is there."""
        found = find_condition(self.status.conditions, kind)
        return (found.reason, found.message) if found else None

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def _links(links: FakeLinks) -> KernelLinks:
    return KernelLinks(devices=dict(links.devices), addresses=frozenset(links.addresses))


def _sysctl_keys() -> list[SysctlKey]:
    names = ("arp_ignore", "arp_announce", "rp_filter", "send_redirects", "forwarding")
    keys = [conf_key("ipv4", device, name) for device in ("all", "eth0", "lo", "tunl0") for name in names]
    return [*keys, SysctlKey(("ipv4", "vs", "conntrack"))]


@contextmanager
def full_disk() -> Iterator[None]:
    """The kernel takes no byte into any file of this process; what is there can be read."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def service_on(port: int) -> ServiceKey:
    """The VIP's kernel service on another port."""
    return ServiceKey(protocol=SERVICE.protocol, address=SERVICE.address, port=port)


def record_order(world: World) -> list[str]:
    """From now on, every kind of write as it comes."""
    order: list[str] = []
    links, ipvs, sysctl = world.links.apply, world.ipvs.apply, world.sysctls.write

    async def apply_links(changes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 -- as the seam
        order.extend("bind" if type(c).__name__ == "BindAddress" else "unbind" for c in changes)
        return await links(changes)

    def apply_ipvs(changes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 -- as the seam
        order.extend("delete" if type(c).__name__ == "DeleteService" else type(c).__name__ for c in changes)
        return ipvs(changes)

    def write(key, value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 -- as the seam
        order.append(f"{key.path[-1]}={value}")
        sysctl(key, value)

    world.links.apply, world.ipvs.apply, world.sysctls.write = apply_links, apply_ipvs, write  # type: ignore[method-assign]  # in place of the fake's own
    return order
