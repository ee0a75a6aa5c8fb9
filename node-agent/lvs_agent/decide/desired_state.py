"""What the kernel's IPVS shall hold now: the plan with health, preparation, drains and routes on top.

Effective weight = the user's weight, if the member is prepared, not refused, not leaving, reachable as its method needs
and healthy; else 0. Unknown is not down: a member of which nothing new is known keeps the weight it has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lvs_agent.decide.drain import Drain, DrainCause, DrainKey, step_drains
from lvs_agent.decide.health_verdict import Check, CheckResult, Verdict
from lvs_agent.decide.kernel_state import (
    AnyServiceKey,
    DestinationKey,
    DestinationSettings,
    IPAddress,
    KernelIpvs,
    Route,
    RouteKind,
    ServiceKey,
    ServiceState,
    WantedService,
)
from lvs_agent.decide.kernel_words import (
    check_of,
    destination_key,
    destination_settings,
    service_key,
    service_settings,
)
from lvs_agent.decide.ownership import OwnedIpvs
from lvs_api.conditions import Reason
from lvs_api.network_types import ForwardingMethod
from lvs_api.real_server_pool import OnFailure
from lvs_core.cluster_view import ObjectKey
from lvs_core.plan import NodePlan, PlannedMember, PlannedService


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """Everything beside the plan that decides."""

    kernel: KernelIpvs
    owned: OwnedIpvs
    """What the ledger says is ours."""
    health: Mapping[Check, CheckResult]
    routes: Mapping[IPAddress, Route]
    """Of the real servers reached by DirectRouting."""
    drains: Mapping[DrainKey, Drain]
    now: float
    """Boot clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberState:
    """A real server in one virtual service, this round."""

    name: str
    has_weight: bool
    leaving: bool
    drained: bool
    """Every drain that the slice asks for is over."""
    drain_asked: bool
    reason: Reason | None
    """Why it has no weight."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePart:
    """One kernel service of a LvsVirtualService, this round."""

    key: ServiceKey
    paused: bool
    members: tuple[MemberState, ...]
    vanishing: int
    """Entries that still drain though the slices no longer have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredIpvs:
    """What the table shall be, and how each LvsVirtualService stands if it is."""

    wanted: Mapping[AnyServiceKey, WantedService] = field(default_factory=dict)
    frozen: frozenset[AnyServiceKey] = frozenset()
    """Services that stay as they are."""
    keep_unknown: bool = False
    """Some service's settings have not been seen: nothing of ours that is not wanted may be removed."""
    drains: Mapping[DrainKey, Drain] = field(default_factory=dict)
    checks: Mapping[Check, Verdict] = field(default_factory=dict)
    """Checks to run, with the verdict to begin with."""
    services: Mapping[ObjectKey, tuple[ServicePart, ...]] = field(default_factory=dict)


def desire(plan: NodePlan, around: Circumstances) -> DesiredIpvs:
    """The desired table of this moment."""
    checks = first_verdicts(plan, around)
    drains = step_drains(around.drains, _asked_drains(plan, around), around.kernel, around.now)
    wanted: dict[AnyServiceKey, WantedService] = {}
    frozen: set[AnyServiceKey] = set()
    services: dict[ObjectKey, list[ServicePart]] = {}
    for planned in plan.services():
        composer = _Composer(planned, around, checks, drains)
        if planned.paused:
            frozen.add(composer.key)
        else:
            wanted[composer.key] = composer.service()
        services.setdefault(planned.service, []).append(composer.part())
    return DesiredIpvs(
        wanted=wanted,
        frozen=frozenset(frozen),
        keep_unknown=any(director.incomplete for director in plan.directing),
        drains=drains,
        checks={check: result.verdict for check, result in checks.items()},
        services={name: tuple(parts) for name, parts in services.items()},
    )


def first_verdicts(plan: NodePlan, around: Circumstances) -> dict[Check, CheckResult]:
    """The verdict on every check of the plan.

    Without one yet, a member that has weight in the kernel is up: a restarted agent, or an edited check, takes nobody
    out before it failed. Every other one is new and waits until it rose.
    """
    results: dict[Check, CheckResult] = {}
    for planned in plan.services():
        state = around.kernel.services.get(service_key(planned.key))
        for member in planned.members:
            if member.check is None:
                continue
            check = check_of(member.check)
            if check in around.health:
                results[check] = around.health[check]
            elif check not in results or results[check].verdict is not Verdict.UP:
                weighted = _weight_in_kernel(state, destination_key(member)) > 0
                results[check] = CheckResult(verdict=Verdict.UP if weighted else Verdict.UNKNOWN)
    return results


def not_on_link(member: PlannedMember, routes: Mapping[IPAddress, Route]) -> str | None:
    """Why frames can not go straight to a DirectRouting member; None where they can, or nothing is known."""
    if member.method is not ForwardingMethod.DIRECT_ROUTING:
        return None
    route = routes.get(member.address)
    if route is None or route.on_link:
        return None
    if route.kind is RouteKind.LOCAL:
        return f"{member.address} is an address of this director"
    if route.next_hop is not None:
        return f"the route to {member.address} has the next hop {route.next_hop}; DirectRouting needs a common link"
    return f"this director has no route to {member.address}"


def _asked_drains(plan: NodePlan, around: Circumstances) -> dict[DrainKey, float]:
    """Every drain that the slices ask for, and those of members that vanished without being asked."""
    asked: dict[DrainKey, float] = {}
    for planned in plan.services():
        if planned.paused:
            continue
        key = service_key(planned.key)
        state = around.kernel.services.get(key)
        staying = set()
        for member in planned.members:
            destination = destination_key(member)
            if member.draining_seconds is not None:
                asked[DrainKey(service=key, destination=destination, cause=DrainCause.LEAVING)] = float(
                    member.draining_seconds
                )
            if member.former is not None and _has_method(state, destination, member):
                asked[DrainKey(service=key, destination=destination, cause=DrainCause.FORMER_METHOD)] = float(
                    member.former.timeout_seconds
                )
            if member.refused is None:
                staying.add(destination)
        ours = around.owned.get(key, frozenset())
        for destination in state.destinations if state else ():
            if destination in ours and destination not in staying:
                drain_key = DrainKey(service=key, destination=destination, cause=DrainCause.LEAVING)
                asked.setdefault(drain_key, float(planned.drain_seconds))
    return asked


class _Composer:
    """One planned service, member by member."""

    def __init__(
        self,
        planned: PlannedService,
        around: Circumstances,
        checks: Mapping[Check, CheckResult],
        drains: Mapping[DrainKey, Drain],
    ) -> None:
        self._planned = planned
        self._around = around
        self._checks = checks
        self._drains = drains
        self.key = service_key(planned.key)
        self._state = around.kernel.services.get(self.key)

    def service(self) -> WantedService:
        """The kernel service with its destinations."""
        destinations: dict[DestinationKey, DestinationSettings] = {}
        for member in self._planned.members:
            key = destination_key(member)
            if key not in destinations and self._has_entry(member, key):
                destinations[key] = destination_settings(member, self._weight(member))
        destinations.update(self._vanishing())
        return WantedService(settings=service_settings(self._planned), destinations=destinations)

    def part(self) -> ServicePart:
        """How the service stands."""
        return ServicePart(
            key=self.key,
            paused=self._planned.paused,
            members=tuple(self._member_state(member) for member in self._planned.members),
            vanishing=len(self._vanishing()),
        )

    def _vanishing(self) -> dict[DestinationKey, DestinationSettings]:
        """Entries of ours that the slices no longer have, or refuse, until they have drained."""
        staying = {destination_key(m) for m in self._planned.members if m.refused is None}
        vanishing = {}
        for key, state in self._state.destinations.items() if self._state else ():
            drain = self._drain(key, DrainCause.LEAVING)
            if key not in staying and drain is not None and not drain.over:
                vanishing[key] = _without_weight(state.settings)
        return vanishing

    def _has_entry(self, member: PlannedMember, key: DestinationKey) -> bool:
        if member.refused is not None or self._is_failed_and_removed(member):
            return False
        # One that is to leave is not brought in first.
        return member.draining_seconds is None or (self._state is not None and key in self._state.destinations)

    def _is_failed_and_removed(self, member: PlannedMember) -> bool:
        return (
            self._planned.on_failure is OnFailure.REMOVE
            and member.draining_seconds is None
            and self._result(member).verdict is Verdict.DOWN
        )

    def _weight(self, member: PlannedMember) -> int:
        return member.weight if self._why_not(member) is None else 0

    def _why_not(self, member: PlannedMember) -> tuple[Reason, str] | None:
        """Why a member gets no weight; None where it gets the user's."""
        if member.refused is not None:
            return _reason(member.refused), "refused"
        if member.draining_seconds is not None:
            return Reason.MEMBERS_NOT_READY, "draining"
        if detail := not_on_link(member, self._around.routes):
            return Reason.NOT_ON_LINK, detail
        if not member.prepared:
            return Reason.MEMBERS_NOT_READY, "its node has not prepared itself yet"
        result = self._result(member)
        if result.verdict is Verdict.DOWN:
            return Reason.MEMBERS_NOT_READY, f"its check fails: {result.detail}" if result.detail else "its check fails"
        if result.verdict is Verdict.UNKNOWN:
            return Reason.MEMBERS_NOT_READY, "not yet checked often enough"
        return None

    def _result(self, member: PlannedMember) -> CheckResult:
        return _NOT_CHECKED if member.check is None else self._checks[check_of(member.check)]

    def _drain(self, key: DestinationKey, cause: DrainCause) -> Drain | None:
        return self._drains.get(DrainKey(service=self.key, destination=key, cause=cause))

    def _member_state(self, member: PlannedMember) -> MemberState:
        key = destination_key(member)
        why = self._why_not(member)
        weight = self._weight(member)
        if self._planned.paused:
            weight = _weight_in_kernel(self._state, key)
            why = None if weight else (Reason.PAUSED, "the service is paused")
        elif why is None and not weight:
            why = (Reason.MEMBERS_NOT_READY, "its weight is 0")
        asked = [
            self._drain(key, cause)
            for cause, is_asked in (
                (DrainCause.LEAVING, member.draining_seconds is not None),
                (DrainCause.FORMER_METHOD, member.former is not None),
            )
            if is_asked
        ]
        return MemberState(
            name=member.name,
            has_weight=weight > 0,
            leaving=member.draining_seconds is not None,
            drain_asked=bool(asked),
            drained=bool(asked) and all(drain is not None and drain.over for drain in asked),
            reason=why[0] if why else None,
            detail=why[1] if why else "",
        )


_NOT_CHECKED = CheckResult(verdict=Verdict.UP)


def _weight_in_kernel(state: ServiceState | None, key: DestinationKey) -> int:
    destination = state.destinations.get(key) if state else None
    return destination.settings.weight if destination else 0


def _has_method(state: ServiceState | None, key: DestinationKey, member: PlannedMember) -> bool:
    """Whether the kernel already forwards by the new method, or has no entry at all."""
    destination = state.destinations.get(key) if state else None
    return destination is None or destination.settings.method == destination_settings(member, 0).method


def _without_weight(settings: DestinationSettings) -> DestinationSettings:
    return DestinationSettings(
        weight=0,
        method=settings.method,
        upper_threshold=settings.upper_threshold,
        lower_threshold=settings.lower_threshold,
        tunnel=settings.tunnel,
    )


def _reason(word: str) -> Reason:
    """The reason that a slice names; a newer operator may know more than this agent."""
    return Reason(word) if word in Reason.__members__.values() else Reason.MEMBERS_NOT_READY
