"""The verdict on every check of a plan, with what to begin where there is none yet. Pure."""

from collections.abc import Mapping
from typing import Final

from lvs_agent.decide.health_verdict import Check, CheckResult, Verdict
from lvs_agent.decide.kernel_state import DestinationKey, KernelIpvs, ServiceState
from lvs_agent.decide.prepared_plan import PreparedPlan

UP: Final = CheckResult(verdict=Verdict.UP)
_NEW: Final = CheckResult(verdict=Verdict.UNKNOWN)


def first_verdicts(
    prepared: PreparedPlan, health: Mapping[Check, CheckResult], kernel: KernelIpvs
) -> dict[Check, CheckResult]:
    """The verdict on every check of the plan.

    Without one yet, a member that has weight in the kernel is up: a restarted agent, or an edited check, takes nobody
    out before it failed. Every other one is new and waits until it rose.
    """
    results: dict[Check, CheckResult] = {}
    for service in prepared.services:
        for member in service.members:
            check = member.check
            if check is None:
                continue
            known = results.get(check) or health.get(check)
            if known is None or (known is _NEW and known is results.get(check)):
                state = kernel.services.get(service.key)
                known = UP if weight_in_kernel(state, member.key) > 0 else _NEW
            results[check] = known
    return results


def weight_in_kernel(state: ServiceState | None, key: DestinationKey) -> int:
    """The weight that a real server has in a kernel service; 0 where it has no entry."""
    destination = state.destinations.get(key) if state else None
    return destination.settings.weight if destination else 0
