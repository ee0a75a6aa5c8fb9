"""The public status of a virtual service: what was decided, and what its directors make of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lvs_api.bind_device import MAX_GUE_PORTS, MAX_NODE_ADDRESSES
from lvs_api.conditions import Condition, ConditionStatus, ConditionType, Reason, find_condition, is_true
from lvs_api.lvs_node import ServiceException
from lvs_api.quorum import BelowQuorum
from lvs_api.virtual_service import DirectorState, DirectorStatus, LvsVirtualServiceStatus, RealServerCounts
from lvs_core.accept import Accepted, Frozen, Verdict, Withdrawn
from lvs_core.checks import family_mismatch, unused_members
from lvs_core.cluster_view import ClusterView, Member, ObjectKey, SliceContent, VirtualService
from lvs_core.director_words import DirectorWords, Word
from lvs_core.directors import Directors
from lvs_core.findings import FindingsBook
from lvs_core.forwarding import needs_address
from lvs_core.frontends import vips
from lvs_core.object_status import MAX_DIRECTORS, Statement, stated, truth

MAX_DIRECTOR_MESSAGE = 512
KNOWN_REASONS = {reason.value: reason for reason in Reason}
PROGRAMMED = frozenset({DirectorState.ACTIVE, DirectorState.STANDBY})


class Serving(NamedTuple):
    """Who takes connections of a service, and what keeps the others from it."""

    members: Sequence[Member]
    counts: RealServerCounts
    active: Word | None
    """What a director that carries the addresses says; None where there is none."""
    full_nodes: Collection[str]
    """Nodes that are not told of an address of the service, for their LvsNodes name as many as they can."""
    own: Collection[str]
    """Addresses of the directors: what falls to one it takes itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceStatuses:
    """Statuses of the services of one view."""

    view: ClusterView
    words: DirectorWords
    directors: Mapping[str, Directors]
    full_nodes: Mapping[ObjectKey, frozenset[str]]
    now: str
    book: FindingsBook

    def status(
        self, key: ObjectKey, service: VirtualService, verdict: Verdict, slices: Sequence[SliceContent]
    ) -> LvsVirtualServiceStatus:
        """The status of one service; `slices` are those that it shall have."""
        first = next((one for one in slices if one.service is not None), None)
        who = self.directors.get(first.director_group) if first is not None else None
        words = {name: self.words.word(key, service, first, name) for name in who.selected} if who and first else {}
        carriers = who.carriers(vips(first.service)) if who and first and first.service else ()
        own = frozenset(one for name in (who.selected if who else ()) for one in self.view.nodes[name].addresses)
        full_nodes = self.full_nodes.get(key, frozenset())
        premises = (service, _grounds(verdict), slices, who is None, tuple(words.items()), carriers, own, full_nodes)
        known = self.book.standstill(key, premises)
        if known is not None:
            return known
        before = service.status
        members = tuple(member for one in slices for member in one.members)
        active = _spokesman(carriers, words)
        mark = first.service.firewall_mark if first is not None and first.service is not None else None
        counts = _counts(members, active, before.real_servers if before else None)
        conditions = before.conditions if before is not None else None
        accepted, resolved = _accepted(service, verdict, first), _resolved(service, verdict)
        programmed = _programmed(first, carriers if who is not None else None, words, conditions)
        serving = Serving(members, counts, active, full_nodes, own)
        ready = _ready(service, (accepted, resolved, programmed), serving)
        said = stated(conditions, [accepted, resolved, programmed, ready], self.now)
        judged = find_condition(said, ConditionType.READY)
        carried_out = judged.observed_generation if judged is not None else None
        status = LvsVirtualServiceStatus.model_construct(
            addresses=first.service.addresses if first is not None and first.service is not None else None,
            firewall_mark=mark.value if mark is not None else None,
            directors=[
                DirectorStatus.model_construct(
                    node=name, state=word.state, message=word.message[:MAX_DIRECTOR_MESSAGE] or None
                )
                for name, word in list(words.items())[:MAX_DIRECTORS]
            ]
            or None,
            real_servers=counts,
            # Of a new service at once. An edit counts when it is refused or carried out: who reads only this and Ready,
            # as kstatus does, waits for that.
            observed_generation=service.meta.generation if carried_out is None else carried_out,
            conditions=said,
        )
        if before is not None and status == before:
            self.book.note_standstill(key, premises, before)
            return before
        return status


def _spokesman(carriers: Collection[str | None], words: Mapping[str, Word]) -> Word | None:
    """Of the directors that carry the addresses the one that has something to say, else the first."""
    found = [words[name] for name in carriers if name is not None and name in words]
    return next((word for word in found if word.exception is not None), next(iter(found), None))


def _grounds(verdict: Verdict) -> tuple[object, ...]:
    """What of a verdict a status speaks of."""
    if isinstance(verdict, Accepted):
        candidate = verdict.candidate
        return candidate.pool, vips(candidate.spec), candidate.members
    return (verdict,)


def _accepted(service: VirtualService, verdict: Verdict, first: SliceContent | None) -> Statement:
    generation = service.meta.generation
    if isinstance(verdict, Accepted):
        value, reason, message = True, Reason.ACCEPTED, "The service is accepted"
        return _statement(ConditionType.ACCEPTED, value, reason, message, generation)
    if isinstance(verdict, Withdrawn):
        message = f"{verdict.problem.message}. The service is withdrawn"
        return _statement(ConditionType.ACCEPTED, False, verdict.problem.reason, message, generation)
    if not isinstance(verdict, Frozen):
        return _statement(ConditionType.ACCEPTED, None, Reason.PENDING, verdict.message, generation)
    problem = verdict.problem
    goes_on = ""
    if first is not None and first.service is not None:
        goes_on = f". What was accepted as generation {first.service.generation} goes on unchanged"
    if problem.condition is ConditionType.ACCEPTED:
        return _statement(ConditionType.ACCEPTED, False, problem.reason, problem.message + goes_on, generation)
    message = f"Cannot be judged until its references are found{goes_on}"
    return _statement(ConditionType.ACCEPTED, None, Reason.PENDING, message, generation)


def _resolved(service: VirtualService, verdict: Verdict) -> Statement:
    kind, generation = ConditionType.RESOLVED_REFS, service.meta.generation
    if isinstance(verdict, Frozen | Withdrawn):
        if verdict.problem.condition is kind:
            return _statement(kind, False, verdict.problem.reason, verdict.problem.message, generation)
        if not verdict.references_found:
            why = "withdrawn" if isinstance(verdict, Withdrawn) else "invalid"
            return _statement(kind, None, Reason.PENDING, f"The service itself is {why}", generation)
    message = "The pool and the director group are found"
    if isinstance(verdict, Accepted):
        mismatch = family_mismatch(verdict.candidate)
        if mismatch is not None:
            return _statement(kind, False, mismatch.reason, mismatch.message, generation)
        unused = ", ".join(unused_members(verdict.candidate))
        if unused:
            message += f"; not used, for nothing of the service has their family: {unused}"
    return _statement(kind, True, Reason.RESOLVED, message, generation)


def _programmed(
    first: SliceContent | None,
    carriers: Sequence[str | None] | None,
    words: Mapping[str, Word],
    conditions: Sequence[Condition] | None,
) -> Statement:
    """True needs every director that can be heard, and is not lost again while a new one takes up its work."""
    kind = ConditionType.PROGRAMMED
    if first is None or first.service is None or carriers is None:
        return _statement(kind, False, Reason.NOT_PROGRAMMED, "Nothing is accepted", None)
    heard = {name: word for name, word in words.items() if word.state is not DirectorState.UNKNOWN}
    is_news = bool(heard) and all(word.is_news for word in heard.values())
    generation = first.service.generation if is_news else None
    if not words:
        message = f"LvsDirectorGroup {first.director_group} selects no Node; label the Nodes that are to be directors"
        return _statement(kind, False, Reason.NO_DIRECTORS, message, first.service.generation)
    failed = [(name, word) for name, word in words.items() if word.is_faulty]
    for name, word in failed:
        before = find_condition(conditions, kind)
        reason = _known(word.exception, before)
        return _statement(kind, False, reason, f"Director {name}: {word.message}", generation)
    quorum = first.service.quorum
    may_withdraw = quorum is not None and quorum.below == BelowQuorum.WITHDRAW_ADDRESS
    withdrawn = {name: word for name, word in words.items() if may_withdraw and word.is_below_quorum}
    if (missing := _missing_carrier(carriers, words, withdrawn, generation)) is not None:
        return missing
    late = [name for name, word in heard.items() if word.state not in PROGRAMMED]
    if late and not is_true(conditions, kind):
        message = f"Not programmed yet on {', '.join(late)}"
        return _statement(kind, False, Reason.NOT_PROGRAMMED, message, generation)
    silent = [name for name in words if name not in heard]
    message = f"Programmed on {', '.join(name for name, word in heard.items() if word.state in PROGRAMMED)}"
    if silent or late:
        message += f"; not heard from: {', '.join(silent + late)}"
    return _statement(kind, True, Reason.PROGRAMMED, message, generation)


def _missing_carrier(
    carriers: Sequence[str | None], words: Mapping[str, Word], withdrawn: Mapping[str, Word], generation: int | None
) -> Statement | None:
    """The first of those that are to carry its addresses that does not, or is not there."""
    for carrier in carriers:
        active = words.get(carrier or "")
        if active is not None and active.state is DirectorState.ACTIVE:
            continue
        name = carrier or next(iter(withdrawn), "")
        if (below := withdrawn.get(name)) is not None and below.exception is not None:
            message = f"Director {name}: {below.exception.message}"
            return _statement(ConditionType.PROGRAMMED, False, Reason.BELOW_QUORUM, message, generation)
        unknown = active is None or active.state is DirectorState.UNKNOWN
        message = active.message if active is not None else "Addresses are with no director of the group"
        return _statement(
            ConditionType.PROGRAMMED,
            None if unknown else False,
            Reason.PENDING if unknown else Reason.NOT_PROGRAMMED,
            f"Director {carrier}: {message}" if carrier else "No director has reported that it carries the addresses",
            generation,
        )
    return None


def _known(exception: ServiceException | None, before: Condition | None) -> Reason:
    """The reason that the director gives, or gave before when there is no news."""
    said = exception.reason if exception is not None else before.reason if before is not None else ""
    return KNOWN_REASONS.get(said, Reason.NOT_PROGRAMMED)


def _counts(members: Sequence[Member], word: Word | None, before: RealServerCounts | None) -> RealServerCounts:
    staying = [member for member in members if member.draining_seconds is None]
    eligible = sum(1 for one in staying if one.prepared and one.refused is None and one.weight > 0)
    ready = 0
    if word is not None and word.is_news and word.has_counts and word.state is not DirectorState.FAILED:
        said = word.exception.ready if word.exception is not None else None
        ready = eligible if said is None else min(said, eligible)
    elif before is not None:
        ready = min(before.ready, eligible)
    return RealServerCounts.model_construct(total=len(staying), ready=ready, draining=len(members) - len(staying))


def _ready(service: VirtualService, needed: Sequence[Statement], serving: Serving) -> Statement:
    kind, counts = ConditionType.READY, serving.counts
    generation = needed[-1].generation
    cause = _cause(needed)
    if cause is not None:
        value = None if cause.status is ConditionStatus.UNKNOWN else False
        return _statement(kind, value, cause.reason, f"Not {cause.type}: {cause.message}", cause.generation)
    if not counts.total:
        message = "There are no real servers; add some to the pool"
        return _statement(kind, False, Reason.NO_MEMBERS, message, generation)
    message = f"{counts.ready} of {counts.total} real servers take connections"
    if serving.full_nodes:
        message += (
            f"; no room for another address on {_some(sorted(serving.full_nodes))}: "
            f"a LvsNode names at most {MAX_NODE_ADDRESSES}, and {MAX_GUE_PORTS} ports for GUE of each"
        )
    reason, why = _shortfall(serving)
    if serving.active is not None and serving.active.is_below_quorum:
        return _statement(kind, False, Reason.BELOW_QUORUM, f"{message}{why}", generation)
    if counts.ready < counts.total:
        if counts.ready == 0 and reason is Reason.MEMBERS_NOT_READY:
            reason = Reason.NO_MEMBER_READY
        return _statement(kind, counts.ready > 0, reason, f"{message}{why}", generation)
    reason, remark = _remark(service, serving)
    return _statement(kind, True, reason, f"{message}{remark}", generation)


def _remark(service: VirtualService, serving: Serving) -> tuple[Reason, str]:
    """What is to be said of a service of which every real server takes connections."""
    if service.spec is not None and service.spec.paused:
        return Reason.PAUSED, "; agents change nothing (spec.paused)"
    if serving.full_nodes:
        return Reason.NODE_FULL, "; another method waits for it"
    exception = serving.active.exception if serving.active is not None else None
    if exception is not None and exception.reason == Reason.PACKETS_NOT_SEEN:
        # The service is as it shall be, and whoever sends a few packets to a closed port can bring this about.
        return Reason.PACKETS_NOT_SEEN, f"; {exception.message}"
    unverified = _unverified(service, [one for one in serving.members if one.address not in serving.own])
    return (Reason.UNVERIFIED if unverified else Reason.READY), unverified


def _unverified(service: VirtualService, members: Sequence[Member]) -> str:
    """What nobody can say of real servers that take packets for the VIP; empty where all is known."""
    carrying = [one for one in members if needs_address(one.forwarding.method)]
    if carrying and service.spec is not None and service.spec.address_pool_ref is None and not vips(service.spec):
        return "; nobody verifies that real servers have the addresses of marked packets, for none is named"
    plain = [one.name for one in carrying if one.node is None]
    return f"; nobody verifies the VIP on {_some(plain)}, for no Node has their address" if plain else ""


def _cause(needed: Sequence[Statement]) -> Statement | None:
    """What keeps a service from being ready: a fault of its objects, if there is one, else the first that is not True.

    A missing pool leaves open whether the service can be accepted; it is the pool that the user has to look for.
    """
    faults = (ConditionType.ACCEPTED, ConditionType.RESOLVED_REFS)
    for one in needed:
        if one.type in faults and one.status is ConditionStatus.FALSE:
            return one
    return next((one for one in needed if one.status is not ConditionStatus.TRUE), None)


def _shortfall(serving: Serving) -> tuple[Reason, str]:
    """Why fewer real servers are ready than there are."""
    members, counts, active, full_nodes, _ = serving
    refused = [one.name for one in members if one.refused == Reason.DIRECTOR_IS_REAL_SERVER]
    other_family = [one.name for one in members if one.refused == Reason.OTHER_FAMILY_WITH_SYNC]
    unprepared = [one.name for one in members if not one.prepared and one.refused is None]
    why = f"; waiting for the nodes of {_some(unprepared)}" if unprepared else ""
    if refused:
        why += (
            "; of several directors none can be a real server by DirectRouting or Tunnel of what somebody else marks, "
            "of packets of another family than its address, or by an address that its Node does not have: "
            f"{_some(refused)}"
        )
        return Reason.DIRECTOR_IS_REAL_SERVER, why
    if other_family:
        why += f"; while sync daemons run the kernel takes no real server of the other family: {_some(other_family)}"
        return Reason.OTHER_FAMILY_WITH_SYNC, why
    if any(one.node in full_nodes and not one.prepared for one in members):
        return Reason.NODE_FULL, why
    exception = active.exception if active is not None else None
    if active is not None and exception is not None and (counts.ready < counts.total or active.is_below_quorum):
        why += f"; {exception.message}"
        return KNOWN_REASONS.get(exception.reason, Reason.MEMBERS_NOT_READY), why
    return Reason.MEMBERS_NOT_READY, why


def _some(names: Sequence[str]) -> str:
    shown = 5
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(sorted(names)[:shown]) + more


def _statement(
    kind: ConditionType, value: bool | None, reason: Reason, message: str, generation: int | None
) -> Statement:
    return Statement(type=kind, status=truth(value), reason=reason, message=message, generation=generation)
