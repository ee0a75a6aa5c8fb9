"""The one loop: wake, read, decide, write, verify, report.

Whatever happens sets one flag; each round computes everything anew from what is. A round without a difference writes
nothing, neither to the kernel nor to the API.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Protocol

from lvs_agent.converge.addresses import AddressKeeper, Given
from lvs_agent.converge.contest import ContestKeeper
from lvs_agent.converge.delivery import DeliveryKeeper
from lvs_agent.converge.ftp_helper import FtpHelperKeeper
from lvs_agent.converge.handed_on import HandedOnKeeper
from lvs_agent.converge.node_settings import NodeSettingsKeeper
from lvs_agent.converge.packet_filter import PacketFilterKeeper, Remains
from lvs_agent.converge.quorums import QuorumKeeper
from lvs_agent.converge.receive_ports import ReceivePortKeeper
from lvs_agent.converge.refusals import RefusalKeeper
from lvs_agent.converge.route_lookup import RouteLookup
from lvs_agent.converge.routes import RouteKeeper
from lvs_agent.converge.sync_daemons import SyncDaemonKeeper
from lvs_agent.converge.table import TableKeeper, TableOutcome
from lvs_agent.converge.virtual_routers import VrrpKeeper
from lvs_agent.decide.delivered_marks import undelivered_services
from lvs_agent.decide.desired_state import Circumstances
from lvs_agent.decide.drain import next_deadline
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.former_routes import wanted_host_routes
from lvs_agent.decide.fresh_word import MemberKey, Standing, Words
from lvs_agent.decide.handed_on import waiting_services, waiting_vips
from lvs_agent.decide.health_verdict import Check, CheckResult, Verdict
from lvs_agent.decide.helped_ports import unhelped_services
from lvs_agent.decide.kernel_settings import SyncDaemons
from lvs_agent.decide.kernel_state import (
    AddressBinding,
    IPAddress,
    KernelIpvs,
    KernelSysctls,
    ReceivePort,
    Route,
)
from lvs_agent.decide.lost_ledger import lost_bindings
from lvs_agent.decide.named_table import Naming
from lvs_agent.decide.node_report import Troubles, carried
from lvs_agent.decide.node_word import NodeWord
from lvs_agent.decide.ownership import OwnedIpvs
from lvs_agent.decide.packet_rules import (
    faulty_services,
    packet_rules,
    paused_connections,
    staying_services,
    unready_addresses,
    with_handed_on,
    with_tunnels,
)
from lvs_agent.decide.packet_table import PacketRules
from lvs_agent.decide.prepared_plan import PreparedPlan, prepare
from lvs_agent.decide.receive_ports import PortClaims, closed_ports, former_ports, wanted_ports
from lvs_agent.decide.setting_values import Numbers
from lvs_agent.decide.sync_daemons import with_vrrp_roles
from lvs_agent.decide.tunnel_guard import TunnelGuard, guard_tunnels
from lvs_agent.decide.vrrp_tracking import Serving
from lvs_agent.decide.withheld import Withheld
from lvs_agent.disk.ledger import Ledger
from lvs_agent.disk.ledger_keeper import LedgerKeeper
from lvs_agent.errors import LvsAgentError
from lvs_agent.kernel.interface import Links
from lvs_agent.node_status import NodeIdentity, Round, StatusKeeper
from lvs_agent.serve.metrics import AgentMetrics
from lvs_agent.serve.zero import ZeroKeeper
from lvs_api.conditions import timestamp
from lvs_api.lvs_node import LvsNodeStatus
from lvs_core.plan import NodePlan

TICK_SECONDS: Final = 1.0
"""Without any news a round is made so often: nothing tells of changes to IPVS and sysctls."""
SPACING_SECONDS: Final = 0.02
"""At least so long from the end of a round to the next, so that a storm of events is answered together."""
_log = logging.getLogger(__name__)


class PlanSource(Protocol):
    """Where the plan comes from: the API server, or files."""

    @property
    def plan(self) -> NodePlan | None:
        """What is to be done; None while nothing complete is known: then nothing is done."""

    @property
    def withheld(self) -> Withheld:
        """What is not carried out of what the source says."""

    def reported_status(self) -> LvsNodeStatus | None:
        """What the node's status says now; None where there is none, or it can not be read."""

    def asked_zero(self) -> str | None:
        """A person's request that counters begin at 0; None where there is none, or nobody can ask."""

    def state_faults(self) -> tuple[Fault, ...]:
        """What is the matter with the copy of it on disk."""


class Prober(Protocol):
    """Runs checks, and asks the agents of real servers what these carry."""

    def verdicts(self) -> Mapping[Check, CheckResult]:
        """What is known of every wanted check."""

    def blindness(self) -> Fault | None:
        """Why checks say less than they should."""

    def want(self, checks: Mapping[Check, Verdict]) -> None:
        """Run exactly these."""

    def words(self) -> Words | None:
        """What agents were heard to say; None: they are not asked."""

    def ask(self, addresses: AbstractSet[IPAddress]) -> None:
        """Ask the agents of exactly these real servers."""


class Agent:
    """Owner of everything that the loop keeps from round to round."""

    def __init__(
        self,
        *,
        source: PlanSource,
        table: TableKeeper,
        settings: NodeSettingsKeeper,
        daemons: SyncDaemonKeeper,
        addresses: AddressKeeper,
        host_routes: RouteKeeper,
        packet_filter: PacketFilterKeeper,
        receive_ports: ReceivePortKeeper,
        ftp_helper: FtpHelperKeeper,
        delivery: DeliveryKeeper,
        handed_on: HandedOnKeeper,
        refusals: RefusalKeeper,
        vrrp: VrrpKeeper,
        links: Links,
        prober: Prober,
        ledger: LedgerKeeper,
        zero: ZeroKeeper,
        identity: NodeIdentity,
        metrics: AgentMetrics,
        tell: Callable[[LvsNodeStatus], None],
        boot_clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._source = source
        self._table = table
        self._settings = settings
        self._daemons = daemons
        self._addresses = addresses
        self._host_routes = host_routes
        self._packet_filter = packet_filter
        self._receive_ports = receive_ports
        self._ftp_helper = ftp_helper
        self._delivery = delivery
        self._handed_on = handed_on
        self._refusals = refusals
        self._vrrp = vrrp
        self._links = links
        self._prober = prober
        self._keeper = ledger
        self._zero = zero
        self._identity = identity
        self._metrics = metrics
        self._status = StatusKeeper(source.reported_status, identity, metrics, tell)
        self._boot_clock = boot_clock
        self._news = asyncio.Event()
        self._routes = RouteLookup(links, boot_clock)
        self._contest = ContestKeeper(links, boot_clock)
        self._prepared: PreparedPlan | None = None
        self._standings: Mapping[MemberKey, Standing] = {}
        self._quorums = QuorumKeeper(self.wake)
        self._looked: float | None = None
        """Monotonic clock at the beginning of the last round; None where that failed."""
        self._failure: str | None = None
        self._is_well = False
        """The last round was made to its end: what is due after it has not been left undone."""
        self._is_back = False
        """Once since the start it has done all that is asked of it."""
        self.last_round: float | None = None
        """Monotonic clock at the end of the last round."""

    def wake(self) -> None:
        """Something may have changed."""
        self._news.set()

    async def run(self) -> None:
        """Make rounds until cancelled. Cancelling leaves the kernel as it is."""
        await self._links.watch(self._links_changed)
        while True:
            await self._wait()
            took = await self.round()
            await asyncio.sleep(min(max(SPACING_SECONDS, took), TICK_SECONDS))

    async def round(self) -> float:
        """One round; how many seconds it took. A failure is told, and everything is tried anew in the next."""
        began = time.monotonic()
        plan = self._source.plan
        self._is_well = False
        if plan is not None:
            try:
                await self._carry_out(plan)
            except LvsAgentError as error:
                self._looked = None
                self._metrics.rounds.labels("failed").inc()
                if str(error) != self._failure:
                    _log.error("this round failed: %s", error)
                self._failure = str(error)
                self._status.tell_failure(error, self._boot_clock())
            else:
                self._is_well = True
                self._looked = began
                self._metrics.rounds.labels("ok").inc()
                self._failure = None
        self.last_round = time.monotonic()
        self._metrics.round_seconds.observe(self.last_round - began)
        return self.last_round - began

    def naming(self) -> Naming | None:
        """Whose the entries of the table are, as of the last round; None before the first. May be called by threads."""
        prepared = self._prepared
        return None if prepared is None else Naming(prepared=prepared, owned=self._keeper.ledger.ipvs)

    def not_ready(self) -> str | None:
        """Why an update is not to go on to the next node; None: this one does again what is asked of it.

        Faults of single services hold nothing up, for the next node would have them, too. Nor does what comes later:
        pods that are not ready are replaced first, and all at once, whatever `maxUnavailable` says. A fault that all
        directors have would let an update end them together.
        """
        if not self._is_back:
            why = self._awaited()
            self._is_back = why is None
            return why
        return None

    def _awaited(self) -> str | None:
        if self._prepared is None:
            return "no round by a complete view yet"
        if self._looked is None:
            return f"the last round failed: {self._failure}"
        if self._prepared.plan.provisional:
            return "it serves by the view of before it started, for the API server has not told all yet"
        return self._vrrp.awaited

    def word(self) -> NodeWord | None:
        """What this node carries, as its last round found it; None where that round failed, or none was made."""
        status = self._status.said
        if status is None or self._looked is None or self._prepared is None:
            return None
        age = round(1000 * (time.monotonic() - self._looked))
        given = carried(status, self._prepared.plan)
        return NodeWord(boot_id=self._identity.boot_id, carried=given, age_milliseconds=age)

    def _links_changed(self) -> None:
        self._routes.doubt()
        self._host_routes.doubt()
        self.wake()

    async def _wait(self) -> None:
        """Until there is news, something is due, or a tick is over."""
        due = [TICK_SECONDS]
        if self._is_well:
            if (announcement := self._addresses.next_deadline()) is not None:
                due.append(announcement - time.monotonic())
            if (drain := next_deadline(self._keeper.ledger.drains)) is not None:
                due.append(drain - self._boot_clock())
            if (look_up := self._routes.next_deadline()) is not None:
                due.append(look_up - self._boot_clock())
        try:
            async with asyncio.timeout(max(0.0, min(due))):
                await self._news.wait()
        except TimeoutError:
            pass
        self._news.clear()

    async def _carry_out(self, plan: NodePlan) -> None:
        known = await self._recall(plan)
        ledger = self._keeper.ledger
        refusals = await self._refusals.judge(plan, ledger)
        if self._prepared is None or not self._prepared.is_of(plan, refusals):
            self._prepared = prepare(plan, self._prepared, refusals)
        prepared = self._prepared
        routes = await self._routes.look_up(prepared.routed)
        states = self._vrrp.look(plan)
        given = Given(
            prepared=prepared,
            owned=ledger.bindings,
            sysctls=ledger.sysctls,
            routes=routes,
            vrrp=states,
            withdrawn=self._quorums.look(prepared),
        )
        host_routes = wanted_host_routes(prepared, routes)
        await self._addresses.let_go(given, self._remember_addresses)
        await self._host_routes.take_on(host_routes)
        if not plan.provisional:
            await self._delivery.let_go(prepared)
        handed_on = self._handed_on.look(prepared, ledger.ipvs, routes, await self._links.read())
        around = Circumstances(
            kernel=KernelIpvs(),
            owned=ledger.ipvs,
            health=self._prober.verdicts(),
            routes=routes,
            drains=ledger.drains,
            now=self._boot_clock(),
            standings=self._standings,
            words=self._prober.words(),
            still_carried=self._vrrp.still_carried(plan, await self._links.read()),
            quorums=self._quorums.met,
            told_below=self._quorums.told_below or frozenset(),
            handed_on=handed_on.services,
            unguarded=self._handed_on.unguarded,
        )
        guard = await self._guard_tunnels(plan, ledger, known, routes)
        rules = with_handed_on(with_tunnels(packet_rules(prepared), guard.rules), handed_on.rules)
        await self._packet_filter.take_on(rules, paused_connections(prepared), provisional=plan.provisional)
        closed = self._keep_ports(plan)
        self._ftp_helper.converge(prepared)
        table = self._table.converge(prepared, around, self._remember_table)
        await self._settle_rules(prepared, rules, table)
        unguarded, why = self._handed_on.unguarded, self._handed_on.why
        self._keeper.settle(replace(self._keeper.ledger, ipvs=table.owned, drains=table.desired.drains))
        self._standings = table.desired.standings
        settings = self._settings.converge(prepared, self._keeper.ledger.settings, self._remember_settings)
        wishes = with_vrrp_roles(plan.settings, self._vrrp.states())
        daemons = self._daemons.converge(wishes, self._keeper.ledger.daemons, self._remember_daemons)
        self._keeper.settle(replace(self._keeper.ledger, settings=settings.remembered, daemons=daemons.owned))
        await self._contest.follow(self._table.take_damage(), table.present)
        self._prober.want(table.desired.checks)
        self._prober.ask(table.desired.asks)
        if not plan.provisional:
            await self._host_routes.let_go(host_routes)
        withdrawn, ledger = self._quorums.follow(prepared, table.desired.quorums), self._keeper.ledger
        given = replace(
            given,
            owned=ledger.bindings,
            sysctls=ledger.sysctls,
            withdrawn=withdrawn,
            waiting=waiting_vips(plan, unguarded, why),
        )
        unready = unready_addresses(prepared, self._packet_filter.why_not)
        served = table.served - unready if unready else table.served
        waiting = waiting_services(prepared, unguarded, table.present, why)
        serving = Serving(
            prepared=prepared,
            served=table.served,
            faults={**table.faults, **waiting} if waiting else table.faults,
            unready=dict.fromkeys(unready, self._packet_filter.why_not or ""),
            unavailable=table.unavailable.message if table.unavailable is not None else None,
            masters=self._vrrp.masters(),
            withdrawn=withdrawn,
        )
        vrrp = self._vrrp.converge(serving, await self._links.read())
        addresses = await self._addresses.take_on(given, served, self._remember_addresses)
        await self._delivery.take_on(prepared, table.present)
        self._keeper.settle(replace(self._keeper.ledger, bindings=addresses.owned, sysctls=addresses.sysctls))
        now = timestamp(datetime.now(UTC))
        zeroed = self._zero.carry_out(self._source.asked_zero(), self._source.reported_status, table, now)
        troubles = Troubles(
            withheld=self._source.withheld,
            state=(*self._keeper.faults(), *self._source.state_faults()),
            blindness=self._prober.blindness(),
            settings=(*settings.rows, *daemons.rows),
            contest=self._contest.fault,
            tunnels=guard.with_failure(self._packet_filter.why_not),
            failover=vrrp.fault,
        )
        lacking = {
            **unhelped_services(prepared, self._ftp_helper.followed),
            **undelivered_services(prepared, self._delivery.why_not),
            **faulty_services(prepared, self._packet_filter.why_not),
            **waiting,
        }
        self._status.report(Round(prepared, table, addresses, troubles, lacking, closed, zeroed, vrrp, withdrawn), now)

    async def _recall(self, plan: NodePlan) -> frozenset[AddressBinding]:
        """The addresses that the ledger names; where it was lost, those of the plan are taken back then.

        What was said of quorums before this process is read as well.
        """
        known = self._keeper.ledger.bindings
        if self._keeper.is_lost:
            bindings = lost_bindings(plan, await self._links.read())
            self._keeper.take_back(bindings, is_all=not plan.provisional)
        self._quorums.recall(self._source.reported_status, self._identity.boot_id)
        return known

    async def _guard_tunnels(
        self, plan: NodePlan, ledger: Ledger, known: AbstractSet[AddressBinding], routes: Mapping[IPAddress, Route]
    ) -> TunnelGuard:
        """Who may send wrapped packets. `known` are the addresses that the ledger named when the round began."""
        links = await self._links.read()
        claims = PortClaims(wanted_ports(plan, ledger.ports), ledger.ports, former_ports(plan, links, known))
        return guard_tunnels(plan, links, ledger.bindings, routes, self._receive_ports.look(claims))

    async def _settle_rules(self, prepared: PreparedPlan, rules: PacketRules, table: TableOutcome) -> None:
        """Take away the rules that are no longer needed, and judge what other directors may hand on by those that are.

        By what was there before this: what goes in this round is of no use, and harmless.
        """
        there = self._packet_filter.present.handed_on
        if not (prepared.plan.provisional or table.desired.keep_unknown):
            remains = Remains(staying=staying_services(prepared, table.present), open_among=self._table.open_among)
            needed = with_handed_on(rules, rules.handed_on | self._handed_on.kept(there))
            await self._packet_filter.let_go(needed, paused_connections(prepared), remains)
        self._handed_on.settle(table, self._packet_filter.why_not, there)

    def _keep_ports(self, plan: NodePlan) -> Mapping[AddressBinding, Mapping[int, Fault]]:
        """Open and close ports for GUE; of VIPs those that are not open."""
        ports = self._receive_ports.converge(self._remember_ports)
        self._keeper.settle(replace(self._keeper.ledger, ports=ports.owned))
        return closed_ports(plan, ports.faults)

    def _remember_table(self, owned: OwnedIpvs) -> OwnedIpvs:
        return self._keeper.reserve(replace(self._keeper.ledger, ipvs=owned)).ipvs

    def _remember_settings(self, numbers: Numbers) -> Numbers:
        return self._keeper.reserve(replace(self._keeper.ledger, settings=numbers)).settings

    def _remember_ports(self, ports: AbstractSet[ReceivePort]) -> frozenset[ReceivePort]:
        return self._keeper.reserve(replace(self._keeper.ledger, ports=frozenset(ports))).ports

    def _remember_daemons(self, daemons: SyncDaemons) -> SyncDaemons:
        return self._keeper.reserve(replace(self._keeper.ledger, daemons=daemons)).daemons

    def _remember_addresses(self, owned: AbstractSet[AddressBinding], sysctls: KernelSysctls) -> Ledger:
        return self._keeper.reserve(replace(self._keeper.ledger, bindings=frozenset(owned), sysctls=sysctls))
