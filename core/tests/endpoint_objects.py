"""Services and EndpointSlices as the API server hands them out, for tests of endpoints as real servers."""

from collections.abc import Mapping
from typing import Any

from core_objects import WEB, pool, service, small_cluster
from simulated_cluster import SimulatedCluster

from lvs_core.cluster_view import Member
from lvs_core.endpoints import core_service_from_raw, endpoint_slice_from_raw

Raw = dict[str, Any]
NOT_READY = {"ready": False, "serving": False, "terminating": False}
UNREADY_BUT_SERVING = {"ready": False, "serving": True, "terminating": False}
TERMINATING = {"ready": False, "serving": True, "terminating": True}
GOING_DEAF = {"ready": False, "serving": False, "terminating": True}
PUBLISHED = {"ready": True, "serving": True, "terminating": True}
HTTP = {"name": "http", "port": 8080, "protocol": "TCP"}
HTTPS = {"name": "https", "port": 8443, "protocol": "TCP"}


def core_service(*ports: Raw, name: str = "pods", **spec: object) -> Raw:
    """A Service; its ports are those of its slices, as far as names go."""
    told = [{**port, "port": 80} for port in ports]
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"ports": told, **spec}}


def endpoint_slice(
    endpoints: Mapping[str, Raw | None], *ports: Raw, name: str = "pods-1", service: str = "pods", **fields: object
) -> Raw:
    """A slice of endpoints by address, each with its conditions."""
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv6" if any(":" in address for address in endpoints) else "IPv4",
        "ports": list(ports),
        "endpoints": [
            {"addresses": [address], **({} if conditions is None else {"conditions": conditions})}
            for address, conditions in endpoints.items()
        ],
        **fields,
    }


def tell(cluster: SimulatedCluster, *slices: Raw) -> None:
    """The slices that there are from now on."""
    cluster.endpoint_slices = [endpoint_slice_from_raw(one) for one in slices]


def pods_cluster(*ports: Raw, endpoints: Raw | None = None, pool_fields: Raw | None = None, **changes: object) -> Any:
    """A cluster whose service `web` has the endpoints of the Service `pods` for real servers."""
    cluster = small_cluster()
    cluster.core_services = [core_service_from_raw(core_service(*(ports or (HTTP,))))]
    fields = {"realServers": None, "endpoints": {"serviceRef": {"name": "pods"}, **(endpoints or {})}}
    cluster.put(pool(cluster, **fields, **(pool_fields or {})))
    cluster.put(service(cluster, **{"forwarding": {"method": "Masquerade"}, **changes}))
    return cluster


def members(cluster: SimulatedCluster) -> dict[str, Member]:
    """Those of the slices, by address."""
    return {
        member.address: member
        for one in cluster.slices.values()
        if one.service_key == WEB
        for member in one.content.members
    }


def brief(cluster: SimulatedCluster) -> dict[str, str]:
    """What of them counts for new connections: the weight, or that they leave, and where."""
    told = {}
    for address, one in members(cluster).items():
        where = " ".join(f"{name}:{number}" for name, number in one.ports) or str(one.port)
        gone = None if one.draining_seconds is None else f"leaves in {one.draining_seconds}"
        told[address] = f"{where} {gone or one.weight}"
    return told
