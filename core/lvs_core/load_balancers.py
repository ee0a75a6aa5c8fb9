"""What a Service of type LoadBalancer of our class asks for, in the words of our own kinds.

Its real servers are its pods, or the cluster's nodes at their node ports, both by Masquerade. What they answer must
come back through the director: it does so with source NAT, or where directors are on the way to the clients.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from lvs_api.api_group import API_VERSION, GROUP, LOAD_BALANCER_CLASS
from lvs_api.base import ApiModel
from lvs_api.conditions import Condition
from lvs_api.kinds import REAL_SERVER_POOL, VIRTUAL_SERVICE, Kind
from lvs_api.objects import ObjectMeta, find_violations, parse_metadata, parse_object
from lvs_api.real_server_pool import LvsRealServerPoolSpec
from lvs_api.violations import InvalidObject, Violation
from lvs_api.virtual_service import LvsVirtualServiceSpec

Raw = Mapping[str, Any]
SpecT = TypeVar("SpecT", bound=ApiModel)

ADDRESS_POOL: Final = f"{GROUP}/address-pool"
"""On a Service: the LvsAddressPool of its addresses; without it `default`, else the only one for its namespace."""
ADDRESSES: Final = f"{GROUP}/addresses"
"""Addresses that are wished for, joined by a comma; instead of a pool's choice."""
DIRECTOR_GROUP: Final = f"{GROUP}/director-group"
SCHEDULER: Final = f"{GROUP}/scheduler"
REAL_SERVERS: Final = f"{GROUP}/real-servers"
"""Pods or Nodes."""
SOURCE_NAT: Final = f"{GROUP}/source-nat"
"""`true` or `false`; without it as externalTrafficPolicy says."""
HEALTH_CHECK: Final = f"{GROUP}/health-check"
"""TCP: directors connect to the pods, too; without it Kubernetes alone says who is ready."""
HEALTH_CHECK_PORT: Final = f"{GROUP}/health-check-port"
"""Of nodes under externalTrafficPolicy Cluster: where they say by HTTP whether they forward (kube-proxy: 10256)."""
KNOWN: Final = frozenset(
    {ADDRESS_POOL, ADDRESSES, DIRECTOR_GROUP, SCHEDULER, REAL_SERVERS, SOURCE_NAT, HEALTH_CHECK, HEALTH_CHECK_PORT}
)
DEFAULT_ADDRESS_POOL: Final = "default"
CONDITION_PREFIX: Final = f"{GROUP}/"
"""Of the types of our conditions on a Service, where others have theirs."""
KUBE_PROXY_HEALTH_PORT: Final = 10256
EXCLUDED: Final = "node.kubernetes.io/exclude-from-external-load-balancers"
"""On a Node: no load balancer sends to it (k8s.io/api, LabelNodeExcludeBalancers)."""
DEFAULT_AFFINITY_SECONDS: Final = 10800
"""Of sessionAffinity ClientIP (k8s.io/api, DefaultClientIPServiceAffinitySeconds)."""
_LOAD_BALANCER: Final = "LoadBalancer"
SOURCE_RANGES: Final = "service.beta.kubernetes.io/load-balancer-source-ranges"
"""The older way to say spec.loadBalancerSourceRanges (k8s.io/api, AnnotationLoadBalancerSourceRangesKey)."""
_LONGEST_PORT: Final = 5
"""Digits; Python reads no number of more than 4300."""
_LONGEST_PORT_NAME: Final = 15
"""Of a LvsVirtualService (network_types, PortName); a Service may have longer ones."""
_TCP: Final = "TCP"
_TRUTHS: Final = {"true": True, "false": False}
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


class RealServers(StrEnum):
    """Where directors send the packets of a Service."""

    PODS = "Pods"
    """To the endpoints themselves, past kube-proxy."""
    NODES = "Nodes"
    """To the nodes' node ports, where kube-proxy takes them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CoreServiceStatus:
    """What the status of a Service (core/v1) says, and what of it is ours."""

    raw: Raw
    """All of it."""
    conditions: tuple[Condition, ...]
    """Ours, their types without the prefix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadBalancer:
    """A Service of our class."""

    meta: ObjectMeta
    status: CoreServiceStatus
    pool: LvsRealServerPoolSpec | None = None
    """The pool to be made of it; None where there are faults."""
    service: LvsVirtualServiceSpec | None = None
    """The virtual service to be made of it; where it names no addresses, `addressPoolRef` is only a place for the
    choice. None where there are faults."""
    faults: tuple[Violation, ...] = ()
    """What is wrong with it; nothing is made of it then, and what was made stays as it is."""
    real_servers: RealServers = RealServers.PODS
    address_pool: str | None = None
    """The LvsAddressPool that it names."""
    prefers_families: bool = False
    """It takes fewer families where the pool has not got all of them (ipFamilyPolicy PreferDualStack)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FormerLoadBalancer:
    """A Service that is not of our class, or is being deleted, and has still what was said before."""

    meta: ObjectMeta
    status: CoreServiceStatus
    is_load_balancer: bool
    """It is somebody else's now, who may have said something, too."""


def load_balancer_from_raw(raw: Raw) -> LoadBalancer | FormerLoadBalancer | None:
    """Read a Service (core/v1); None where nothing of it is ours. Raises InvalidObject for bad metadata."""
    spec: Raw = raw.get("spec") or {}
    is_load_balancer = spec.get("type") == _LOAD_BALANCER
    is_ours = is_load_balancer and spec.get("loadBalancerClass") == LOAD_BALANCER_CLASS
    is_ours = is_ours and raw["metadata"].get("deletionTimestamp") is None
    status = _status(raw)
    if not is_ours and not status.conditions:
        return None
    meta = parse_metadata(raw, namespaced=True)
    if not is_ours:
        return FormerLoadBalancer(meta=meta, status=status, is_load_balancer=is_load_balancer)
    annotations: Raw = raw["metadata"].get("annotations") or {}
    real_servers = RealServers.NODES if annotations.get(REAL_SERVERS) == RealServers.NODES else RealServers.PODS
    faults = [*_misspelt(annotations), *_unservable(spec, annotations), *_unfit(spec, annotations, real_servers)]
    pool = _parse(REAL_SERVER_POOL, meta, _pool(meta, spec, annotations, real_servers), faults)
    service = _parse(VIRTUAL_SERVICE, meta, _service(meta, spec, annotations, real_servers), faults)
    return LoadBalancer(
        meta=meta,
        status=status,
        pool=None if faults else pool,
        service=None if faults else service,
        faults=tuple(faults),
        real_servers=real_servers,
        address_pool=annotations.get(ADDRESS_POOL),
        prefers_families=spec.get("ipFamilyPolicy") == "PreferDualStack",
    )


def _status(raw: Raw) -> CoreServiceStatus:
    status: Raw = raw.get("status") or {}
    return CoreServiceStatus(raw=status, conditions=tuple(_own_conditions(status)))


def _own_conditions(status: Raw) -> Iterator[Condition]:
    """One that cannot be read is as good as none: it is said anew."""
    for one in status.get("conditions") or ():
        kind = str(one.get("type"))
        if kind.startswith(CONDITION_PREFIX):
            try:
                yield Condition.model_validate({**one, "type": kind.removeprefix(CONDITION_PREFIX)}, by_alias=True)
            except ValidationError:
                continue


def _service(meta: ObjectMeta, spec: Raw, annotations: Raw, real_servers: RealServers) -> dict[str, Any]:
    ports = list(spec.get("ports") or ())
    said = annotations.get(SOURCE_NAT)
    made: dict[str, Any] = {
        "ports": [_port(port, real_servers, is_only=len(ports) == 1) for port in ports],
        "forwarding": {
            "method": "Masquerade",
            # Local is there for the clients' addresses to be seen.
            "sourceNat": _TRUTHS.get(said, False) if said else spec.get("externalTrafficPolicy") != "Local",
        },
        "realServerPoolRef": {"name": meta.name},
    }
    if ADDRESSES in annotations:
        made["addresses"] = [one.strip() for one in annotations[ADDRESSES].split(",")]
    else:
        families = sorted(spec.get("ipFamilies") or ())
        name = annotations.get(ADDRESS_POOL, DEFAULT_ADDRESS_POOL)
        made["addressPoolRef"] = {"name": name, "families": families or None}
    if SCHEDULER in annotations:
        made["scheduler"] = annotations[SCHEDULER]
    if DIRECTOR_GROUP in annotations:
        made["directorGroupRef"] = {"name": annotations[DIRECTOR_GROUP]}
    if spec.get("sessionAffinity") == "ClientIP":
        client = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        made["persistence"] = {"timeoutSeconds": client.get("timeoutSeconds", DEFAULT_AFFINITY_SECONDS)}
    return made


def _port(port: Raw, real_servers: RealServers, *, is_only: bool) -> dict[str, Any]:
    """Pods are found by the name of the Service's port, where it has several."""
    protocol = port.get("protocol", "TCP")
    made = {"name": f"{port['port']}-{protocol.lower()}", "protocol": protocol, "port": port["port"]}
    if real_servers is RealServers.NODES:
        return {**made, "realServerPort": port.get("nodePort")}
    return made if is_only else {**made, "name": port.get("name")}


def _pool(meta: ObjectMeta, spec: Raw, annotations: Raw, real_servers: RealServers) -> dict[str, Any]:
    if real_servers is RealServers.PODS:
        check: Raw = {"healthCheck": {"tcp": {}}} if HEALTH_CHECK in annotations else {}
        return {"endpoints": {"serviceRef": {"name": meta.name}}, **check}
    return {
        "nodes": {"selector": {"matchExpressions": [{"key": EXCLUDED, "operator": "DoesNotExist"}]}},
        "healthCheck": {"port": _check_port(spec, annotations), "http": {"path": "/healthz"}},
    }


def _check_port(spec: Raw, annotations: Raw) -> object:
    """Where a node says whether it takes packets of this Service; under Local those without a pod of it say no."""
    if spec.get("externalTrafficPolicy") == "Local":
        return spec.get("healthCheckNodePort")
    said = annotations.get(HEALTH_CHECK_PORT, f"{KUBE_PROXY_HEALTH_PORT}")
    is_number = said.isascii() and said.isdigit() and len(said) <= _LONGEST_PORT
    return int(said) if is_number else said


def _misspelt(annotations: Raw) -> Iterator[Violation]:
    for name in sorted(annotations):
        if name.startswith(f"{GROUP}/") and name not in KNOWN:
            yield _of_annotation(name, f"unknown annotation; known are {', '.join(sorted(KNOWN))}")
    if annotations.get(SOURCE_NAT, "true") not in _TRUTHS:
        yield _of_annotation(SOURCE_NAT, "must be true or false")
    if annotations.get(REAL_SERVERS, RealServers.PODS) not in set(RealServers):
        yield _of_annotation(REAL_SERVERS, f"must be {' or '.join(RealServers)}")
    if ADDRESSES in annotations and ADDRESS_POOL in annotations:
        yield _of_annotation(ADDRESSES, f"stands beside {ADDRESS_POOL}; remove one of them")


def _unservable(spec: Raw, annotations: Raw) -> Iterator[Violation]:
    """What nobody here can do, and what would be another thing than was asked for if it were left out."""
    message = "is not possible: directors forward whatever comes to the address; use a NetworkPolicy"
    if spec.get("loadBalancerSourceRanges"):
        yield Violation(field="spec.loadBalancerSourceRanges", message=message)
    if annotations.get(SOURCE_RANGES):
        yield _of_annotation(SOURCE_RANGES, message)
    if spec.get("loadBalancerIP"):
        message = f"is deprecated by Kubernetes; use the annotation {ADDRESSES}"
        yield Violation(field="spec.loadBalancerIP", message=message)


def _unfit(spec: Raw, annotations: Raw, real_servers: RealServers) -> Iterator[Violation]:
    """What does not go with where the packets are sent."""
    ports = list(spec.get("ports") or ())
    is_local = spec.get("externalTrafficPolicy") == "Local"
    if HEALTH_CHECK_PORT in annotations and (real_servers is RealServers.PODS or is_local):
        message = f"is for {REAL_SERVERS} Nodes under externalTrafficPolicy Cluster only; remove it"
        yield _of_annotation(HEALTH_CHECK_PORT, message)
    if HEALTH_CHECK in annotations:
        yield from _unfit_check(ports, annotations, real_servers)
    if real_servers is RealServers.NODES:
        if any(not port.get("nodePort") for port in ports):
            message = f"node ports are needed for {REAL_SERVERS}: Nodes; set it to true"
            yield Violation(field="spec.allocateLoadBalancerNodePorts", message=message)
        return
    for index, port in enumerate(ports if len(ports) > 1 else ()):
        if len(port.get("name") or "") > _LONGEST_PORT_NAME:
            message = (
                f"Too long: may not be more than {_LONGEST_PORT_NAME} characters where a Service has several ports; "
                f"shorten it, or set the annotation {REAL_SERVERS} to Nodes"
            )
            yield Violation(field=f"spec.ports[{index}].name", message=message)


def _unfit_check(ports: Sequence[Raw], annotations: Raw, real_servers: RealServers) -> Iterator[Violation]:
    if annotations[HEALTH_CHECK] != _TCP:
        yield _of_annotation(HEALTH_CHECK, f"must be {_TCP}; without it nobody but Kubernetes checks")
    elif real_servers is RealServers.NODES:
        yield _of_annotation(HEALTH_CHECK, "is for pods; nodes are always asked by HTTP; remove it")
    elif any(port.get("protocol", _TCP) != _TCP for port in ports):
        yield _of_annotation(HEALTH_CHECK, "is for TCP ports, and the Service has others; remove it")


def _of_annotation(name: str, message: str) -> Violation:
    return Violation(field=f"metadata.annotations[{name}]", message=message)


def _parse(kind: Kind[SpecT, Any], meta: ObjectMeta, spec: Raw, faults: list[Violation]) -> SpecT | None:
    """A spec as its kind has it; what is wrong with it is told of what in the Service brings it."""
    metadata = {"name": meta.name, "namespace": meta.namespace}
    raw = {"apiVersion": API_VERSION, "kind": kind.name, "metadata": metadata, "spec": spec}
    parsed = None
    try:
        parsed = parse_object(kind, raw)
        found = find_violations(parsed)
    except InvalidObject as error:
        found = error.violations
    blamed = [one.field for one in faults]
    for one in found:
        source = next((said for field, said in _FIELDS.items() if one.field.startswith(field)), one.field)
        where = f"metadata.annotations[{source}]" if source in KNOWN else source
        if not any(field.startswith(where) for field in blamed):
            faults.append(Violation(field=where, message=one.message))
    return parsed.spec if parsed is not None else None
