"""What the status of a simulated cluster's services says, in short."""

from core_objects import WEB
from simulated_cluster import SimulatedCluster

from lvs_api.conditions import Condition, ConditionType, find_condition
from lvs_core.cluster_view import ObjectKey


def condition(cluster: SimulatedCluster, kind: ConditionType, key: ObjectKey = WEB) -> Condition:
    status = cluster.services[key].status
    assert status is not None
    found = find_condition(status.conditions, kind)
    assert found is not None
    return found


def brief(cluster: SimulatedCluster, key: ObjectKey = WEB) -> dict[str, str]:
    status = cluster.services[key].status
    assert status is not None
    return {one.type: f"{one.status} {one.reason}" for one in status.conditions or ()}
