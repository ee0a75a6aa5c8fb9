"""What the status of a simulated cluster's services says, in short, and what a director's report says of one."""

from dataclasses import replace

from core_objects import WEB
from simulated_cluster import SimulatedCluster

from lvs_api.conditions import Condition, ConditionType, find_condition
from lvs_api.lvs_node import ServiceException
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


def except_(cluster: SimulatedCluster, director_name: str, /, **fields: object) -> None:
    """Let an agent's report name the service."""
    one = cluster.lvs_nodes[director_name]
    assert one.status is not None
    said = ServiceException.model_validate({"namespace": "default", "name": "web", "message": "why", **fields})
    cluster.lvs_nodes[director_name] = replace(one, status=one.status.model_copy(update={"exceptions": [said]}))
