"""Pure: Services of type LoadBalancer say when the API server does not take what is to be made of them.

A quota of the namespace may forbid it, or somebody's admission policy: only the user of the Service can change that.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from lvs_api.conditions import ConditionType, Reason
from lvs_core.checks import Problem
from lvs_core.cluster_view import ClusterView, ObjectKey
from lvs_core.decision import Decision
from lvs_core.load_balancer_status import load_balancer_statuses
from lvs_core.load_balancers import DIRECTOR_GROUP
from lvs_operator.watched_kinds import POOLS, VIRTUAL_SERVICES
from lvs_operator.writer import WriteKey

MADE_KINDS: Final = frozenset({POOLS.name, VIRTUAL_SERVICES.name})


def mark_refused(view: ClusterView, decision: Decision, refused: Mapping[WriteKey, str], now: str) -> Decision:
    """The decision with what the API server has against writes of made objects, on their Services."""
    problems: dict[ObjectKey, Problem] = {}
    for write, said in sorted(refused.items()):
        key = ObjectKey(write.namespace, write.name)
        if write.kind not in MADE_KINDS:
            continue
        if write.part == "spec" and key in decision.owned.made:
            message = f"the API server does not take {write.kind} {key}, and it is tried again: {said}"
        elif write.part == "delete" and key in decision.owned.anew:
            group = decision.owned.anew[key].service.director_group_ref.name
            message = (
                f"metadata.annotations[{DIRECTOR_GROUP}]: the API server does not have {write.kind} {key} made anew "
                f"for LvsDirectorGroup {group}, and it is tried again: {said}"
            )
        else:
            continue
        problems[key] = Problem(condition=ConditionType.ACCEPTED, reason=Reason.WRITE_REFUSED, message=message)
    if not problems:
        return decision
    owned = replace(decision.owned, problems={**decision.owned.problems, **problems})
    return replace(decision, load_balancers=load_balancer_statuses(view, owned, decision.services, now))
