"""Puts the parts together and runs them as one."""

import asyncio
import contextlib
import logging
import os
import platform
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from lvs_agent.agent import Agent
from lvs_agent.cleanup import clean_up
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
from lvs_agent.decide.refused_addresses import own_addresses
from lvs_agent.disk.ledger import LedgerFile
from lvs_agent.disk.ledger_keeper import LedgerKeeper
from lvs_agent.disk.state_lock import StateLock
from lvs_agent.disk.view_store import ViewStore
from lvs_agent.errors import CleanupIncomplete, IpvsReadFailed, IpvsUnavailable, LvsAgentError, ManifestsDisagree
from lvs_agent.keepers import Keepers
from lvs_agent.kernel.adverts import KernelAdverts
from lvs_agent.kernel.announce import PacketAnnouncer
from lvs_agent.kernel.claims import KernelClaims
from lvs_agent.kernel.duplicate_probe import PacketDuplicateProbe
from lvs_agent.kernel.ftp_helper import ModuleFtpHelper
from lvs_agent.kernel.interface import IpvsTable, Links
from lvs_agent.kernel.kernel_seams import KernelSeams, open_seams
from lvs_agent.kernel.links import KernelLinksSeam
from lvs_agent.kernel.namespace_lock import AbstractSocketLock
from lvs_agent.kernel.nft import NftPacketFilter
from lvs_agent.kernel.packet_tap import KernelPacketTap
from lvs_agent.kernel.sysctl import ProcSysctls
from lvs_agent.kernel.vrrp_sockets import vrrp_is_spoken
from lvs_agent.node_status import NodeIdentity
from lvs_agent.objects.api_connection import ApiConnection
from lvs_agent.objects.api_source import ApiSource, read_plan_once
from lvs_agent.objects.cluster_facts import ClusterFactsReader
from lvs_agent.objects.event_poster import EventPoster
from lvs_agent.objects.heartbeat import keep_lease
from lvs_agent.objects.manifest_source import ManifestSource, read_plan
from lvs_agent.objects.plan_source import PlanSource
from lvs_agent.objects.report import StatusReporter
from lvs_agent.pages import serve_agent
from lvs_agent.probes.supervisor import ProbeSupervisor
from lvs_agent.serve.metrics import AgentMetrics
from lvs_agent.serve.plan_text import plan_lines
from lvs_agent.serve.zero import ZeroKeeper
from lvs_agent.settings import Settings
from lvs_agent.version import agent_version
from lvs_agent.vrrp.keepalived import Keepalived
from lvs_agent.vrrp.shared_directory import VrrpDirectory
from lvs_agent.vrrp.supervisor import VrrpSupervisor
from lvs_api.lvs_node import LvsNodeStatus, NodeCapabilities

LEDGER_FILE: Final = "ledger"
VIEW_FILE: Final = "view"
CLUSTER_FILE: Final = "cluster"
_API_HOST_VARIABLE: Final = "KUBERNETES_SERVICE_HOST"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

Task = Coroutine[Any, Any, None]
_log = logging.getLogger(__name__)


def boot_id() -> str:
    """This boot's name (random(4))."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


async def read_own_addresses(links: Links) -> AbstractSet[str]:
    """This machine's addresses, by which it finds itself in manifests."""
    return frozenset(map(str, own_addresses(await links.read())))


async def run_agent(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; the kernel stays as it is then."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    with _alone(settings):
        async with _assembled(settings) as tasks:
            await _run_until(stopping, tasks)
    _log.info("stopped; addresses and IPVS entries stay as they are")


async def run_vrrp(settings: Settings) -> None:
    """Run keepalived as the agent wants it until SIGTERM or SIGINT, by which it hands its addresses over."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    links = KernelLinksSeam()
    try:
        with closing(KernelAdverts()) as adverts:
            directory = VrrpDirectory(settings.vrrp_dir, boot_id())
            await VrrpSupervisor(directory, Keepalived(settings.vrrp_dir), links, adverts).run(stopping)
    finally:
        await links.close()
    _log.info("stopped; the VRRP daemon has let its addresses go")


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """No other agent in this network namespace, nor with this state directory. Raises NamespaceInUse and StateInUse."""
    with ExitStack() as held:
        for lock in (AbstractSocketLock(), StateLock(settings.state_dir)):
            lock.acquire()
            held.callback(lock.release)
        yield


async def clean_node(settings: Settings) -> None:
    """Remove what is ours.

    Raises CleanupIncomplete where something is left, StateFileDamaged where nobody knows any more what is ours,
    NamespaceInUse and StateInUse while an agent runs.
    """
    with _alone(settings):
        async with open_seams() as seams:
            problems = await clean_up(
                LedgerFile(settings.state_dir / LEDGER_FILE, boot_id()),
                [settings.state_dir / VIEW_FILE, settings.state_dir / CLUSTER_FILE],
                ipvs=seams.ipvs,
                links=seams.links,
                host_routes=seams.host_routes,
                delivery=seams.delivery,
                settings=seams.settings,
                packet_filter=NftPacketFilter(),
                receive_ports=seams.receive_ports,
                sysctls=ProcSysctls(),
                vrrp=VrrpDirectory(settings.vrrp_dir, boot_id()),
            )
    if problems:
        raise CleanupIncomplete("not everything could be removed: " + "; ".join(problems))


async def print_plan(settings: Settings) -> None:
    """Print what this node has to do; nothing is written anywhere.

    Raises ManifestsDisagree once all is printed, where something between objects is wrong; InvalidManifests,
    InvalidSettings and ApiUnavailable where there is no plan.
    """
    links = KernelLinksSeam()
    own: AbstractSet[str] = frozenset()
    problems: tuple[str, ...] = ()
    async with AsyncExitStack() as cleanup:
        cleanup.push_async_callback(links.close)
        if settings.manifests is not None:
            own = await read_own_addresses(links)
            plan, problems = read_plan(settings.manifests, own)
        else:
            api = ApiConnection.open(settings.kubeconfig)
            cleanup.push_async_callback(api.close)
            plan = await read_plan_once(api, settings.node_name)
    for line in plan_lines(plan, own):
        print(line)  # noqa: T201 (a command's output)
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)  # noqa: T201 -- for the person who runs it
    if problems:
        raise ManifestsDisagree(f"objects do not fit together: {len(problems)} named above")


@asynccontextmanager
async def _assembled(settings: Settings) -> AsyncIterator[list[Task]]:
    """Everything that is to run, and its end."""
    async with AsyncExitStack() as cleanup:
        metrics, relay = AgentMetrics(), _Relay()
        seams = await cleanup.enter_async_context(open_seams())
        word = settings.word if settings.manifests is None else None  # no member of a manifest is known to be a node
        prober = ProbeSupervisor(
            relay.wake,
            word_port=word.port if word is not None else None,
            count=lambda result, number: metrics.checks.labels(result).inc(number),
        )
        metrics.probe_restarts.set_function(lambda: prober.restarts)
        parts = _source(settings, metrics, relay.wake, seams.links, cleanup)
        capabilities = _Capabilities(seams.ipvs, parts.source).read
        agent = Agent(
            source=parts.source,
            keepers=_keepers(
                settings=settings,
                seams=seams,
                cluster=parts.cluster,
                metrics=metrics,
                wake=relay.wake,
                cleanup=cleanup,
            ),
            links=seams.links,
            prober=prober,
            identity=NodeIdentity(boot_id=boot_id(), agent_version=agent_version(), capabilities=capabilities),
            metrics=metrics,
            tell=parts.tell,
        )
        relay.target = agent.wake
        agent.wake()
        await serve_agent(replace(settings, word=word), agent, parts.source, metrics, cleanup)
        yield [agent.run(), prober.run(), *parts.tasks]


def _keepers(
    *,
    settings: Settings,
    seams: KernelSeams,
    cluster: ClusterKnowledge,
    metrics: AgentMetrics,
    wake: Callable[[], None],
    cleanup: AsyncExitStack,
) -> Keepers:
    """The keepers on this kernel; the questions that some of them ask the link end with `cleanup`."""
    clock, links, sysctls = time.monotonic, seams.links, ProcSysctls()
    duplicates = DuplicateKeeper(PacketDuplicateProbe(), monotonic=clock, wake=wake)
    handed_on = HandedOnKeeper(PacketDuplicateProbe(), monotonic=clock, wake=wake)
    claimants = ClaimantKeeper(PacketDuplicateProbe(), PacketAnnouncer(), metrics, monotonic=clock, wake=wake)
    vrrp = VrrpDirectory(settings.vrrp_dir, boot_id())
    left_seams = LeftSeams(links=links, probe=PacketDuplicateProbe(), is_spoken=vrrp_is_spoken)
    left = LeftAddressKeeper(vrrp, left_seams, monotonic=clock, wake=wake)
    claims = KernelClaims(wake)
    cleanup.callback(claims.close)
    unseen = UnseenPacketKeeper(
        tap=KernelPacketTap(), ipvs=seams.ipvs, links=links, sysctls=sysctls, metrics=metrics, monotonic=clock
    )
    for asking in (duplicates, handed_on, claimants, left, unseen):
        cleanup.push_async_callback(asking.close)
    return Keepers(
        table=TableKeeper(seams.ipvs, metrics, clock),
        settings=NodeSettingsKeeper(seams.settings, sysctls, metrics, clock),
        daemons=SyncDaemonKeeper(seams.settings, metrics, clock),
        addresses=AddressKeeper(
            links=links,
            sysctls=sysctls,
            announcer=PacketAnnouncer(),
            duplicates=duplicates,
            metrics=metrics,
            monotonic=clock,
        ),
        host_routes=RouteKeeper(seams.host_routes, metrics),
        packet_filter=PacketFilterKeeper(NftPacketFilter(), metrics, clock),
        receive_ports=ReceivePortKeeper(seams.receive_ports, metrics),
        ftp_helper=FtpHelperKeeper(ModuleFtpHelper(seams.ipvs), clock),
        delivery=DeliveryKeeper(seams.delivery, metrics, clock),
        handed_on=handed_on,
        refusals=RefusalKeeper(
            links=links,
            cluster=cluster,
            resolv_confs=settings.resolv_confs,
            refused_ranges=settings.refused_ranges,
        ),
        vrrp=VrrpKeeper(
            vrrp,
            LinkWatchers(
                claimants=claimants, left=left, answers=ClaimAnswerer(claims, PacketAnnouncer(), metrics, clock)
            ),
            metrics,
            clock,
        ),
        ledger=LedgerKeeper(LedgerFile(settings.state_dir / LEDGER_FILE, boot_id()), metrics, clock),
        zero=ZeroKeeper(seams.ipvs),
        unseen=unseen,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _SourceParts:
    """Where the plan comes from, whom to tell the status, and what has to run for both."""

    source: PlanSource
    tell: Callable[[LvsNodeStatus], None]
    cluster: ClusterKnowledge
    tasks: list[Task]


def _source(
    settings: Settings, metrics: AgentMetrics, wake: Callable[[], None], links: Links, cleanup: AsyncExitStack
) -> _SourceParts:
    if settings.manifests is not None:
        manifests = ManifestSource(
            settings.manifests, own_addresses=lambda: read_own_addresses(links), metrics=metrics, wake=wake
        )
        return _SourceParts(source=manifests, tell=manifests.tell, cluster=NoCluster(), tasks=[manifests.run()])
    api = ApiConnection.open(settings.kubeconfig)
    cleanup.push_async_callback(api.close)
    source = ApiSource(
        api,
        node_name=settings.node_name,
        store=ViewStore(settings.state_dir / VIEW_FILE, metrics.state_failures.labels("view")),
        metrics=metrics,
        wake=wake,
        brake=settings.removal_brake,
    )
    source.load()
    reporter = StatusReporter(
        api, node_name=settings.node_name, observed=lambda: source.addressed_node, metrics=metrics
    )
    events = EventPoster(api, node_name=settings.node_name, observed=lambda: source.observed_node, metrics=metrics)
    lease = keep_lease(api, namespace=settings.namespace, node_name=settings.node_name)
    cluster = ClusterFactsReader(
        api,
        node_name=settings.node_name,
        hosts={api.host, os.environ.get(_API_HOST_VARIABLE, api.host)},
        path=settings.state_dir / CLUSTER_FILE,
        wake=wake,
    )
    cluster.load()
    tasks = [source.run(), reporter.run(), events.run(), lease, cluster.run()]

    def tell(status: LvsNodeStatus) -> None:
        events.tell(status)
        reporter.tell(status)

    return _SourceParts(source=source, tell=tell, cluster=cluster, tasks=tasks)


class _Relay:
    """Wakes the agent, which is made after those who wake it."""

    def __init__(self) -> None:
        self.target: Callable[[], None] = _nobody

    def wake(self) -> None:
        self.target()


def _nobody() -> None:
    """Nothing runs yet; the first round looks at everything anyway."""


class _Capabilities:
    """What the kernel can do; asks for IPVS, which loads it, only where this node is a director."""

    def __init__(self, ipvs: IpvsTable, source: PlanSource) -> None:
        self._ipvs = ipvs
        self._source = source
        self._version: str | None = None

    def read(self) -> NodeCapabilities:
        plan = self._source.plan
        if self._version is None and plan is not None and plan.directing:
            with contextlib.suppress(IpvsUnavailable, IpvsReadFailed):
                self._version = self._ipvs.info().version
        return NodeCapabilities(kernel_version=platform.release()[:128], ipvs_version=self._version)


async def _run_until(stopping: asyncio.Event, parts: list[Task]) -> None:
    """Run all parts; the first that fails ends all with its error."""

    async def stop(tasks: list[asyncio.Task[None]]) -> None:
        await stopping.wait()
        for task in tasks:
            task.cancel()

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in parts]
            group.create_task(stop(tasks))
    except* LvsAgentError as failures:
        raise failures.exceptions[0] from failures
