"""What a Service of type LoadBalancer of our class asks for, in the words of our own kinds.

Its real servers are the cluster's nodes at their node ports, by Masquerade. What a node answers must come back through
the director: it does so with source NAT, or where directors are the nodes' gateways.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lvs_api.api_group import API_VERSION, GROUP, LOAD_BALANCER_CLASS
from lvs_api.kinds import REAL_SERVER_POOL, VIRTUAL_SERVICE, Kind
from lvs_api.objects import ObjectMeta, find_violations, parse_metadata, parse_object
from lvs_api.violations import InvalidObject, Violation

Raw = Mapping[str, Any]

ADDRESS_POOL: Final = f"{GROUP}/address-pool"
"""On a Service: the LvsAddressPool of its addresses; without it `default`, else the only one for its namespace."""
ADDRESSES: Final = f"{GROUP}/addresses"
"""Addresses that are wished for, joined by a comma; instead of a pool's choice."""
DIRECTOR_GROUP: Final = f"{GROUP}/director-group"
SCHEDULER: Final = f"{GROUP}/scheduler"
SOURCE_NAT: Final = f"{GROUP}/source-nat"
"""`false`: directors are the nodes' gateways, so that nodes see the clients' addresses."""
HEALTH_CHECK_PORT: Final = f"{GROUP}/health-check-port"
"""Under externalTrafficPolicy Cluster: where nodes say by HTTP whether they forward (kube-proxy: 10256)."""
KNOWN: Final = frozenset({ADDRESS_POOL, ADDRESSES, DIRECTOR_GROUP, SCHEDULER, SOURCE_NAT, HEALTH_CHECK_PORT})
KUBE_PROXY_HEALTH_PORT: Final = 10256
EXCLUDED: Final = "node.kubernetes.io/exclude-from-external-load-balancers"
"""On a Node: no load balancer sends to it (k8s.io/api, LabelNodeExcludeBalancers)."""
DEFAULT_AFFINITY_SECONDS: Final = 10800
"""Of sessionAffinity ClientIP (k8s.io/api, DefaultClientIPServiceAffinitySeconds)."""
_FIELDS: Final[Mapping[str, str]] = {
    "spec.addresses": ADDRESSES,
    "spec.addressPoolRef": ADDRESS_POOL,
    "spec.directorGroupRef": DIRECTOR_GROUP,
    "spec.scheduler": SCHEDULER,
    "spec.healthCheck.port": HEALTH_CHECK_PORT,
    "spec.ports": "spec.ports",
    "spec.persistence": "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
}
"""What of a Service brings a field of the objects that are made of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadBalancer:
    """A Service of our class. The specs are those of the objects to be made, in the order in which they are needed."""

    meta: ObjectMeta
    pool: Raw
    service: Raw
    faults: tuple[Violation, ...] = ()
    """What is wrong with it; nothing is made of it then, and what was made stays as it is."""
    ingress: tuple[str, ...] = ()
    """The addresses that its status tells."""


def load_balancer_from_raw(raw: Raw) -> LoadBalancer | None:
    """Read a Service (core/v1); None where it is of another type or class. Raises InvalidObject for bad metadata."""
    spec: Raw = raw.get("spec") or {}
    if spec.get("type") != "LoadBalancer" or spec.get("loadBalancerClass") != LOAD_BALANCER_CLASS:
        return None
    meta = parse_metadata(raw, namespaced=True)
    annotations: Raw = raw["metadata"].get("annotations") or {}
    pool, service = _pool(spec, annotations), _service(meta, spec, annotations)
    faults = [
        *_unknown(annotations),
        *_unservable(spec, annotations),
        *_faults(REAL_SERVER_POOL, meta, pool),
        *_faults(VIRTUAL_SERVICE, meta, service),
    ]
    status: Raw = raw.get("status") or {}
    told = (status.get("loadBalancer") or {}).get("ingress") or ()
    return LoadBalancer(
        meta=meta,
        pool=pool,
        service=service,
        faults=tuple(faults),
        ingress=tuple(one["ip"] for one in told if one.get("ip")),
    )


def _service(meta: ObjectMeta, spec: Raw, annotations: Raw) -> dict[str, Any]:
    made: dict[str, Any] = {
        "ports": [
            {
                # A Service's names may be longer than ours, or missing; number and protocol are unique in it.
                "name": f"{port['port']}-{port.get('protocol', 'TCP').lower()}",
                "protocol": port.get("protocol", "TCP"),
                "port": port["port"],
                "realServerPort": port.get("nodePort"),
            }
            for port in spec.get("ports") or ()
        ],
        "forwarding": {"method": "Masquerade", "sourceNat": annotations.get(SOURCE_NAT) != "false"},
        "realServerPoolRef": {"name": meta.name},
    }
    if ADDRESSES in annotations:
        made["addresses"] = [one.strip() for one in annotations[ADDRESSES].split(",")]
    else:
        families = sorted(spec.get("ipFamilies") or ())
        made["addressPoolRef"] = {"name": annotations.get(ADDRESS_POOL, "default"), "families": families or None}
    if SCHEDULER in annotations:
        made["scheduler"] = annotations[SCHEDULER]
    if DIRECTOR_GROUP in annotations:
        made["directorGroupRef"] = {"name": annotations[DIRECTOR_GROUP]}
    if spec.get("sessionAffinity") == "ClientIP":
        client = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        made["persistence"] = {"timeoutSeconds": client.get("timeoutSeconds", DEFAULT_AFFINITY_SECONDS)}
    return made


def _pool(spec: Raw, annotations: Raw) -> dict[str, Any]:
    """Every Node that takes part; under Local those stay without weight that have no endpoint, for they say so."""
    said = annotations.get(HEALTH_CHECK_PORT, f"{KUBE_PROXY_HEALTH_PORT}")
    port: Any = int(said) if said.isascii() and said.isdigit() else said
    if spec.get("externalTrafficPolicy") == "Local":
        port = spec.get("healthCheckNodePort")
    return {
        "nodes": {"selector": {"matchExpressions": [{"key": EXCLUDED, "operator": "DoesNotExist"}]}},
        "healthCheck": {"port": port, "http": {"path": "/healthz"}},
    }


def _unknown(annotations: Raw) -> Iterator[Violation]:
    for name in sorted(annotations):
        if name.startswith(f"{GROUP}/") and name not in KNOWN:
            message = f"unknown annotation; known are {', '.join(sorted(KNOWN))}"
            yield Violation(field=f"metadata.annotations[{name}]", message=message)


def _unservable(spec: Raw, annotations: Raw) -> Iterator[Violation]:
    """What nobody here can do, and what would be another thing than was asked for if it were left out."""
    if spec.get("loadBalancerSourceRanges"):
        yield Violation(
            field="spec.loadBalancerSourceRanges", message="is not possible: node ports know no such ranges"
        )
    if spec.get("loadBalancerIP"):
        message = f"is deprecated by Kubernetes; use the annotation {ADDRESSES}"
        yield Violation(field="spec.loadBalancerIP", message=message)
    if any(not port.get("nodePort") for port in spec.get("ports") or ()):
        message = "node ports are needed: set allocateLoadBalancerNodePorts to true"
        yield Violation(field="spec.allocateLoadBalancerNodePorts", message=message)
    if annotations.get(SOURCE_NAT, "true") not in {"true", "false"}:
        yield Violation(field=f"metadata.annotations[{SOURCE_NAT}]", message="must be true or false")
    if ADDRESSES in annotations and ADDRESS_POOL in annotations:
        message = f"stands beside {ADDRESS_POOL}; remove one of them"
        yield Violation(field=f"metadata.annotations[{ADDRESSES}]", message=message)


def _faults(kind: Kind[Any, Any], meta: ObjectMeta, spec: Raw) -> Iterator[Violation]:
    """What is wrong with an object that would be made, told of what in the Service brings it."""
    metadata = {"name": meta.name, "namespace": meta.namespace}
    raw = {"apiVersion": API_VERSION, "kind": kind.name, "metadata": metadata, "spec": spec}
    try:
        found = find_violations(parse_object(kind, raw))
    except InvalidObject as error:
        found = error.violations
    for one in found:
        source = next((said for field, said in _FIELDS.items() if one.field.startswith(field)), one.field)
        where = f"metadata.annotations[{source}]" if source in KNOWN else source
        yield Violation(field=where, message=one.message)
