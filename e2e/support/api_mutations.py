"""Every field of every kind, spoiled in every way its schema speaks of, out of objects in which every field is set."""

from collections.abc import Iterator
from typing import Any, Final

from lvs_api.crd_manifest import crd_manifest
from lvs_api.kinds import ALL_KINDS
from lvs_api.node_settings import IpvsSysctls
from lvs_api.structural_schema import structural_schema
from lvs_api.testing import (
    address_pool,
    director_group,
    lvs_node,
    real_server,
    real_server_pool,
    service_slice,
    slice_member,
    virtual_service,
)
from support.api_case import ApiCase, changed

Raw = dict[str, Any]
Path = tuple[str | int, ...]

TIME: Final = "2025-01-01T00:00:00Z"
CONDITION: Final = {
    "type": "Ready",
    "status": "True",
    "reason": "Ready",
    "message": "all is well",
    "lastTransitionTime": TIME,
    "observedGeneration": 1,
}
STATUS_BASE: Final = {"observedGeneration": 1, "conditions": [CONDITION]}
_HTTP: Final = {"path": "/", "host": "example.org", "expectedStatuses": [200]}
_CHECK: Final = {"intervalSeconds": 10, "timeoutSeconds": 5, "rise": 2, "fall": 3, "port": 80}
_TUNNEL: Final = {"method": "Tunnel", "tunnel": {"type": "GUE", "port": 6080, "checksum": "UDP"}}
_MARK: Final = {"value": 10, "families": ["IPv4", "IPv6"], "localDelivery": True}
_SELECTOR: Final = {
    "matchLabels": {"a": "b"},
    "matchExpressions": [{"key": "role", "operator": "In", "values": ["x"]}],
}

_VRRP: Final = {
    "version": 3,
    "advertIntervalMilliseconds": 100,
    "priorities": [{"node": "d1", "priority": 150}],
    "preemption": {"delaySeconds": 5},
    "transport": "Unicast",
    "spread": 1,
    "virtualRouterIds": [55],
    "reservedVirtualRouterIds": [56],
    "trackedInterfaces": ["eth1"],
    "gatewayAddresses": ["192.168.2.5"],
}


_SIP_PORT = {"name": "sip", "protocol": "UDP", "port": 5060}


def full_objects() -> list[Raw]:
    """Objects in which, together, every field of every spec is set."""
    masquerade = {"method": "Masquerade"}
    behind = {**masquerade, "sourceNat": True}
    thresholds = {"upperThreshold": 9, "lowerThreshold": 3}
    port = {"name": "http", "protocol": "TCP", "port": 80, "realServerPort": 8080, "helper": "FTP"}
    settings: Raw = {
        "scheduler": "sh",
        "schedulerFlags": ["sh-port"],
        "persistence": {"timeoutSeconds": 300, "ipv4PrefixLength": 32, "ipv6PrefixLength": 128},
        "onePacketScheduling": False,
        "paused": False,
        "quorum": {"weight": 2, "hysteresis": 1, "below": "WithdrawAddress"},
    }
    member = {"port": 8080, "weight": 2, "state": "Active", "forwarding": behind, **thresholds}
    calls = {**settings["persistence"], "engine": "sip"}
    accepted = {**service_slice()["spec"]["service"], **settings, "ports": [port], "persistence": calls}
    pool = {
        **service_slice()["spec"]["pool"],
        "udpOnFailure": "Remove",
        "healthCheck": {**_CHECK, "http": _HTTP},
    }
    sliced = slice_member(
        "a",
        "10.0.0.1",
        port=80,
        ports=[{"name": "http", "port": 8080}],
        node="n1",
        bootId="b",
        refused="NotOnLink",
        forwarding=behind,
        former={"forwarding": {**_TUNNEL, "sourceNat": False}, "timeoutSeconds": 60},
        unready=True,
        draining={"timeoutSeconds": 3},
        **thresholds,
    )
    return [
        virtual_service(ports=[port], forwarding=masquerade, directorGroupRef={"name": "default"}, **settings),
        virtual_service(forwarding=_TUNNEL, portMode="Separate"),
        virtual_service(ports=[_SIP_PORT], persistence=calls, onePacketScheduling=True),
        virtual_service(forwarding={"method": "Masquerade", "sourceNat": False}),
        virtual_service(addresses=None, ports=None, firewallMark=_MARK),
        virtual_service(addresses=None, addressPoolRef={"name": "public", "families": ["IPv4", "IPv6"]}),
        address_pool(namespaces={"selector": _SELECTOR}, firewallMarks=[10]),
        address_pool(namespaces={"names": ["team-a"]}),
        real_server_pool(
            realServers=[real_server("a", "10.0.0.1", **member)],
            nodes={"selector": _SELECTOR, "addressType": "InternalIP"},
            endpoints={"serviceRef": {"name": "web"}, "portName": "http"},
            weight=3,
            healthCheck={**_CHECK, "http": _HTTP},
            onFailure="Remove",
            drain={"timeoutSeconds": 10},
        ),
        real_server_pool(
            realServers=[real_server("a", "10.0.0.1", forwarding=_TUNNEL)], healthCheck={**_CHECK, "tcp": {}}
        ),
        director_group(
            nodes={"selector": _SELECTOR},
            interface="eth0",
            failover="None",
            maintenance=["d1"],
            ignoreAnswersFrom=["02:00:00:00:00:aa"],
            timeouts={"tcpSeconds": 30, "tcpFinSeconds": 5, "udpSeconds": 60},
            sysctls=_all_sysctls(),
            connectionSync={
                "interface": "eth1",
                "syncId": 1,
                "multicastGroup": "224.0.0.81",
                "port": 8848,
                "ttl": 1,
                "maxLength": 1472,
            },
        ),
        director_group(failover="VRRP", vrrp=_VRRP),
        director_group(failover="VRRP", vrrp={"version": 2, "authentication": {"password": "1111"}}),
        service_slice(service=accepted, pool=pool, members=[sliced]),
        service_slice(service=_marked()),
        service_slice(
            pool={**pool, "healthCheck": {"tcp": {}}}, members=[slice_member("a", "10.0.0.1", forwarding=_TUNNEL)]
        ),
        lvs_node(directorGroups=["default"], givesWay=["default"], directorAddresses=["192.168.4.5", "2001:db8:4::5"]),
        lvs_node(addresses=[{"address": "192.168.4.15", "device": "tunl0", "guePorts": [6080]}]),
    ]


def _marked() -> Raw:
    """What is accepted of a service of marked packets."""
    accepted = {**service_slice()["spec"]["service"], "firewallMark": _MARK}
    return {name: value for name, value in accepted.items() if name not in {"addresses", "ports"}}


def _all_sysctls() -> Raw:
    """Each at its largest."""
    return {name: node.get("maximum", True) for name, node in structural_schema(IpvsSysctls)["properties"].items()}


def full_statuses() -> list[Raw]:
    """Objects with a status in which every field is set."""
    service = virtual_service("status") | {
        "status": {
            **STATUS_BASE,
            "addresses": ["192.168.4.15"],
            "firewallMark": 10,
            "directors": [{"node": "d1", "state": "Active", "message": "m"}],
            "realServers": {"total": 3, "ready": 2, "draining": 1},
        }
    }
    pool = real_server_pool("status") | {"status": {**STATUS_BASE, "members": 3, "services": 1}}
    addresses = address_pool("status") | {"status": {**STATUS_BASE, "addresses": 256, "used": 2}}
    directors = [
        {
            "node": "d1",
            "holdsAddresses": True,
            "reporting": True,
            "standsAside": "Cordoned",
            "addresses": ["192.168.4.5"],
        }
    ]
    router = {
        "id": 55,
        "priorities": [{"node": "d1", "priority": 150}],
        "active": "d1",
        "since": "2026-01-01T00:00:00Z",
        "message": "m",
    }
    group = director_group("status") | {
        "status": {
            **STATUS_BASE,
            "active": "d1",
            "directors": directors,
            "virtualRouters": [router],
            "vrrpBeginsWith": "d1",
            "handOver": {
                "request": "t/d1",
                "state": "Done",
                "time": "2026-01-01T00:00:00Z",
                "giver": "d2",
                "message": "m",
            },
            "services": 2,
        }
    }
    exception = {
        "namespace": "default",
        "name": "web",
        "reason": "MembersNotReady",
        "message": "m",
        "programmed": True,
        "ready": 1,
        "draining": 1,
    }
    node = lvs_node("status") | {
        "status": {
            **STATUS_BASE,
            "bootId": "b",
            "agentVersion": "1",
            "capabilities": {"kernelVersion": "6.1", "ipvsVersion": "1.2.1"},
            "addresses": [
                {"address": "192.168.4.15", "device": "tunl0", "state": "Failed", "message": "m", "closedPorts": [6080]}
            ],
            "ownAddresses": ["192.168.4.5", "2001:db8:4::5"],
            "directorGroups": [
                {
                    "name": "default",
                    "viewDigest": "0" * 64,
                    "holdsAddresses": True,
                    "virtualRouters": [
                        {
                            "id": 55,
                            "family": "IPv4",
                            "state": "Fault",
                            "since": "2026-01-01T00:00:00Z",
                            "message": "m",
                            "heardFrom": ["192.168.4.6"],
                        }
                    ],
                    "groupGeneration": 1,
                }
            ],
            "settings": [{"name": "timeouts.tcpSeconds", "value": "30", "message": "m", "reason": "ChangedByOthers"}],
            "drained": [{"namespace": "default", "name": "web", "members": ["rs1", "node.n1"]}],
            "exceptions": [exception],
            "truncated": False,
            "releaseToken": "0" * 16,
            "countersZeroed": {"request": "t/default/web", "time": "2026-01-01T00:00:00Z", "services": 1},
        }
    }
    return [service, pool, addresses, group, node]


def spoiled(raw: Raw, part: str) -> Iterator[ApiCase]:
    """One case for each way in which each field of the part can be wrong, and for its bounds, which are not."""
    kind = next(kind for kind in ALL_KINDS if kind.name == raw["kind"])
    schema = crd_manifest(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part]
    for path, node, required in _set_fields(schema, raw[part], (part,)):
        name = f"{kind.name} {_written(path)}"
        for what, value in _wrong_values(node):
            yield ApiCase(name=f"{name}: {what}", raw=changed(raw, path, value), refused=_written(path))
        if required:
            yield ApiCase(name=f"{name}: absent", raw=_without(raw, path), refused=_written(path))
        if "properties" in node:
            refused = _written((*path, "unheardOf"))
            yield ApiCase(name=f"{name}: unknown field", raw=changed(raw, (*path, "unheardOf"), 1), refused=refused)


def paths_never_set(raws: list[Raw], part: str) -> set[str]:
    """Fields of the schemas that no object of the list sets."""
    unset: set[str] = set()
    for kind in ALL_KINDS:
        properties = crd_manifest(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
        if part in properties:
            unset |= {f"{kind.name}.{path}" for path in _all_paths(properties[part], part)}
    for raw in raws:
        unset -= {f"{raw['kind']}.{path}" for path in _present_paths(raw[part], part)}
    return unset


def _set_fields(schema: Raw, value: Any, path: Path) -> Iterator[tuple[Path, Raw, bool]]:  # noqa: ANN401 -- any JSON
    for name, node in schema.get("properties", {}).items():
        if name in value:
            here = (*path, name)
            yield here, node, name in schema.get("required", ())
            items = node.get("items", {})
            if "properties" in items:
                yield from _set_fields(items, value[name][0], (*here, 0))
            elif items:
                yield (*here, 0), items, False
            else:
                yield from _set_fields(node, value[name], here)


def _wrong_values(node: Raw) -> Iterator[tuple[str, object]]:
    match node["type"]:
        case "integer":
            yield from (("below", node["minimum"] - 1), ("above", node["maximum"] + 1), ("text", "1"))
        case "boolean":
            yield from (("text", "true"), ("number", 1))
        case "string":
            yield "number", 1
            if "enum" in node:
                yield "not of the list", "Unheard"
            else:
                yield "too long", "a" * (node["maxLength"] + 1)
            if node.get("minLength"):
                yield "empty", ""
            if "pattern" in node:
                yield from (("against its pattern", "a b!"), ("with a line end", "a\n"))
        case "array":
            yield "no list", {}
        case _:
            yield "no object", []


def _without(raw: Raw, path: Path) -> Raw:
    result = changed(raw, path, None)
    node: Any = result
    for step in path[:-1]:
        node = node[step]
    del node[path[-1]]
    return result


def _written(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _all_paths(schema: Raw, path: str) -> Iterator[str]:
    for name, node in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from _all_paths(node.get("items", node), f"{path}.{name}")


def _present_paths(value: object, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield f"{path}.{name}"
            yield from _present_paths(item, f"{path}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from _present_paths(item, path)
