"""Has the VRRP daemon run by what the plan wants, lets each virtual router carry its addresses or not, and hears it.

Who carries an address is the daemon's decision; the agent says only whether it may. The agent may end meanwhile:
everything stays as it was said last.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from lvs_agent.converge.claim_answers import ClaimAnswerer
from lvs_agent.converge.claimants import ClaimantKeeper, Scene
from lvs_agent.converge.left_addresses import LeftAddressKeeper
from lvs_agent.decide.desired_addresses import SILENT_DEVICES
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.giving_way import follow_giving_way, let_go
from lvs_agent.decide.kernel_state import AddressBinding, IPAddress, KernelLinks
from lvs_agent.decide.left_out import DaemonLists, Settled, is_old, leave_out
from lvs_agent.decide.unicast_sources import off_link
from lvs_agent.decide.virtual_routers import DaemonWord, RouterKey, WantedVrrp, router_key, states_by_address
from lvs_agent.decide.vrrp_config import PlacedRouter, Unwritable, is_instance, place_routers, render_vrrp
from lvs_agent.decide.vrrp_tracking import Serving, hindrances, router_reports
from lvs_agent.errors import StateFileDamaged, StateNotWritten
from lvs_agent.serve.metrics import AgentMetrics
from lvs_agent.vrrp.shared_directory import VrrpDirectory, digest_of
from lvs_api.conditions import Reason
from lvs_api.lvs_node import VirtualRouterReport, VirtualRouterState
from lvs_core.plan import Holding, NodePlan

PATIENCE_SECONDS: Final = 5.0
"""So long the daemon may take to start, or to take a configuration over, before it is told."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class VrrpOutcome:
    """How the virtual routers stand after a round."""

    routers: Mapping[str, list[VirtualRouterReport]] = field(default_factory=dict)
    """By director group."""
    conflicts: Mapping[AddressBinding, Fault] = field(default_factory=dict)
    """Addresses that somebody else on the link has."""
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkWatchers:
    """Who look at what others on the link do with the addresses."""

    claimants: ClaimantKeeper
    left: LeftAddressKeeper
    answers: ClaimAnswerer


class VrrpKeeper:
    """Owner of what the agent tells the VRRP daemon."""

    def __init__(
        self,
        directory: VrrpDirectory,
        watchers: LinkWatchers,
        metrics: AgentMetrics,
        monotonic: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._claimants = watchers.claimants
        self._left = watchers.left
        self._answers = watchers.answers
        self._metrics = metrics
        self._monotonic = monotonic
        self._wanted: WantedVrrp | None = None
        self._digest: str | None = None
        self._has_read = False
        self._word: DaemonWord | None = None
        self._bound: frozenset[AddressBinding] = frozenset()
        """What the daemon may have put on devices."""
        self._placed: tuple[PlacedRouter, ...] = ()
        self._tracks: dict[str, bool] = {}
        self._waits_since: float | None = None
        self._fault: Fault | None = None
        self._giving_way: Mapping[str, float] = {}
        """Director groups for which it is told to, and since when."""

    def look(self, plan: NodePlan) -> dict[IPAddress, VirtualRouterState]:
        """What the daemon does with the addresses of the plan, as far as it has spoken of them."""
        self._fault = None
        try:
            if not self._has_read:
                self._tracks = self._directory.read_tracks()
                self._remember(self._directory.read_wanted())
                self._has_read = True
            if self._wanted is None and not any(director.vrrp is not None for director in plan.directing):
                return {}
            # The last word of a supervisor that was killed is not known to be true any more.
            self._word = self._directory.read_word() if self._directory.has_supervisor() else None
            self._bound = self._directory.read_bound()
        except StateFileDamaged as error:
            self._fault = Fault(reason=Reason.VRRP_DOWN, message=str(error))
        routers = {
            RouterKey(director.group, router.id, router.family): router.addresses
            for director in plan.directing
            if director.vrrp is not None
            for router in director.vrrp.routers
        }
        is_current = self._word is not None and self._word.accepted == self._digest
        states = states_by_address(self._word, is_current, routers)
        return states | self._kept_masters(plan) if is_current else states

    def _kept_masters(self, plan: NodePlan) -> dict[IPAddress, VirtualRouterState]:
        """Addresses that the daemon goes on carrying for groups of which nothing else is known now."""
        groups, told = self.states(), {one.address for one in self._wanted.binds} if self._wanted is not None else set()
        return {
            address: VirtualRouterState.MASTER
            for director in plan.directing
            if director.vrrp is None and director.holding is Holding.KEEP
            if VirtualRouterState.MASTER in groups.get(director.group, ())
            for address in told.intersection(director.addresses)
        }

    def states(self) -> dict[str, frozenset[VirtualRouterState]]:
        """What the daemon does in the virtual routers of each director group, as it said last."""
        found: dict[str, frozenset[VirtualRouterState]] = {}
        for key, one in (self._word.routers if self._word is not None else {}).items():
            found[key.group] = found.get(key.group, frozenset()) | {one.state}
        return found

    @property
    def awaited(self) -> str | None:
        """What the daemon has yet to say, before this director is known to take part in all virtual routers."""
        heard = self._word.routers.keys() if self._word is not None else ()
        unheard = sorted(str(one.key) for one in self._placed if one.key not in heard)
        return f"the VRRP daemon has said nothing of {', '.join(unheard)} yet" if unheard else None

    def masters(self) -> frozenset[RouterKey]:
        """The virtual routers whose addresses the daemon carries, as it said last."""
        routers = self._word.routers if self._word is not None else {}
        return frozenset(key for key, one in routers.items() if one.state is VirtualRouterState.MASTER)

    def still_carried(self, plan: NodePlan, links: KernelLinks) -> frozenset[IPAddress]:
        """VIPs that no group of the plan has any more, and that the daemon has yet to let go."""
        if self._wanted is None or not self._directory.has_supervisor():
            return frozenset()
        served = {address for director in plan.directing for address in director.addresses}
        try:
            carried = self._directory.read_bound() & links.bindings()
        except StateFileDamaged as error:
            self._fault = Fault(reason=Reason.VRRP_DOWN, message=str(error))
            return frozenset()
        return frozenset(binding.address for binding in carried if binding.address not in served)

    async def look_after_left(self, plan: NodePlan, owned: AbstractSet[AddressBinding]) -> None:
        """Take off what a daemon left that nobody runs any more, where another director has it."""
        if self._wanted is not None:
            await self._left.follow(plan, owned)

    def converge(self, serving: Serving, links: KernelLinks) -> VrrpOutcome:
        """Say what is wanted where it differs: whether addresses may be carried before that they are."""
        plan = serving.prepared.plan
        directors = [one for one in plan.directing if one.holding is Holding.VRRP and one.vrrp is not None]
        is_over = (
            self._has_read and not directors and not self._tracks and (self._wanted is None or self._wanted.is_empty)
        )
        if plan.provisional or is_over:
            return self._outcome({}, {}, links)
        refused = serving.prepared.refusals.faults.keys()
        placed = place_routers(directors, links, self._devices(links), refused)
        now = self._monotonic()
        self._giving_way = follow_giving_way(self._giving_way, directors, now)
        why = hindrances(placed, serving, let_go(self._giving_way, directors, now))
        found = self._ask(plan, placed, why, links)
        if found.left_out or found.staying:
            placed = leave_out(placed, found, self._placed)
            why = hindrances(placed, serving, let_go(self._giving_way, directors, now))
        why |= {key: fault.message for key, fault in found.waiting.items()}
        whole = self._with_held(plan, placed)
        try:
            if whole is None:
                self._allow(why)
            else:
                self._placed, keys = whole, {one.key for one in whole}
                self._allow({key: one for key, one in why.items() if key in keys})
                self._want(plan.node, whole)
        except StateNotWritten as error:
            self._fault = Fault(reason=Reason.STATE_NOT_WRITTEN, message=str(error))
        return self._outcome(why, found.conflicts, links)

    def _ask(
        self,
        plan: NodePlan,
        placed: tuple[PlacedRouter, ...],
        why: Mapping[RouterKey, str | None],
        links: KernelLinks,
    ) -> Settled:
        """Who else on the link has the addresses; who is Master tells a weaker director's neighbours otherwise.

        What is carried now, by the daemon or from before the group settled by VRRP, goes on without a question.
        """
        there = links.bindings()
        allowed = {one.key for one in placed if self._tracks.get(str(one.key))}
        scene = Scene(
            plan=plan,
            placed=placed,
            ready={key for key, hindrance in why.items() if hindrance is None},
            begun=allowed | {one.key for one in placed if not there.isdisjoint(one.bindings)},
            masters=self.masters(),
            senders=self._word.senders if self._word is not None else frozenset(),
            links=links,
            lists=self._lists(placed, allowed),
        )
        found = self._claimants.judge(scene)
        self._answers.follow(scene, self._claimants.directors)
        return found

    def _lists(self, placed: Iterable[PlacedRouter], allowed: AbstractSet[RouterKey]) -> DaemonLists:
        """What the daemon was told, and may still do by what it was told before."""
        told, word = self._wanted, self._word or DaemonWord()
        held = self._bound
        if told is not None:
            is_read = word.accepted == self._digest
            held |= told.binds if is_read else {binding for one in placed for binding in one.bindings}
        return DaemonLists(
            allowed=allowed,
            told={binding.address for binding in told.binds} if told is not None else None,
            held=held,
            remembered={one.key for one in self._placed},
            may_differ=not is_old(word.version),
        )

    def _with_held(self, plan: NodePlan, placed: tuple[PlacedRouter, ...]) -> tuple[PlacedRouter, ...] | None:
        """The routers of all groups; of one that can not be read, or that is not known whole, as they were told.

        So nothing of it is let go, and no other group has to wait for it. None where another process has told them:
        then everything stays as it is.
        """
        held = {one.group for one in plan.directing if one.holding is Holding.KEEP or one.incomplete}
        before = [one for one in self._placed if one.key.group in held]
        text = self._wanted.text if self._wanted is not None else ""
        told = {name for name in self._tracks if (key := router_key(name)) is not None and key.group in held}
        if any(is_instance(name, text) for name in told - {str(one.key) for one in before}):
            return None
        return tuple(sorted([*before, *(one for one in placed if one.key.group not in held)], key=lambda one: one.key))

    def _remember(self, wanted: WantedVrrp | None) -> None:
        self._wanted = wanted
        self._digest = None if wanted is None else digest_of(wanted)

    def _devices(self, links: KernelLinks) -> dict[IPAddress, str]:
        """Where the addresses have been, by what is bound and by what was wanted."""
        there = {one.address: one.device for one in links.bindings() if one.device not in SILENT_DEVICES}
        told = {one.address: one.device for one in self._wanted.binds} if self._wanted is not None else {}
        return there | told

    def _allow(self, why: Mapping[RouterKey, str | None]) -> None:
        for key, hindrance in why.items():
            name, may_carry = str(key), hindrance is None
            if self._tracks.get(name) is not may_carry:
                self._directory.write_track(name, may_carry=may_carry)
                self._tracks[name] = may_carry
                _log.info("%s %s", name, "may carry its addresses" if may_carry else f"must not carry: {hindrance}")

    def _want(self, node: str, placed: tuple[PlacedRouter, ...]) -> None:
        wanted = render_vrrp(node, placed, self._directory.places)
        if isinstance(wanted, Unwritable):
            self._fault = Fault(reason=Reason.VRRP_CONFIG_REJECTED, message=str(wanted))
            return
        if wanted != self._wanted:
            self._directory.write_wanted(wanted)
            self._remember(wanted)
            _log.info("told the VRRP daemon of %d virtual routers", len(placed))
        elif self._word is not None and self._word.accepted == self._digest:
            # keepalived takes a track file that is not there for permission: it goes after the virtual router.
            for name in self._tracks.keys() - {str(one.key) for one in placed}:
                self._directory.remove_track(name)
                del self._tracks[name]

    def _outcome(
        self,
        why: Mapping[RouterKey, str | None],
        conflicts: Mapping[AddressBinding, Fault],
        links: KernelLinks,
    ) -> VrrpOutcome:
        routers = router_reports(self._placed, self._word, why, links)
        placed = {one.key for one in self._placed}
        for key, one in sorted((self._word.routers if self._word is not None else {}).items()):
            if key not in placed:  # until the daemon has let it go, this director takes part in it
                report = VirtualRouterReport(id=key.id, family=key.family, state=one.state, since=one.since)
                routers.setdefault(key.group, []).append(report)
        self._metrics.daemon = self._word
        fault = self._fault or self._daemon_fault() or off_link(self._placed, links)
        return VrrpOutcome(routers=routers, conflicts=conflicts, fault=fault)

    def _daemon_fault(self) -> Fault | None:
        """What is the matter with the daemon."""
        if self._wanted is None or self._wanted.is_empty:
            self._waits_since = None
            return None
        word = self._word or DaemonWord()
        if word.refused == self._digest:
            why = f"keepalived refuses its configuration, and goes on by the one before: {word.refusal}"
            return Fault(reason=Reason.VRRP_CONFIG_REJECTED, message=why)
        supervised = self._directory.has_supervisor()
        if supervised and word.pid is not None and word.accepted == self._digest:
            self._waits_since = None
            return None
        now = self._monotonic()
        self._waits_since = now if self._waits_since is None else self._waits_since
        if now - self._waits_since < PATIENCE_SECONDS:
            return None
        if not supervised:
            message = f"nobody runs the VRRP daemon: start lvs-agent vrrp with --vrrp-dir {self._directory.path}"
            message += self._left.said
        else:
            message = word.trouble or "the VRRP daemon has not taken over what is wanted"
        return Fault(reason=Reason.VRRP_DOWN, message=message)
