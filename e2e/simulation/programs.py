"""The real programs on modelled ground: an agent on a machine, an operator."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from collections.abc import Set as AbstractSet
from random import Random
from typing import Any, Final, Protocol, cast

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
from lvs_agent.converge.refusals import RefusalKeeper
from lvs_agent.converge.routes import RouteKeeper
from lvs_agent.converge.sync_daemons import SyncDaemonKeeper
from lvs_agent.converge.table import TableKeeper
from lvs_agent.converge.unseen_packets import UnseenPacketKeeper
from lvs_agent.converge.virtual_routers import LinkWatchers, VrrpKeeper
from lvs_agent.decide.fresh_word import Answer, Words
from lvs_agent.decide.health_verdict import Check, CheckResult, Streak, Verdict, judge
from lvs_agent.decide.kernel_state import IPAddress
from lvs_agent.decide.kernel_words import service_key
from lvs_agent.decide.node_word import MAX_AGE_MILLISECONDS, NodeWord
from lvs_agent.disk.ledger import LedgerFile
from lvs_agent.disk.ledger_keeper import LedgerKeeper
from lvs_agent.disk.view_store import ViewStore
from lvs_agent.keepers import Keepers
from lvs_agent.kernel.fake_neighbours import FakeClaims
from lvs_agent.kernel.fake_packet_tap import FakePacketTap
from lvs_agent.node_status import NodeIdentity
from lvs_agent.objects.api_connection import ApiConnection
from lvs_agent.objects.api_source import ApiSource
from lvs_agent.objects.cluster_facts import ClusterFactsReader
from lvs_agent.objects.event_poster import EventPoster as AgentEvents
from lvs_agent.objects.heartbeat import keep_lease
from lvs_agent.objects.report import StatusReporter
from lvs_agent.serve.metrics import AgentMetrics
from lvs_agent.serve.zero import ZeroKeeper
from lvs_agent.vrrp.shared_directory import VrrpDirectory
from lvs_api.api_group import DEFAULT_NAMESPACE
from lvs_api.lvs_node import LvsNodeStatus, NodeCapabilities
from lvs_core.plan import NodePlan
from lvs_operator.agent_leases import AgentLeases
from lvs_operator.api_client import ApiClient
from lvs_operator.cache import Cache
from lvs_operator.event_poster import EventPoster as OperatorEvents
from lvs_operator.leader import Leader
from lvs_operator.reconcile import Reconciler, Rhythm
from lvs_operator.watched_kinds import WatchedKind
from simulation.api_clients import AgentConnection, OperatorClient
from simulation.kopf_model import Kopf
from simulation.machines import ETH, Crash, Machine
from simulation.model_api import ModelApi, Raw
from simulation.wire import Reach, Wire

CHECK_SECONDS: Final = 1.0
OPERATOR_CHECK_SECONDS: Final = 60.0
WORD_PORT: Final = 9462


class Network(Protocol):
    """What machines hear of one another."""

    def answers(self, director: Machine, check: Check) -> bool:
        """Whether a real server answers a check, which goes to its own address."""

    def word(self, address: IPAddress) -> NodeWord | None:
        """What the agent at an address says of its node; None where nobody answers."""

    def holders(self, asker: Machine, address: IPAddress) -> frozenset[bytes]:
        """Who on the link answers for an address."""


class Program:
    """Tasks that end together: by a kill, or with an error that ends the example."""

    def __init__(self, name: str, failures: list[str]) -> None:
        self.name = name
        self._failures = failures
        self._tasks: list[asyncio.Task[None]] = []
        self.alive = False
        """Whether it runs."""

    def start(self, *parts: Coroutine[Any, Any, None]) -> None:
        """Begin."""
        self.alive = True
        self._tasks = [asyncio.get_running_loop().create_task(part) for part in parts]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    def kill(self) -> None:
        """At once, wherever it waits."""
        self.alive = False
        for task in self._tasks:
            task.cancel()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled():
            return
        error = task.exception()
        self.kill()
        if error is None or isinstance(error, Crash):
            return
        self._failures.append(f"{self.name} ended: {type(error).__name__}: {error}")


class Checks:
    """A probe process: runs of passes and failures once a second, and agents' words, as long as it lives."""

    def __init__(self, machine: Machine, network: Network, wake: Callable[[], None]) -> None:
        self._machine = machine
        self._network = network
        self._wake = wake
        self._asked: frozenset[IPAddress] = frozenset()
        self._words = Words(port=WORD_PORT)
        self._streaks: dict[Check, Streak] = {}
        self._verdicts: dict[Check, CheckResult] | None = None
        self.failed_at: dict[Check, float] = {}
        """When a check failed last, in the life of this process."""
        self.dead = False

    def verdicts(self) -> Mapping[Check, CheckResult]:
        """What is known of every wanted check; the same object until something changes."""
        if self._verdicts is None:
            self._verdicts = {check: CheckResult(verdict=one.verdict) for check, one in self._streaks.items()}
        return self._verdicts

    def want(self, checks: Mapping[Check, Verdict]) -> None:
        """Exactly these."""
        if checks.keys() != self._streaks.keys():
            begun = {check: Streak(verdict=verdict) for check, verdict in checks.items()}
            self._streaks = {check: self._streaks.get(check, streak) for check, streak in begun.items()}
            self._verdicts = None

    @staticmethod
    def blindness() -> None:
        """Of checks that could not be made nothing is modelled."""

    def words(self) -> Words:
        """What agents were heard to say; the same object until they say something."""
        return self._words

    def ask(self, addresses: AbstractSet[IPAddress]) -> None:
        """Ask the agents of exactly these."""
        if addresses != self._asked:
            self._asked = frozenset(addresses)
            kept = {address: said for address, said in self._words.answers.items() if address in self._asked}
            self._words = Words(port=WORD_PORT, answers=kept)

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if not self.dead:
                self._check()
                self._listen()

    def _listen(self) -> None:
        if not self._asked:
            return
        answers = {}
        for address in self._asked:
            word = self._network.word(address)
            if word is None or word.age_milliseconds > MAX_AGE_MILLISECONDS:
                answers[address] = Answer(heard=self._machine.clock(), detail="no answer")
            else:
                answers[address] = Answer(heard=self._machine.clock(), carried=word.carried)
        self._words = Words(port=WORD_PORT, answers=answers)
        self._wake()

    def _check(self) -> None:
        for check, streak in list(self._streaks.items()):
            now = judge(streak, passed=self._network.answers(self._machine, check), rise=check.rise, fall=check.fall)
            if now is not streak:
                self._streaks[check] = now
            if now.verdict is not streak.verdict:
                if now.verdict is Verdict.DOWN:
                    self.failed_at[check] = self._machine.clock()
                self._verdicts = None
                self._wake()


class TappedSource:
    """The agent's source, which remembers the plan that it gave last."""

    def __init__(self, source: ApiSource, machine: Machine) -> None:
        self._source = source
        self._machine = machine
        self.given: NodePlan | None = None

    @property
    def plan(self) -> NodePlan | None:
        """What is to be done."""
        plan = self._source.plan
        if plan is not self.given and plan is not None:
            self._note(plan)
        self.given = plan
        return plan

    def _note(self, plan: NodePlan) -> None:
        machine = self._machine
        for planned in plan.services():
            machine.planned[service_key(planned.key)] = planned.service_uid

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (whatever the agent asks of its source)
        return getattr(self._source, name)


class Neighbours:
    """As a `DuplicateProbe`: who on the link answers for an address."""

    def __init__(self, machine: Machine, network: Network) -> None:
        self._machine = machine
        self._network = network

    async def ask(
        self, device: str, addresses: Collection[IPAddress], *, heed_probes: bool = True
    ) -> Mapping[IPAddress, frozenset[bytes]]:
        """Ask the link, where nobody else happens to ask."""
        del heed_probes
        assert device == ETH
        await asyncio.sleep(0.3)
        found = {address: self._network.holders(self._machine, address) for address in addresses}
        return {address: answers for address, answers in found.items() if answers}


class AgentProgram(Program):
    """lvs-agent on a machine."""

    def __init__(
        self,
        machine: Machine,
        wire: Wire,
        *,
        network: Network,
        failures: list[str],
    ) -> None:
        super().__init__(f"the agent of {machine.name}", failures)
        self.machine = machine
        self.boot = machine.boot
        self.checks = Checks(machine, network, self._wake)
        neighbours = Neighbours(machine, network)
        self._duplicates = DuplicateKeeper(neighbours, monotonic=machine.clock, wake=self._wake)
        self._claimants = ClaimantKeeper(
            neighbours, machine.announcer, AgentMetrics(), monotonic=machine.clock, wake=self._wake
        )
        self._network = network
        self._handed_on = HandedOnKeeper(neighbours, monotonic=machine.clock, wake=self._wake)
        self._agent: Agent | None = None
        connection = cast("ApiConnection", AgentConnection(wire))
        metrics = AgentMetrics()
        source = ApiSource(
            connection, node_name=machine.name, store=ViewStore(machine.disk / "view"), metrics=metrics, wake=self._wake
        )
        source.load()
        self.source = TappedSource(source, machine)
        reporter = StatusReporter(
            connection, node_name=machine.name, observed=lambda: source.addressed_node, metrics=metrics
        )
        events = AgentEvents(connection, node_name=machine.name, observed=lambda: source.observed_node, metrics=metrics)

        def tell(status: LvsNodeStatus) -> None:
            events.tell(status)
            reporter.tell(status)

        cluster = ClusterFactsReader(
            connection,
            node_name=machine.name,
            hosts={connection.host},
            path=machine.disk / "cluster",
            wake=self._wake,
        )
        cluster.load()
        self._agent = self._assembled(machine, metrics, cluster, tell)
        self._agent.wake()
        lease = keep_lease(connection, namespace=DEFAULT_NAMESPACE, node_name=machine.name)
        own = (self._agent.run(), self.checks.run(), cluster.run())
        self.start(source.run(), reporter.run(), events.run(), lease, *own)

    def word(self) -> NodeWord | None:
        """What it says of its node to those who ask."""
        return self._agent.word() if self._agent is not None and self.alive else None

    def _assembled(
        self,
        machine: Machine,
        metrics: AgentMetrics,
        cluster: ClusterFactsReader,
        tell: Callable[[LvsNodeStatus], None],
    ) -> Agent:
        vrrp = VrrpDirectory(machine.disk / "vrrp", machine.boot_id)
        seams = LeftSeams(links=machine.links, probe=Neighbours(machine, self._network), is_spoken=lambda: False)
        left = LeftAddressKeeper(vrrp, seams, monotonic=machine.clock, wake=self._wake)
        return Agent(
            source=self.source,
            keepers=Keepers(
                table=TableKeeper(machine.ipvs, metrics, machine.clock),
                settings=NodeSettingsKeeper(machine.settings, machine.sysctls, metrics, machine.clock),
                daemons=SyncDaemonKeeper(machine.settings, metrics, machine.clock),
                addresses=AddressKeeper(
                    links=machine.links,
                    sysctls=machine.sysctls,
                    announcer=machine.announcer,
                    duplicates=self._duplicates,
                    metrics=metrics,
                    monotonic=machine.clock,
                ),
                host_routes=RouteKeeper(machine.host_routes, metrics),
                packet_filter=PacketFilterKeeper(machine.packet_filter, metrics, machine.clock),
                receive_ports=ReceivePortKeeper(machine.receive_ports, metrics),
                ftp_helper=FtpHelperKeeper(machine.ftp_helper, machine.clock),
                delivery=DeliveryKeeper(machine.delivery, metrics, machine.clock),
                handed_on=self._handed_on,
                refusals=RefusalKeeper(links=machine.links, cluster=cluster),
                vrrp=VrrpKeeper(
                    vrrp,
                    LinkWatchers(
                        claimants=self._claimants,
                        left=left,
                        answers=ClaimAnswerer(FakeClaims(), machine.announcer, metrics, machine.clock),
                    ),
                    metrics,
                    machine.clock,
                ),
                ledger=LedgerKeeper(LedgerFile(machine.disk / "ledger", machine.boot_id), metrics, machine.clock),
                zero=ZeroKeeper(machine.ipvs),
                unseen=UnseenPacketKeeper(
                    tap=FakePacketTap(),
                    ipvs=machine.ipvs,
                    links=machine.links,
                    sysctls=machine.sysctls,
                    metrics=metrics,
                    monotonic=machine.clock,
                ),
            ),
            links=machine.links,
            prober=self.checks,
            identity=NodeIdentity(boot_id=machine.boot_id, agent_version="1", capabilities=NodeCapabilities),
            metrics=metrics,
            tell=tell,
            boot_clock=machine.clock,
        )

    def _wake(self) -> None:
        if self._agent is not None:
            self._agent.wake()


class _Leads:
    """The Lease is always this replica's."""

    leads = True

    def may_write(self) -> None:
        """It may."""


class OperatorProgram(Program):
    """lvs-operator."""

    def __init__(self, api: ModelApi, reach: Reach, rng: Random, failures: list[str]) -> None:
        super().__init__("the operator", failures)
        client = cast("ApiClient", OperatorClient(Wire(api, reach, rng)))
        self.cache = Cache()
        events = OperatorEvents(client, identity="one", leads=lambda: True)
        leases = AgentLeases(client, DEFAULT_NAMESPACE, self._wake)
        self._reconciler = Reconciler(
            client=client,
            cache=self.cache,
            leader=cast("Leader", _Leads()),
            rhythm=Rhythm(check=OPERATOR_CHECK_SECONDS, counts=1.0),
            daemonset=None,
            signs=lambda: leases.signs,
            events=events,
        )
        self._api = api
        self._kopf = Kopf(api, reach, rng, self._take, self._reconciler.doubt_view)
        api.witnesses.append(self._kopf.witness)
        self.start(self._reconciler.run(), events.run(), leases.run(), self._kopf.run())

    def _wake(self) -> None:
        self._reconciler.wake()

    def kill(self) -> None:
        """At once."""
        super().kill()
        self._kopf.end()
        if self._kopf.witness in self._api.witnesses:
            self._api.witnesses.remove(self._kopf.witness)

    def _take(self, kind: WatchedKind, raw: Raw, gone: bool) -> None:
        if self.cache.apply(kind, raw, gone=gone):
            self._reconciler.wake()
