"""Objects of the core's values for its tests, short to write."""

from typing import Any

from simulated_cluster import SimulatedCluster

from lvs_api import testing
from lvs_core.cluster_view import AddressPool, ClusterNode, DirectorGroup, ObjectKey, Pool, VirtualService
from lvs_core.view_objects import address_pool_from_raw, group_from_raw, pool_from_raw, service_from_raw

WEB = ObjectKey("default", "web")
DIRECTOR_LABELS = {"lvs-director": "true"}


def node(name: str, address: str, *, labels: dict[str, str] | None = None, **fields: Any) -> ClusterNode:
    return ClusterNode(name=name, uid=f"node-{name}", labels=labels or {}, internal_addresses=(address,), **fields)


def director(name: str, address: str) -> ClusterNode:
    return node(name, address, labels=DIRECTOR_LABELS)


def service(cluster: SimulatedCluster, name: str = "web", **changes: object) -> VirtualService:
    made = service_from_raw(testing.virtual_service(name, **changes))
    return VirtualService(meta=cluster.meta(name), spec=made.spec, spec_error=made.spec_error)


def pool(cluster: SimulatedCluster, name: str = "web", **changes: object) -> Pool:
    made = pool_from_raw(testing.real_server_pool(name, **changes))
    return Pool(meta=cluster.meta(name), spec=made.spec, spec_error=made.spec_error)


def address_pool(cluster: SimulatedCluster, name: str = "public", **changes: object) -> AddressPool:
    made = address_pool_from_raw(testing.address_pool(name, **changes))
    return AddressPool(meta=cluster.meta(name, None), spec=made.spec, spec_error=made.spec_error)


def group(cluster: SimulatedCluster, name: str = "default", **changes: object) -> DirectorGroup:
    made = group_from_raw(testing.director_group(name, **changes))
    return DirectorGroup(meta=cluster.meta(name, None), spec=made.spec, spec_error=made.spec_error)


def real_servers(**addresses: str) -> list[dict[str, Any]]:
    return [testing.real_server(name, address) for name, address in addresses.items()]


def small_cluster(*, directors: int = 1, **changes: object) -> SimulatedCluster:
    """Directors d1…, node real servers n1 (192.168.4.100) and n2 (192.168.4.200), service and pool `web`."""
    cluster = SimulatedCluster()
    for number in range(1, directors + 1):
        cluster.add_node(director(f"d{number}", f"192.168.4.{4 + number}"))
    cluster.add_node(node("n1", "192.168.4.100"))
    cluster.add_node(node("n2", "192.168.4.200"))
    cluster.put(group(cluster))
    cluster.put(pool(cluster))
    cluster.put(service(cluster, **changes))
    return cluster
