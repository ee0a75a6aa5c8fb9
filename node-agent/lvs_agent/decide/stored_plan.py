"""What of a plan from the last view on disk may be carried out before the API server had its say."""

from dataclasses import replace

from lvs_core.plan import Holding, NodePlan


def without_claims(plan: NodePlan) -> NodePlan:
    """The plan without VIPs that this node does not carry on its network devices already.

    Another director may have been named while this node was away: two that announce one address are worse than a
    director that takes it some seconds later. Everything else harms nobody: IPVS entries get no packets without the
    VIP, and a real server is silent about its VIPs.
    """
    return replace(
        plan,
        directing=tuple(
            replace(director, holding=Holding.KEEP) if director.holding is Holding.HOLD else director
            for director in plan.directing
        ),
    )
