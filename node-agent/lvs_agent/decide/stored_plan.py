"""What of a plan from the last view on disk may be carried out before the API server had its say.

The view may be older than what this node did last: a disk may have been full. So it may bring what is missing, as after
a reboot, and change nothing that is there.
"""

from collections.abc import Set as AbstractSet
from dataclasses import replace

from lvs_agent.decide.kernel_state import DestinationKey, ServiceState, WantedService
from lvs_core.plan import Holding, NodePlan


def by_stored_view(plan: NodePlan) -> NodePlan:
    """The plan as all that is known, when the API server is not there."""
    return replace(plan, by_stored_view=True)


def provisional(plan: NodePlan) -> NodePlan:
    """The plan as something to begin with: no VIP is taken to a network device by it, and none is let go.

    Another director may have been named while this node was away: two that announce one address are worse than a
    director that takes it some seconds later. What else is missing harms nobody: IPVS entries get no packets without
    the VIP, and a real server is silent about its VIPs.
    """
    directing = tuple(replace(director, holding=Holding.KEEP) for director in plan.directing)
    settings = replace(plan.settings, is_complete=False, has_roles=False)
    return replace(by_stored_view(plan), directing=directing, settings=settings, provisional=True)


def as_it_is(
    state: ServiceState,
    wanted: WantedService,
    owned: AbstractSet[DestinationKey] | None,
    failed: AbstractSet[DestinationKey],
) -> WantedService:
    """A service that the kernel has as it has it; what is not ours may become so as the plan wants it, weights aside.

    `owned` is None where the service is not ours. A check that fails, or a route that is gone, is news of now and not
    of the view: it takes the weight.
    """
    destinations = {}
    for key, found in state.destinations.items():
        if owned is not None and key in owned:
            settings = found.settings
        elif key in wanted.destinations:
            settings = replace(wanted.destinations[key], weight=found.settings.weight)
        else:
            continue
        destinations[key] = replace(settings, weight=0) if key in failed else settings
    return WantedService(settings=wanted.settings if owned is None else state.settings, destinations=destinations)
