"""What the metrics tell of a decision: the replica that leads shows it, the others show nothing."""

from collections import Counter
from collections.abc import Iterable

from lvs_api.conditions import ConditionType, find_condition
from lvs_api.director_group import LvsDirectorGroupStatus
from lvs_api.virtual_service import LvsVirtualServiceStatus
from lvs_core.decision import Decision
from lvs_core.load_balancers import CoreServiceStatus
from lvs_operator import metrics

Statuses = Iterable[LvsVirtualServiceStatus] | Iterable[LvsDirectorGroupStatus] | Iterable[CoreServiceStatus]


def show_decision(decision: Decision) -> None:
    """These numbers from now on."""
    metrics.SERVICES.show(_counted(decision.services.values(), ConditionType.READY))
    metrics.LOAD_BALANCERS.show(_counted(decision.load_balancers.values(), ConditionType.ACCEPTED))
    metrics.DIRECTOR_GROUPS.show(_counted(decision.groups.values(), ConditionType.READY))
    metrics.MASTERS.show(_masters(decision))


def show_nothing() -> None:
    """Another replica leads."""
    metrics.SERVICES.show({})
    metrics.LOAD_BALANCERS.show({})
    metrics.DIRECTOR_GROUPS.show({})
    metrics.MASTERS.show({})
    metrics.SILENT_AGENTS.set(0)


def _counted(statuses: Statuses, kind: ConditionType) -> Counter[tuple[str, ...]]:
    """Objects by status and reason of a condition."""
    found = (find_condition(status.conditions, kind) for status in statuses)
    return Counter((one.status.value, one.reason) for one in found if one is not None)


def _masters(decision: Decision) -> dict[tuple[str, ...], int]:
    """How many directors are Master of each virtual router."""
    found: dict[tuple[str, ...], int] = {}
    for name, status in decision.groups.items():
        unrest = decision.memory.groups[name].unrest
        for router in status.virtual_routers or ():
            unclear = unrest.get(router.id)
            number = len(unclear.masters) if unclear is not None else int(router.active is not None)
            found[name, str(router.id)] = number
    return found
