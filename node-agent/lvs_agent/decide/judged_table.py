"""One look at the IPVS table: what it shall be, whose its entries are, and what is to be changed.

A round takes several looks, and nearly all services are as they were in the last one. A service that is at rest is not
judged again while all that its judgement follows from is the same. To compare that costs little, for what has not
changed is the same object.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from lvs_agent.decide.changes import IpvsChange
from lvs_agent.decide.circumstances import Circumstances
from lvs_agent.decide.desired_service import ServicePart
from lvs_agent.decide.desired_state import DesiredIpvs, desire
from lvs_agent.decide.health_verdict import Check, CheckResult, Verdict
from lvs_agent.decide.kernel_diff import diff_ipvs
from lvs_agent.decide.kernel_state import (
    AnyServiceKey,
    DestinationKey,
    IPAddress,
    KernelIpvs,
    Route,
    ServiceState,
    WantedService,
)
from lvs_agent.decide.ownership import IpvsOwnership, judge_ipvs
from lvs_agent.decide.prepared_plan import PreparedPlan, PreparedService
from lvs_api.network_types import ForwardingMethod
from lvs_core.cluster_view import ObjectKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What one look came to."""

    desired: DesiredIpvs
    ownership: IpvsOwnership
    changes: tuple[IpvsChange, ...]


def judge_table(prepared: PreparedPlan, around: Circumstances) -> Judged:
    """Judge everything."""
    return TableJudge().judge(prepared, around)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rest:
    """A service of ours with nothing to do that neither drains, nor has a quorum, nor asks agents."""

    service: PreparedService
    state: ServiceState
    owned: frozenset[DestinationKey]
    wanted: WantedService
    part: ServicePart
    checks: Mapping[Check, Verdict]
    is_direct: bool
    """Some real server of it is reached by DirectRouting: routes count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rests:
    """Those of one look, and what all of them follow from."""

    health: Mapping[Check, CheckResult] = field(default_factory=dict)
    routes: Mapping[IPAddress, Route] = field(default_factory=dict)
    services: Mapping[AnyServiceKey, _Rest] = field(default_factory=dict)

    def still(self, prepared: PreparedPlan, around: Circumstances) -> dict[AnyServiceKey, _Rest]:
        """The services that are at rest now, too."""
        draining = {key.service for key in around.drains}
        same_health, same_routes = around.health is self.health, around.routes is self.routes
        return {
            service.key: rest
            for service in prepared.services
            if (rest := self.services.get(service.key)) is not None
            and rest.service is service
            and rest.state is around.kernel.services.get(service.key)
            and rest.owned is around.owned.get(service.key)
            and service.key not in draining
            and (same_health or not rest.checks)
            and (same_routes or not rest.is_direct)
        }


class TableJudge:
    """Judges one look after the other, and says of each what `judge_table` would."""

    def __init__(self) -> None:
        self._rests = _Rests()

    def judge(self, prepared: PreparedPlan, around: Circumstances) -> Judged:
        """Judge what is not at rest, and add what is."""
        resting = self._rests.still(prepared, around)
        moving = tuple(one for one in prepared.services if one.key not in resting) if resting else prepared.services
        judged = _judge(replace(prepared, services=moving), around, resting.keys())
        services = resting | _rests(moving, judged, around) if not prepared.plan.provisional else {}
        self._rests = _Rests(health=around.health, routes=around.routes, services=services)
        return _together(prepared, around, judged, resting) if resting else judged


def _judge(prepared: PreparedPlan, around: Circumstances, aside: AbstractSet[AnyServiceKey]) -> Judged:
    """Judge these services, and all that is in the kernel but what is left aside."""
    desired = desire(prepared, around)
    unseen = desired.frozen | aside
    visible = KernelIpvs(services={k: s for k, s in around.kernel.services.items() if k not in unseen})
    ours = {key: owned for key, owned in around.owned.items() if key not in unseen}
    wanted = {key: one for key, one in desired.wanted.items() if key not in aside}
    ownership = judge_ipvs(visible, wanted, ours)
    changes = diff_ipvs(visible, wanted, ownership)
    if desired.keep_unknown:
        changes = tuple(c for c in changes if c.service in wanted)
    return Judged(desired=desired, ownership=ownership, changes=changes)


def _rests(services: Iterable[PreparedService], judged: Judged, around: Circumstances) -> dict[AnyServiceKey, _Rest]:
    """Those of these services that have come to rest."""
    desired, ownership = judged.desired, judged.ownership
    at_work = {change.service for change in judged.changes} | {key.service for key in desired.drains}
    parts = {part.key: part for name in desired.services.values() for part in name}
    rests: dict[AnyServiceKey, _Rest] = {}
    for service in services:
        key, owned = service.key, around.owned.get(service.key)
        state = around.kernel.services.get(key)
        # The very same set: nothing in it is another's, or has become ours, and it is not paused.
        if state is None or owned is None or owned is not ownership.owned.get(key) or key in at_work:
            continue
        part, checks = parts[key], {member.check for member in service.members if member.check is not None}
        asks = any(member.need is not None for member in service.members)
        if asks or part.quorum is not None or not all(check in around.health for check in checks):
            continue
        rests[key] = _Rest(
            service=service,
            state=state,
            owned=owned,
            wanted=desired.wanted[key],
            part=part,
            checks={check: desired.checks[check] for check in checks},
            is_direct=any(one.planned.method is ForwardingMethod.DIRECT_ROUTING for one in service.members),
        )
    return rests


def _together(
    prepared: PreparedPlan, around: Circumstances, judged: Judged, resting: Mapping[AnyServiceKey, _Rest]
) -> Judged:
    """What was judged and what is at rest, in the order of the plan and of the kernel."""
    desired, ownership = judged.desired, judged.ownership
    moving = {part.key: part for parts in desired.services.values() for part in parts}
    wanted = dict(around.handed_on)
    checks = dict(desired.checks)
    services: dict[ObjectKey, list[ServicePart]] = {}
    for service in prepared.services:
        key, rest = service.key, resting.get(service.key)
        if rest is not None:
            wanted[key] = rest.wanted
            checks.update(rest.checks)
        elif key in desired.wanted:
            wanted[key] = desired.wanted[key]
        services.setdefault(service.planned.service, []).append(moving[key] if rest is None else rest.part)
    owned = {
        key: resting[key].owned if key in resting else ownership.owned[key]
        for key in around.kernel.services
        if key in resting or key in ownership.owned
    }
    return Judged(
        desired=replace(
            desired,
            wanted=wanted,
            checks=checks,
            services={name: tuple(parts) for name, parts in services.items()},
        ),
        ownership=replace(ownership, owned=owned),
        changes=judged.changes,
    )
