"""Hand-overs that a person asks for, each once: what is asked, whether it can be, and what came of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from lvs_api.director_group import HandOver, HandOverState
from lvs_core.cluster_view import DirectorGroup
from lvs_core.mastership import elapsed_seconds
from lvs_core.relief import Relief
from lvs_core.virtual_routers import speaks_vrrp, vrrp_of

HAND_OVER_SECONDS: Final = 30
"""Longer than letting go, taking over and the reports of both take."""
_INTERVALS: Final = 6
"""To that come as many adverts: three that are missed, the skew, and room."""
_MAX_MESSAGE: Final = 512


class Request(NamedTuple):
    """What a person asks for."""

    said: str
    """As it stands in the annotation: by this the answer names it."""
    target: str | None
    """Who is to have the addresses; None: any other director."""


def read_request(said: str | None) -> Request | None:
    """`TOKEN`, or `TOKEN/NODE`; None: nothing is asked."""
    said = (said or "")[: HandOver.LONGEST_REQUEST]
    return Request(said, said.partition("/")[2] or None) if said else None


def is_under_way(record: HandOver | None) -> bool:
    """Whether somebody is to give the addresses away for it now."""
    return record is not None and record.state is HandOverState.UNDER_WAY


def seconds_until_failed(group: DirectorGroup, record: HandOver | None, now: str) -> float | None:
    """When time alone makes a hand-over that is under way a failed one; None: there is none."""
    if record is None or not is_under_way(record):
        return None
    return max(_limit(group) - elapsed_seconds(record.time, now), 0.0)


def follow_hand_over(relief: Relief, now: str) -> HandOver | None:
    """What the group's status is to say of the last request; None where nobody ever asked. `now` is RFC 3339."""
    before = relief.group.status.hand_over if relief.group.status is not None else None
    request = read_request(relief.group.hand_over_request)
    if request is not None and (before is None or before.request != request.said):
        return _Asked(relief=relief, request=request, now=now).begun()
    if before is None or not is_under_way(before):
        return before
    request = read_request(before.request)
    if request is None:
        return before
    return _Asked(relief=relief, request=request, now=now).followed(before)


def _limit(group: DirectorGroup) -> float:
    if not speaks_vrrp(group):
        return HAND_OVER_SECONDS
    return HAND_OVER_SECONDS + _INTERVALS * vrrp_of(group).advert_interval_milliseconds / 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """One request at one moment."""

    relief: Relief
    request: Request
    now: str

    def begun(self) -> HandOver:
        """Whether it can be, by what directors report now."""
        carriers, target = self._carriers(), self.request.target
        if target is not None and carriers == [target]:
            return self._say(HandOverState.DONE, f"{target} carries the addresses already")
        if (refusal := next(self._refusals(carriers), None)) is not None:
            return self._say(HandOverState.REFUSED, refusal)
        givers = [name for name in carriers if name != target]
        message = f"{_and(givers)} {_let(givers)} go of the addresses for {target or 'another director'}"
        giver = givers[0] if len(givers) == 1 else None
        return self._say(HandOverState.UNDER_WAY, message, giver)

    def followed(self, before: HandOver) -> HandOver:
        """Done once another carries the addresses, or the one that was named carries all; failed when time is up."""
        carriers, target, giver = self._carriers(), self.request.target, before.giver
        if carriers and (carriers == [target] if target is not None else giver not in carriers):
            message = f"{_and(carriers)} {_carry(carriers)} the addresses{f' instead of {giver}' if giver else ''}"
            return self._say(HandOverState.DONE, message, giver)
        limit = _limit(self.relief.group)
        if elapsed_seconds(before.time, self.now) < limit:
            return before
        why = self.relief.why_not(target) if target is not None else None
        trouble = f"{target} {why or 'did not take over'}" if target is not None else "no other director took over"
        stands = f"{_and(carriers)} {_carry(carriers)} the addresses" if carriers else "nobody carries the addresses"
        return self._say(HandOverState.FAILED, f"{trouble} within {limit:.0f} s: {stands}", giver)

    def _carriers(self) -> list[str]:
        """Who carries the addresses; empty where somebody is not known."""
        found = self.relief.who.carriers(())
        return [] if None in found else [name for name in found if name is not None]

    def _refusals(self, carriers: Sequence[str]) -> Iterator[str]:
        """Why nothing is moved, the first counts."""
        relief, target = self.relief, self.request.target
        who, group = relief.who, relief.group
        if who.begins_with is not None or who.is_ending:
            yield "failover is about to change between None and VRRP; ask again when that is over"
        if target is not None and (why := relief.why_not(target)) is not None:
            yield f"{target} {why}"
        if not carriers:
            yield "it is not known who carries the addresses"
            return
        if silent := [name for name in carriers if name not in who.available]:
            yield f"{_and(silent)} does not report, and has to let go before another may have the addresses"
        if relief.stays:
            yield relief.stays
        if speaks_vrrp(group) and vrrp_of(group).preemption is not None:
            yield (
                "with spec.vrrp.preemption the director of the highest priority takes the addresses back; name those "
                "that are not to carry them in spec.maintenance"
            )
        if target is None and len(carriers) > 1:
            yield f"{_and(carriers)} carry the addresses: name one director that is to carry all of them"
        if target is None and not relief.ready_beside(carriers[0]):
            yield relief.why_nobody(carriers[0])

    def _say(self, state: HandOverState, message: str, giver: str | None = None) -> HandOver:
        return HandOver(
            request=self.request.said, state=state, time=self.now, giver=giver, message=message[:_MAX_MESSAGE]
        )


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)


def _let(names: Sequence[str]) -> str:
    return "lets" if len(names) == 1 else "let"


def _carry(names: Sequence[str]) -> str:
    return "carries" if len(names) == 1 else "carry"
