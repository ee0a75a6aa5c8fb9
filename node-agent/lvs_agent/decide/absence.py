"""What of an absence is believed.

In go the slices that are acted upon, those that the API server has now, and the answers to look-ups; out come the
slices to act upon. A slice that is gone may mean that a user deleted its service. It may as well mean that a CRD was
deleted, that a list was cut short, that somebody deleted a generated object. So what is gone stays until its owner was
looked up and found gone while our kinds were whole. What was made anew takes the place of what is gone by itself.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from lvs_agent.decide.faults import Fault
from lvs_api.conditions import Reason
from lvs_core.cluster_view import Member, ObjectKey, Slice

GRACE_SECONDS: Final = 60.0
"""What was made anew waits at most so long for its real servers to be prepared again."""
DEFAULT_BRAKE: Final = 0.5
_NAMED: Final = 3


class Owner(NamedTuple):
    """The LvsVirtualService of a slice."""

    service: ObjectKey
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerAnswer:
    """What the API server has under a service's name."""

    uid: str | None = None
    """None: nothing."""
    deleting: bool = False
    withdrawn: bool = False
    """Its status says that no LvsAddressPool permits it: the operator has taken its slices away."""
    real_servers: int | None = None
    """How many real servers stay, by its status; None where that does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUps:
    """The answers of one round of questions: the owners first, our CRDs after them.

    So an owner that was gone while a CRD went away is not taken for one that a user deleted.
    """

    owners: Mapping[Owner, OwnerAnswer] = field(default_factory=dict)
    kinds_made: str = ""
    """When the CRD of services or that of slices was made, the later of the two (RFC 3339)."""
    problem: Fault | None = None
    """Why nothing may be concluded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsenceFacts:
    """What is judged."""

    before: Sequence[Slice]
    """The slices that are acted upon."""
    live: Sequence[Slice]
    """Those that the API server has."""
    look_ups: LookUps | None = None
    """The last answers; None before the first."""
    brake: float = DEFAULT_BRAKE
    """Share of the node's real servers: when more vanish at once from slices that stay, it is looked up too."""
    waiting: Mapping[str, float] = field(default_factory=dict)
    """Since when what was made anew has been waiting, by the uid of the slice."""
    now: float = 0.0
    """Monotonic clock."""
    released: bool = False
    """A person has let go what is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What to act upon."""

    slices: tuple[Slice, ...]
    """To be served."""
    acted_on: tuple[Slice, ...]
    """What this is a view of: the slices as the API server has them, and those that are being looked up."""
    held: Mapping[ObjectKey, Fault]
    """Services of which something is served that the API server does not have (any more, or not yet anew)."""
    held_uids: frozenset[str]
    """Slices that only a look-up or a person can let go."""
    wanted: frozenset[Owner]
    """To be looked up, again and again as long as they are named."""
    waiting: Mapping[str, float]
    due: float | None
    """Monotonic clock at which something has waited long enough."""


def judge(facts: AbsenceFacts) -> Judgement:
    """The view to act upon."""
    before, live = _by_service(facts.before), _by_service(facts.live)
    judging = _Judging(facts, vanished=_vanished_above_brake(facts, before, live))
    for key in sorted(before.keys() | live.keys()):
        judging.service(key, before.get(key, []), live.get(key, []))
    return judging.result()


def summary(held: Mapping[ObjectKey, Fault]) -> Fault | None:
    """Everything that is held, in one condition."""
    if not held:
        return None
    named = "; ".join(f"{key}: {held[key].message}" for key in sorted(held)[:_NAMED])
    more = f"; and {len(held) - _NAMED} more services" if len(held) > _NAMED else ""
    return Fault(reason=held[min(held)].reason, message=f"{named}{more}")


class _Judging:
    """The services of one judgement, one after the other."""

    def __init__(self, facts: AbsenceFacts, *, vanished: AbstractSet[ObjectKey]) -> None:
        self._facts = facts
        self._vanished = vanished
        self._serve: list[Slice] = []
        self._acted_on: list[Slice] = []
        self._held: dict[ObjectKey, Fault] = {}
        self._held_uids: set[str] = set()
        self._wanted: set[Owner] = set()
        self._waiting: dict[str, float] = {}

    def service(self, key: ObjectKey, before: Sequence[Slice], live: Sequence[Slice]) -> None:
        """Judge what was and what is of one service, and of its namesakes."""
        view = _ServiceView(serve={one.meta.uid: one for one in live}, acted_on={one.meta.uid: one for one in live})
        if key in self._vanished:
            for one in before:
                if one.meta.uid in view.acted_on and _leaves_out(one, _same_service(one, live)):
                    self._keep(one, view, enough=lambda _: True)
        gone = [one for one in before if one.meta.uid not in view.acted_on]
        for uid in sorted({one.content.service_uid for one in gone}):
            self._gone_of_service([one for one in gone if one.content.service_uid == uid], live, view)
        self._serve += view.serve.values()
        self._acted_on += view.acted_on.values()

    def result(self) -> Judgement:
        """What came out."""
        return Judgement(
            slices=tuple(self._serve),
            acted_on=tuple(self._acted_on),
            held=self._held,
            held_uids=frozenset(self._held_uids),
            wanted=frozenset(self._wanted),
            waiting=self._waiting,
            due=min((since + GRACE_SECONDS for since in self._waiting.values()), default=None),
        )

    def _gone_of_service(self, gone: Sequence[Slice], live: Sequence[Slice], view: "_ServiceView") -> None:
        same = _same_service(gone[0], live)
        if not same and _first(live) is not None:
            self._succeed(gone, live, view)  # the service itself was made anew
            return
        for one in gone:
            anew = [other for other in same if other.content.index == one.content.index]
            if anew:
                self._succeed([one], anew, view)
            elif one.content.index == 0 or _first(same) is None:
                self._keep(one, view, enough=lambda _: False)
            elif _leaves_out(one, same):
                # The operator takes emptied slices away; this director may not have heard how this one was emptied.
                self._keep(one, view, enough=_counts_only(same))

    def _succeed(self, old: Sequence[Slice], anew: Sequence[Slice], view: "_ServiceView") -> None:
        """What was made anew is served once it says of every real server what the old one said.

        A slice that never called a real server prepared knows nothing of it: who made it had lost what it knew. Where
        a user deleted the service and made another there is nothing to wait for.
        """
        missing = sorted(_unprepared(old, anew))
        first = min(one.meta.uid for one in anew)
        since = self._facts.waiting.get(first, self._facts.now)
        if not missing or self._facts.now >= since + GRACE_SECONDS:
            return
        verdict = self._verdict(old[0], enough=lambda _: False)
        if verdict is None and not self._facts.released:
            return
        self._waiting[first] = since
        replaced = [view.serve] if verdict is not _PENDING else [view.serve, view.acted_on]
        for slices in replaced:
            for one in anew:
                slices.pop(one.meta.uid, None)
            slices.update((one.meta.uid, one) for one in old)
        if verdict is not _PENDING:
            message = (
                f"it was made anew, and waits at most {GRACE_SECONDS:.0f} s for {_some(missing)} to be prepared anew"
            )
            self._held[old[0].service_key] = Fault(reason=Reason.MADE_ANEW, message=message)

    def _keep(self, one: Slice, view: "_ServiceView", *, enough: "_Enough") -> None:
        """Serve a slice as it was, unless a look-up lets it go."""
        verdict = self._verdict(one, enough=enough)
        if verdict is None:
            return
        view.serve[one.meta.uid] = one
        if verdict is _PENDING:
            view.acted_on[one.meta.uid] = one
        else:
            self._held.setdefault(one.service_key, verdict)
            self._held_uids.add(one.meta.uid)

    def _verdict(self, one: Slice, *, enough: "_Enough") -> Fault | None:
        """Why a slice stays; None where it is let go. With its service there, `enough` says whether it is.

        Whatever stays is looked up again.
        """
        if self._facts.released:
            return None
        owner = Owner(one.service_key, one.content.service_uid)
        verdict = _judge_owner(one, owner, self._facts.look_ups, enough)
        if verdict is not None:
            self._wanted.add(owner)
        return verdict


_Enough = Callable[[OwnerAnswer], bool]
_PENDING: Final = Fault(reason=Reason.PENDING, message="it is being looked up")


def _judge_owner(one: Slice, owner: Owner, answers: LookUps | None, enough: _Enough) -> Fault | None:
    if answers is None:
        return _PENDING
    if answers.problem is not None:
        return answers.problem
    answer = answers.owners.get(owner)
    if answer is None:
        return _PENDING
    if answers.kinds_made > (one.meta.creation_timestamp or ""):
        message = (
            f"slice {one.meta.name} went with a CustomResourceDefinition that has been made anew since: "
            "apply the LvsVirtualService anew"
        )
        return Fault(reason=Reason.CRD_MISSING, message=message)
    if answer.uid != owner.uid or answer.deleting or answer.withdrawn or enough(answer):
        return None
    message = f"slice {one.meta.name} is gone, but its LvsVirtualService is there: the operator has to make it anew"
    return Fault(reason=Reason.SERVICE_EXISTS, message=message)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ServiceView:
    """One service as it is being judged, slices by uid."""

    serve: dict[str, Slice]
    acted_on: dict[str, Slice]


def _by_service(slices: Iterable[Slice]) -> dict[ObjectKey, list[Slice]]:
    found: dict[ObjectKey, list[Slice]] = {}
    for one in slices:
        found.setdefault(one.service_key, []).append(one)
    return found


def _same_service(one: Slice, live: Iterable[Slice]) -> list[Slice]:
    return [other for other in live if other.content.service_uid == one.content.service_uid]


def _first(slices: Iterable[Slice]) -> Slice | None:
    return next((one for one in slices if one.content.index == 0), None)


def _counts_only(same: Iterable[Slice]) -> _Enough:
    """Whether the service's status counts the real servers of these slices and no others."""
    staying = sum(_stays(member) for one in same for member in one.content.members)
    return lambda answer: answer.real_servers == staying


def _stays(member: Member) -> bool:
    """Whether a member neither leaves nor is refused: one that vanishes otherwise was to vanish."""
    return member.draining_seconds is None and member.refused is None


def _destination(member: Member) -> tuple[str, int | None]:
    """What tells members of one service apart in the kernel, whatever they are called."""
    return member.address, member.ports[0].number if member.ports else member.port


def _left_out(one: Slice, same: Iterable[Slice]) -> list[Member]:
    """Members of a slice that stayed, and that its service does not have any more."""
    there = {_destination(member) for other in same for member in other.content.members}
    return [member for member in one.content.members if _stays(member) and _destination(member) not in there]


def _leaves_out(one: Slice, same: Iterable[Slice]) -> bool:
    return bool(_left_out(one, same))


def _unprepared(old: Iterable[Slice], anew: Iterable[Slice]) -> set[str]:
    """Real servers that were prepared, and of which what was made anew does not say so, nor that they leave."""
    there = {_destination(member): member for one in anew for member in one.content.members}
    return {
        member.name
        for one in old
        for member in one.content.members
        if member.prepared and _stays(member) and not _is_settled(there.get(_destination(member)))
    }


def _is_settled(member: Member | None) -> bool:
    return member is not None and (member.prepared or not _stays(member))


def _vanished_above_brake(
    facts: AbsenceFacts, before: Mapping[ObjectKey, Sequence[Slice]], live: Mapping[ObjectKey, Sequence[Slice]]
) -> frozenset[ObjectKey]:
    """Services that lost real servers without a drain while their slices stay, where the brake counts too many."""
    now = {one.meta.uid: one for one in facts.live}
    lost: dict[ObjectKey, int] = {}
    for key, slices in before.items():
        for one in slices:
            present = now.get(one.meta.uid)
            if present is not None and present.content is not one.content:
                count = len(_left_out(one, _same_service(one, live[key])))
                if count:
                    lost[key] = lost.get(key, 0) + count
    if not lost:
        return frozenset()
    total = sum(_stays(member) for one in facts.before for member in one.content.members)
    return frozenset(lost) if sum(lost.values()) > facts.brake * total else frozenset()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
