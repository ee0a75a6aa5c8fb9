"""Builders for the tests of every package: good objects, short to write and easy to spoil.

Each gives a raw object as the API server would hand it out; keyword arguments replace fields of the spec (camelCase),
None takes one away. Addresses are those of coverage set-up S14c and of the documentation ranges.
"""

from collections.abc import Mapping
from typing import Any, Final

from lvs_api.api_group import API_VERSION, DEFAULT_DIRECTOR_GROUP, LABEL_DIRECTOR_GROUP
from lvs_api.kinds import ADDRESS_POOL, DIRECTOR_GROUP, NODE, REAL_SERVER_POOL, SERVICE_SLICE, VIRTUAL_SERVICE, Kind

Raw = dict[str, Any]

VIP: Final = "192.168.4.15"
VIP6: Final = "2001:db8:4::15"
REAL_SERVERS: Final = ("192.168.4.100", "192.168.4.200")
CREATED: Final = "2025-01-01T00:00:00Z"


def raw_object(kind: Kind[Any, Any], name: str, spec: Mapping[str, Any], *, namespace: str = "default") -> Raw:
    """An object with the metadata that the API server gives to a fresh one; the uid comes from kind and name."""
    metadata: Raw = {
        "name": name,
        "uid": f"{kind.singular}-{name}",
        "generation": 1,
        "resourceVersion": "1",
        "creationTimestamp": CREATED,
    }
    if kind.namespaced:
        metadata["namespace"] = namespace
    return {"apiVersion": API_VERSION, "kind": kind.name, "metadata": metadata, "spec": dict(spec)}


def virtual_service(name: str = "web", /, *, namespace: str = "default", **changes: object) -> Raw:
    """One IPv4 address, port 80/TCP, DirectRouting, the pool of the same name."""
    spec = {
        "addresses": [VIP],
        "ports": [{"name": "http", "protocol": "TCP", "port": 80}],
        "realServerPoolRef": {"name": name},
    }
    return raw_object(VIRTUAL_SERVICE, name, _changed(spec, changes), namespace=namespace)


def real_server_pool(name: str = "web", /, *, namespace: str = "default", **changes: object) -> Raw:
    """Two real servers of weights 1 and 2."""
    spec = {"realServers": [real_server(f"rs{i}", address, weight=i) for i, address in enumerate(REAL_SERVERS, 1)]}
    return raw_object(REAL_SERVER_POOL, name, _changed(spec, changes), namespace=namespace)


def real_server(name: str, address: str, /, **fields: object) -> Raw:
    """One entry of a pool's `realServers`."""
    return {"name": name, "address": address, **fields}


def director_group(name: str = DEFAULT_DIRECTOR_GROUP, /, **changes: object) -> Raw:
    """The nodes with the label `lvs-director: "true"`."""
    spec = {"nodes": {"selector": {"matchLabels": {"lvs-director": "true"}}}}
    return raw_object(DIRECTOR_GROUP, name, _changed(spec, changes))


def address_pool(name: str = "public", /, **changes: object) -> Raw:
    """192.168.4.0/24 for every namespace, with any IPv4 real servers."""
    spec = {"ranges": ["192.168.4.0/24"], "namespaces": {"selector": {}}, "realServerRanges": ["0.0.0.0/0"]}
    return raw_object(ADDRESS_POOL, name, _changed(spec, changes))


def service_slice(service: str = "web", /, *, index: int = 0, namespace: str = "default", **changes: object) -> Raw:
    """The slice of `virtual_service()` and `real_server_pool()` with two prepared members."""
    spec: Raw = {
        "serviceRef": {"name": service, "uid": f"{VIRTUAL_SERVICE.singular}-{service}"},
        "directorGroup": DEFAULT_DIRECTOR_GROUP,
        "index": index,
        "members": [slice_member(f"rs{i}", address) for i, address in enumerate(REAL_SERVERS, 1 + 2 * index)],
    }
    if index == 0:
        spec["service"] = {
            "generation": 1,
            "addresses": [VIP],
            "ports": [{"name": "http", "protocol": "TCP", "port": 80}],
            "scheduler": "wrr",
        }
        spec["pool"] = {"name": service, "generation": 1, "onFailure": "ZeroWeight", "drain": {"timeoutSeconds": 300}}
    result = raw_object(SERVICE_SLICE, f"{service}-{index}", _changed(spec, changes), namespace=namespace)
    result["metadata"]["labels"] = {LABEL_DIRECTOR_GROUP: result["spec"]["directorGroup"]}
    return result


def slice_member(name: str, address: str, /, **fields: object) -> Raw:
    """A plain machine under DirectRouting, prepared."""
    member = {
        "name": name,
        "address": address,
        "weight": 1,
        "forwarding": {"method": "DirectRouting"},
        "prepared": True,
    }
    return {**member, **fields}


def lvs_node(name: str = "node1", /, **changes: object) -> Raw:
    """A node that must bind the VIP on lo."""
    return raw_object(NODE, name, _changed({"addresses": [{"address": VIP, "device": "lo"}]}, changes))


def _changed(spec: Raw, changes: Mapping[str, object]) -> Raw:
    return {field: value for field, value in {**spec, **changes}.items() if value is not None}
