"""One kernel service, member by member: what it shall be, and how it stands.

Effective weight = the user's weight, if the member is prepared, not refused, not leaving, reachable as its method
needs, healthy and believed to carry the VIP; else 0. Unknown is not down: a member of which nothing new is known keeps
the weight it has.
"""

import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from lvs_agent.decide.asked_drains import slices_drain, untold_drains
from lvs_agent.decide.circumstances import Circumstances
from lvs_agent.decide.drain import Drain, DrainCause, DrainKey
from lvs_agent.decide.first_verdicts import UP, weight_in_kernel
from lvs_agent.decide.fresh_word import MemberKey, MemberNow, Standing, Words, is_due, step_standing, why_not_believed
from lvs_agent.decide.health_verdict import Check, CheckResult, Verdict, seconds_to_tell
from lvs_agent.decide.kernel_state import AnyServiceKey, DestinationKey, DestinationSettings, IPAddress, WantedService
from lvs_agent.decide.node_word import Carried
from lvs_agent.decide.on_link import not_on_link
from lvs_agent.decide.prepared_plan import PreparedMember, PreparedService
from lvs_agent.decide.quorum import QuorumNow, WeightInUse, step_quorum
from lvs_agent.decide.stored_plan import as_it_is
from lvs_api.conditions import Reason
from lvs_api.real_server_pool import OnFailure
from lvs_core.plan import PlannedMember


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A real server that has no weight, or drains, in one kernel service; every other one has its weight."""

    name: str
    has_weight: bool
    leaving: bool = False
    drain_asked: bool = False
    drained: bool = False
    """The drain that the slices ask for is over."""
    reason: Reason | None = None
    """Why it has no weight, or would have none without a pause."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePart:
    """One kernel service of a LvsVirtualService, this round."""

    key: AnyServiceKey
    vip: IPAddress | None
    """The address that brings its packets; None where the plan names none."""
    paused: bool
    member_names: tuple[str, ...]
    waiting: tuple[Waiting, ...]
    """Members with something to say."""
    vanishing: int
    """Entries that still drain, or have connections of a former method, though the slices no longer say so."""
    quorum: QuorumNow | None = None
    """None: the service asks for none."""


class ServiceComposer:
    """One kernel service, member by member."""

    def __init__(
        self,
        service: PreparedService,
        around: Circumstances,
        checks: Mapping[Check, CheckResult],
        drains: Mapping[DrainKey, Drain],
        trusted: AbstractSet[tuple[IPAddress, Carried]],
    ) -> None:
        self._service = service
        self._around = around
        self._checks = checks
        self._drains = drains
        self._trusted = trusted
        self._state = around.kernel.services.get(service.key)
        self.stays = False
        """What is there stays as it is, whatever this leads to."""
        self.standing_in = False
        self.standings: dict[MemberKey, Standing] = {}

    def compose(self) -> tuple[WantedService, ServicePart]:
        """What the kernel shall have of it, and how it stands."""
        destinations: dict[DestinationKey, DestinationSettings] = {}
        waiting: list[Waiting] = []
        paused: list[Waiting] = []
        for member in self._service.members:
            why = self._why_not(member.planned, member.check)
            if member.need is not None and self._around.words is not None:
                why = self._why_doubted(member, member.need, self._around.words, why)
            if why is None and not member.planned.former:
                destinations.setdefault(member.key, member.with_weight)
            else:
                if self._has_entry(member):
                    destinations.setdefault(member.key, member.without_weight if why else member.with_weight)
                waiting.append(self._standing(member, why))
            if self._service.planned.paused and (told := self._paused(member, why)) is not None:
                paused.append(told)
        vanishing = self._vanishing([key for key, one in destinations.items() if one.weight]) if self._drains else {}
        destinations.update(vanishing)
        planned = self._service.planned
        part = ServicePart(
            key=self._service.key,
            vip=planned.vip,
            paused=planned.paused,
            member_names=tuple(member.planned.name for member in self._service.members),
            waiting=tuple(paused if planned.paused else waiting),
            vanishing=len(vanishing) + self._untold(),
            quorum=self._quorum(destinations, waiting),
        )
        return WantedService(settings=self._service.settings, destinations=destinations), part

    def _quorum(
        self, destinations: Mapping[DestinationKey, DestinationSettings], waiting: Iterable[Waiting]
    ) -> QuorumNow | None:
        """How it stands to its quorum. A paused one as before; where nothing was said of it, by what the kernel has."""
        planned = self._service.planned
        if planned.quorum is None:
            return None
        before = self._around.quorums.get(self._service.key)
        if before is None and planned.service in self._around.told_below:
            before = False
        there = self._state.destinations if self._state is not None else {}
        if planned.paused:
            sure = sum(one.settings.weight for one in there.values())
            now = step_quorum(before, WeightInUse(sure, sure), planned.quorum)
            return now if before is None else now._replace(is_met=before)
        sure = sum(one.weight for one in destinations.values())
        undrained = {one.name for one in waiting if one.leaving and not one.drained}
        draining, unknown = 0, 0
        for member in self._service.members:
            if destinations.get(member.key, member.without_weight).weight:
                continue
            if member.planned.name in undrained:
                draining += member.with_weight.weight if member.key in there else 0
            elif self._is_unknown(member):
                unknown += member.with_weight.weight
        return step_quorum(before, WeightInUse(sure, sure + draining + unknown, draining), planned.quorum)

    def _is_unknown(self, member: PreparedMember) -> bool:
        """Whether it lacks nothing but the first words of its check."""
        is_unknown = member.check is not None and self._checks[member.check].verdict is Verdict.UNKNOWN
        return is_unknown and member.planned.may_have_weight and self._why_not_on_link(member.planned) is None

    def as_it_is(self, wanted: WantedService) -> WantedService:
        """The service as the kernel has it, but for what fails now; as it is wanted where that has none."""
        if self._state is None:
            return wanted
        failed = {member.key for member in self._service.members if self._fails(member)}
        return as_it_is(self._state, wanted, self._around.owned.get(self._service.key), failed)

    def _fails(self, member: PreparedMember) -> bool:
        is_down = member.check is not None and self._checks[member.check].verdict is Verdict.DOWN
        return is_down or self._why_not_on_link(member.planned) is not None

    def _why_not_on_link(self, member: PlannedMember) -> str | None:
        may_be_here = self._service.planned.has_one_director or member.is_here
        return not_on_link(member, self._around.routes, may_be_here=may_be_here)

    def _patience(self, carriers: Iterable[DestinationKey]) -> float:
        """Seconds within which checks that have not told yet must have told; 0 where there are none.

        None where one of the `carriers`, those that shall have weight, has it. No end while they have yet to be made:
        the kernel may refuse them, or the ledger's disk take nothing. Nor while an agent has just been asked for its
        word, which has an end of its own.
        """
        shall = tuple(carriers)
        if any(weight_in_kernel(self._state, key) for key in shall):
            return 0.0
        if shall or any(is_due(standing, self._around.now) for standing in self.standings.values()):
            return math.inf
        checks = [
            member.check
            for member in self._service.members
            if member.check is not None
            and member.planned.may_have_weight
            and self._checks[member.check].verdict is Verdict.UNKNOWN
        ]
        return max(map(seconds_to_tell, checks), default=0.0)

    def _vanishing(self, carriers: Iterable[DestinationKey]) -> dict[DestinationKey, DestinationSettings]:
        """Entries of ours that the slices no longer have, or refuse, until they have drained.

        Those that the slices just no longer have stand in, with the weight that they have, for new ones that are not
        made or not known to be up yet, while nobody else has weight: an edit of a port is no outage.
        """
        if self._state is None:
            return {}
        patience = self._patience(carriers)
        refused = {member.key for member in self._service.members if member.planned.refused is not None}
        vanishing = {}
        for key, state in self._state.destinations.items():
            drain = self._drain(key, DrainCause.LEAVING)
            if key in self._service.staying or drain is None:
                continue
            if key not in refused and drain.has_weight and self._around.now < drain.started + patience:
                self.standing_in = True
                vanishing[key] = state.settings
            elif not drain.over:
                vanishing[key] = replace(state.settings, weight=0)
        return vanishing

    def _untold(self) -> int:
        """Real servers with connections of a former method of which the slices do not speak."""
        if not self._drains:
            return 0
        untold = untold_drains(self._service, self._state, self._around.drains)
        return sum(not self._drains[key].over for key in untold if key in self._drains)

    def _has_entry(self, member: PreparedMember) -> bool:
        """Whether a member without weight has an entry in the kernel."""
        if member.planned.refused is not None:
            return False
        if member.planned.draining_seconds is not None:
            drain = self._drain(member.key, DrainCause.LEAVING)
            if self._service.planned.has_udp_flows and drain is not None and drain.over:
                # Clients that go on sending would stay until every director has said so, and one may not be heard.
                return False
            # One that is to leave is not brought in first.
            return self._state is not None and member.key in self._state.destinations
        if self._service.planned.on_failure is OnFailure.REMOVE:
            is_down = member.check is not None and self._checks[member.check].verdict is Verdict.DOWN
            return not (is_down or member.planned.unready)
        return True

    def _why_not(self, member: PlannedMember, check: Check | None) -> tuple[Reason, str] | None:
        """Why a member gets no weight; None where it gets the user's."""
        if not member.may_have_weight:
            return _why_objects_say_no(member)
        if detail := self._why_not_on_link(member):
            return Reason.NOT_ON_LINK, detail
        if check is not None and (result := self._checks[check]).verdict is not Verdict.UP:
            return Reason.MEMBERS_NOT_READY, _why_not_up(result)
        why = "its endpoint is not ready" if member.unready else "its weight is 0"
        return None if member.weight else (Reason.MEMBERS_NOT_READY, why)

    def _why_doubted(
        self, member: PreparedMember, need: Carried, words: Words, why: tuple[Reason, str] | None
    ) -> tuple[Reason, str] | None:
        """The same with what is believed of a member that needs the VIP."""
        key = MemberKey(self._service.key, member.key)
        result = self._checks[member.check] if member.check is not None else UP
        weight = weight_in_kernel(self._state, member.key)
        standing = self.standings[key] = step_standing(
            self._around.standings.get(key),
            MemberNow(
                has_weight=weight > 0 or (member.key.address, need) in self._trusted,
                failed=result.verdict is Verdict.DOWN,
                lost=not member.planned.prepared and not self.stays,
                # Of a paused service only who has weight: it is to keep that when the service goes on.
                lacks_nothing_else=why is None and (weight > 0 or not self._service.planned.paused),
            ),
            need=need,
            answer=words.answers.get(member.key.address),
            now=self._around.now,
        )
        if standing.asked_since is None:
            return why
        has_answered, detail = why_not_believed(need, member.key.address, words, standing.asked_since)
        return Reason.NOT_CONFIRMED if has_answered else Reason.MEMBERS_NOT_READY, detail

    def _drain(self, key: DestinationKey, cause: DrainCause) -> Drain | None:
        return self._drains.get(DrainKey(service=self._service.key, destination=key, cause=cause))

    def _standing(self, member: PreparedMember, why: tuple[Reason, str] | None) -> Waiting:
        asked = slices_drain(member.planned)
        drain = self._drain(member.key, asked[0]) if asked is not None else None
        return Waiting(
            name=member.planned.name,
            has_weight=why is None,
            leaving=member.planned.draining_seconds is not None,
            drain_asked=asked is not None,
            drained=drain is not None and drain.over,
            reason=why[0] if why else None,
            detail=why[1] if why else "",
        )

    def _paused(self, member: PreparedMember, why: tuple[Reason, str] | None) -> Waiting | None:
        """A member of a service that stays as it is; None where it has weight, and would have it without the pause."""
        if weight_in_kernel(self._state, member.key):
            if why is None:
                return None
            return Waiting(name=member.planned.name, has_weight=True, reason=why[0], detail=why[1])
        return Waiting(
            name=member.planned.name,
            has_weight=False,
            leaving=member.planned.draining_seconds is not None,
            reason=Reason.PAUSED,
            detail="the service is paused",
        )


def _why_objects_say_no(member: PlannedMember) -> tuple[Reason, str]:
    if member.refused is not None:
        return _reason(member.refused), "refused"
    if member.draining_seconds is not None:
        return Reason.MEMBERS_NOT_READY, "draining"
    return Reason.MEMBERS_NOT_READY, "its node has not prepared itself yet"


def _why_not_up(result: CheckResult) -> str:
    if result.verdict is Verdict.UNKNOWN:
        return "not yet checked often enough"
    return f"its check fails: {result.detail}" if result.detail else "its check fails"


def _reason(word: str) -> Reason:
    """The reason that a slice names; a newer operator may know more than this agent."""
    return Reason(word) if word in Reason.__members__.values() else Reason.MEMBERS_NOT_READY
