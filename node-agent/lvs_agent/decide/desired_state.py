"""What the kernel's IPVS shall hold now: the plan with health, preparation, drains and routes on top."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lvs_agent.decide.asked_drains import asked_drains
from lvs_agent.decide.circumstances import Circumstances
from lvs_agent.decide.desired_service import ServiceComposer, ServicePart
from lvs_agent.decide.drain import Drain, DrainKey, step_drains
from lvs_agent.decide.first_verdicts import first_verdicts
from lvs_agent.decide.fresh_word import MemberKey, Standing, believed
from lvs_agent.decide.health_verdict import Check, Verdict
from lvs_agent.decide.kernel_state import AnyServiceKey, IPAddress, WantedService
from lvs_agent.decide.prepared_plan import PreparedPlan
from lvs_core.cluster_view import ObjectKey


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredIpvs:
    """What the table shall be, and how each LvsVirtualService stands if it is."""

    wanted: Mapping[AnyServiceKey, WantedService] = field(default_factory=dict)
    frozen: frozenset[AnyServiceKey] = frozenset()
    """Services that stay as they are."""
    keep_unknown: bool = False
    """Some service's settings have not been seen: nothing of ours that is not wanted may be removed."""
    standing_in: bool = False
    """Some entry has weight only for a time: what is wanted changes without news."""
    drains: Mapping[DrainKey, Drain] = field(default_factory=dict)
    checks: Mapping[Check, Verdict] = field(default_factory=dict)
    """Checks to run, with the verdict to begin with."""
    services: Mapping[ObjectKey, tuple[ServicePart, ...]] = field(default_factory=dict)
    standings: Mapping[MemberKey, Standing] = field(default_factory=dict)
    quorums: Mapping[AnyServiceKey, bool] = field(default_factory=dict)
    """Which kernel services have their quorum, of those that ask for one."""
    asks: frozenset[IPAddress] = frozenset()
    """Real servers whose agents are to be asked what they carry."""


def desire(prepared: PreparedPlan, around: Circumstances) -> DesiredIpvs:
    """The desired table of this moment."""
    checks = first_verdicts(prepared, around.health, around.kernel)
    provisional = prepared.plan.provisional
    asked = asked_drains(prepared, around.kernel, around.owned, around.drains)
    drains = step_drains(around.drains, asked, around.kernel, around.now)
    draining_services = {key.service for key in drains}
    wanted: dict[AnyServiceKey, WantedService] = {}
    frozen: set[AnyServiceKey] = set()
    services: dict[ObjectKey, list[ServicePart]] = {}
    standing_in = False
    standings: dict[MemberKey, Standing] = {}
    trusted = believed(around.standings)
    for service in prepared.services:
        composer = ServiceComposer(service, around, checks, drains if service.key in draining_services else {}, trusted)
        composer.stays = provisional or service.planned.paused
        service_now, part = composer.compose()
        if provisional:
            service_now = composer.as_it_is(service_now)
        standing_in = standing_in or composer.standing_in
        standings.update(composer.standings)
        waits = service.planned.vip in around.unguarded and service.key not in around.kernel.services
        if service.planned.paused or waits:
            frozen.add(service.key)
        else:
            wanted[service.key] = service_now
        services.setdefault(service.planned.service, []).append(part)
    return DesiredIpvs(
        wanted={**around.handed_on, **wanted} if around.handed_on else wanted,
        frozen=frozenset(frozen),
        keep_unknown=provisional or any(director.incomplete for director in prepared.plan.directing),
        standing_in=standing_in,
        drains=drains,
        checks={check: result.verdict for check, result in checks.items()},
        services={name: tuple(parts) for name, parts in services.items()},
        standings=standings,
        quorums={part.key: part.quorum.is_met for parts in services.values() for part in parts if part.quorum},
        asks=frozenset(key.destination.address for key, one in standings.items() if one.asked_since is not None),
    )
