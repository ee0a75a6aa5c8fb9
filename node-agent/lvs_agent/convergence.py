"""What one round does, in its order: read, decide, write, verify, report.

The order is what keeps connections: a VIP is let go before its services, and taken when they are there.
"""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from lvs_agent.converge.addresses import AddressOutcome, Given
from lvs_agent.converge.contest import ContestKeeper
from lvs_agent.converge.packet_filter import Remains
from lvs_agent.converge.quorums import QuorumKeeper
from lvs_agent.converge.route_lookup import RouteLookup
from lvs_agent.converge.table import TableOutcome
from lvs_agent.converge.virtual_routers import VrrpOutcome
from lvs_agent.decide.circumstances import Circumstances
from lvs_agent.decide.delivered_marks import undelivered_services
from lvs_agent.decide.drain import next_deadline
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.former_routes import wanted_host_routes
from lvs_agent.decide.fresh_word import MemberKey, Standing
from lvs_agent.decide.handed_on import HandedOn, waiting_services, waiting_vips
from lvs_agent.decide.helped_ports import unhelped_services
from lvs_agent.decide.kernel_state import AddressBinding, AnyServiceKey, IPAddress, KernelIpvs
from lvs_agent.decide.lost_ledger import lost_bindings
from lvs_agent.decide.node_facts import Troubles
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
from lvs_agent.decide.setting_report import SettingRow
from lvs_agent.decide.sync_daemons import with_vrrp_roles
from lvs_agent.decide.tunnel_guard import TunnelGuard, guard_tunnels
from lvs_agent.decide.vrrp_tracking import Serving
from lvs_agent.keepers import Keepers
from lvs_agent.kernel.interface import Links
from lvs_agent.node_status import Round, StatusKeeper
from lvs_agent.objects.plan_source import PlanSource
from lvs_agent.probes.prober import Prober
from lvs_api.conditions import timestamp
from lvs_core.plan import NodePlan


@dataclass(frozen=True, slots=True)
class _Taken:
    """What came of the addresses, by the table as it stands."""

    addresses: AddressOutcome
    vrrp: VrrpOutcome
    withdrawn: frozenset[IPAddress]
    waiting: Mapping[AnyServiceKey, Fault]
    """Services that are not made until what other directors hand on is told apart."""


class Convergence:
    """Owner of what one round leaves to the next. `wake` is called for another round."""

    def __init__(
        self,
        *,
        source: PlanSource,
        keepers: Keepers,
        links: Links,
        prober: Prober,
        status: StatusKeeper,
        boot_id: str,
        boot_clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._source = source
        self._keepers = keepers
        self._links = links
        self._prober = prober
        self._status = status
        self._boot_id = boot_id
        self._boot_clock = boot_clock
        self._routes = RouteLookup(links, boot_clock)
        self._contest = ContestKeeper(links, boot_clock)
        self._quorums = QuorumKeeper(wake)
        self._standings: Mapping[MemberKey, Standing] = {}
        self.prepared: PreparedPlan | None = None
        """The plan of the last round that came so far; None before."""

    def doubt_routes(self) -> None:
        """Routes may have changed."""
        self._routes.doubt()
        self._keepers.host_routes.doubt()

    def due_in(self, monotonic: float) -> float | None:
        """In how many seconds something is to be done without any news; None where nothing is."""
        due, now = [], self._boot_clock()
        if (announcement := self._keepers.addresses.next_deadline()) is not None:
            due.append(announcement - monotonic)
        if (drain := next_deadline(self._keepers.ledger.ledger.drains)) is not None:
            due.append(drain - now)
        if (look_up := self._routes.next_deadline()) is not None:
            due.append(look_up - now)
        return min(due, default=None)

    async def carry_out(self, plan: NodePlan) -> None:
        """One round by this plan. Raises LvsAgentError where it did not come to its end."""
        keepers, known = self._keepers, await self._recall(plan)
        given = await self._given(plan)
        prepared, host_routes = given.prepared, wanted_host_routes(given.prepared, given.routes)
        await keepers.addresses.let_go(given, keepers.ledger.reserve_addresses)
        await keepers.host_routes.take_on(host_routes)
        if not plan.provisional:
            await keepers.delivery.let_go(prepared)
        owned = keepers.ledger.ledger.ipvs
        handed_on = keepers.handed_on.look(prepared, owned, given.routes, await self._links.read())
        around = await self._circumstances(given, handed_on)
        guard = await self._guard_tunnels(given, known)
        rules = with_handed_on(with_tunnels(packet_rules(prepared), guard.rules), handed_on.rules)
        await keepers.packet_filter.take_on(rules, paused_connections(prepared), provisional=plan.provisional)
        closed = self._keep_ports(plan)
        keepers.ftp_helper.converge(prepared)
        table = keepers.table.converge(prepared, around, keepers.ledger.reserve_table)
        await self._settle_rules(prepared, rules, table)
        keepers.ledger.settle(replace(keepers.ledger.ledger, ipvs=table.owned, drains=table.desired.drains))
        self._standings = table.desired.standings
        settings = self._keep_settings(prepared)
        await self._contest.follow(keepers.table.take_damage(), table.present)
        self._prober.want(table.desired.checks)
        self._prober.ask(table.desired.asks)
        if not plan.provisional:
            await keepers.host_routes.let_go(host_routes)
        taken = await self._take_on(given, table)
        now = timestamp(datetime.now(UTC))
        zeroed = keepers.zero.carry_out(self._source.asked_zero(), self._source.reported_status, table, now)
        troubles, lacking = self._troubles(settings, guard, taken.vrrp), self._lacking(prepared, taken.waiting)
        troubles = replace(troubles, unseen=await keepers.unseen.follow(prepared, table, taken.addresses))
        addresses, vrrp, withdrawn = taken.addresses, taken.vrrp, taken.withdrawn
        self._status.report(Round(prepared, table, addresses, troubles, lacking, closed, zeroed, vrrp, withdrawn), now)

    async def _recall(self, plan: NodePlan) -> frozenset[AddressBinding]:
        """The addresses that the ledger names; where it was lost, those of the plan are taken back then.

        What was said of quorums before this process is read as well.
        """
        ledger = self._keepers.ledger
        known = ledger.ledger.bindings
        if ledger.is_lost:
            bindings = lost_bindings(plan, await self._links.read())
            ledger.take_back(bindings, is_all=not plan.provisional)
        self._quorums.recall(self._source.reported_status, self._boot_id)
        return known

    async def _given(self, plan: NodePlan) -> Given:
        """What the round starts from. The plan is prepared anew only where it, or what is refused of it, is another."""
        ledger = self._keepers.ledger.ledger
        refusals = await self._keepers.refusals.judge(plan, ledger)
        if self.prepared is None or not self.prepared.is_of(plan, refusals):
            self.prepared = prepare(plan, self.prepared, refusals)
        prepared = self.prepared
        return Given(
            prepared=prepared,
            owned=ledger.bindings,
            sysctls=ledger.sysctls,
            routes=await self._routes.look_up(prepared.routed),
            vrrp=self._keepers.vrrp.look(plan),
            withdrawn=self._quorums.look(prepared),
        )

    async def _circumstances(self, given: Given, handed_on: HandedOn) -> Circumstances:
        """What the table depends on beside the plan. The kernel's own is read by who writes it."""
        ledger = self._keepers.ledger.ledger
        return Circumstances(
            kernel=KernelIpvs(),
            owned=ledger.ipvs,
            health=self._prober.verdicts(),
            routes=given.routes,
            drains=ledger.drains,
            now=self._boot_clock(),
            standings=self._standings,
            words=self._prober.words(),
            still_carried=self._keepers.vrrp.still_carried(given.prepared.plan, await self._links.read()),
            quorums=self._quorums.met,
            told_below=self._quorums.told_below or frozenset(),
            handed_on=handed_on.services,
            unguarded=self._keepers.handed_on.unguarded,
        )

    async def _guard_tunnels(self, given: Given, known: AbstractSet[AddressBinding]) -> TunnelGuard:
        """Who may send wrapped packets. `known` are the addresses that the ledger named when the round began."""
        plan, links, ports = given.prepared.plan, await self._links.read(), self._keepers.ledger.ledger.ports
        claims = PortClaims(wanted_ports(plan, ports), ports, former_ports(plan, links, known))
        return guard_tunnels(plan, links, given.owned, given.routes, self._keepers.receive_ports.look(claims))

    def _keep_ports(self, plan: NodePlan) -> Mapping[AddressBinding, Mapping[int, Fault]]:
        """Open and close ports for GUE; of VIPs those that are not open."""
        ledger = self._keepers.ledger
        ports = self._keepers.receive_ports.converge(ledger.reserve_ports)
        ledger.settle(replace(ledger.ledger, ports=ports.owned))
        return closed_ports(plan, ports.faults)

    async def _settle_rules(self, prepared: PreparedPlan, rules: PacketRules, table: TableOutcome) -> None:
        """Take away the rules that are no longer needed, and judge what other directors may hand on by those that are.

        By what was there before this: what goes in this round is of no use, and harmless.
        """
        keepers = self._keepers
        there = keepers.packet_filter.present.handed_on
        if not (prepared.plan.provisional or table.desired.keep_unknown):
            remains = Remains(staying=staying_services(prepared, table.present), open_among=keepers.table.open_among)
            needed = with_handed_on(rules, rules.handed_on | keepers.handed_on.kept(there))
            await keepers.packet_filter.let_go(needed, paused_connections(prepared), remains)
        keepers.handed_on.settle(table, keepers.packet_filter.why_not, there)

    def _keep_settings(self, prepared: PreparedPlan) -> tuple[SettingRow, ...]:
        """What the node has once: numbers, and the synchronization daemons in the roles that VRRP gives them."""
        keepers, ledger = self._keepers, self._keepers.ledger
        settings = keepers.settings.converge(prepared, ledger.ledger.settings, ledger.reserve_settings)
        wishes = with_vrrp_roles(prepared.plan.settings, keepers.vrrp.states())
        daemons = keepers.daemons.converge(wishes, ledger.ledger.daemons, ledger.reserve_daemons)
        ledger.settle(replace(ledger.ledger, settings=settings.remembered, daemons=daemons.owned))
        return (*settings.rows, *daemons.rows)

    async def _take_on(self, given: Given, table: TableOutcome) -> _Taken:
        """Take addresses, now that what is behind them is there, and have VRRP carry those that may be carried."""
        keepers, prepared, ledger = self._keepers, given.prepared, self._keepers.ledger
        unguarded, why = keepers.handed_on.unguarded, keepers.handed_on.why
        withdrawn = self._quorums.follow(prepared, table.desired.quorums)
        waiting = waiting_services(prepared, unguarded, table.present, why)
        unready = unready_addresses(prepared, keepers.packet_filter.why_not)
        serving = Serving(
            prepared=prepared,
            served=table.served,
            faults={**table.faults, **waiting} if waiting else table.faults,
            unready=dict.fromkeys(unready, keepers.packet_filter.why_not or ""),
            unavailable=table.unavailable.message if table.unavailable is not None else None,
            masters=keepers.vrrp.masters(),
            withdrawn=withdrawn,
        )
        await keepers.vrrp.look_after_left(prepared.plan, ledger.ledger.bindings)
        vrrp = keepers.vrrp.converge(serving, await self._links.read())
        given = replace(
            given,
            owned=ledger.ledger.bindings,
            sysctls=ledger.ledger.sysctls,
            withdrawn=withdrawn,
            waiting=waiting_vips(prepared.plan, unguarded, why),
        )
        served = table.served - unready if unready else table.served
        addresses = await keepers.addresses.take_on(given, served, ledger.reserve_addresses)
        await keepers.delivery.take_on(prepared, table.present)
        ledger.settle(replace(ledger.ledger, bindings=addresses.owned, sysctls=addresses.sysctls))
        return _Taken(addresses, vrrp, withdrawn, waiting)

    def _troubles(self, settings: tuple[SettingRow, ...], guard: TunnelGuard, vrrp: VrrpOutcome) -> Troubles:
        return Troubles(
            withheld=self._source.withheld,
            state=(*self._keepers.ledger.faults(), *self._source.state_faults()),
            blindness=self._prober.blindness(),
            settings=settings,
            contest=self._contest.fault,
            tunnels=guard.with_failure(self._keepers.packet_filter.why_not),
            failover=vrrp.fault,
        )

    def _lacking(self, prepared: PreparedPlan, waiting: Mapping[AnyServiceKey, Fault]) -> Mapping[AnyServiceKey, Fault]:
        """Services that lack something beside the table."""
        return {
            **unhelped_services(prepared, self._keepers.ftp_helper.followed),
            **undelivered_services(prepared, self._keepers.delivery.why_not),
            **faulty_services(prepared, self._keepers.packet_filter.why_not),
            **waiting,
        }
