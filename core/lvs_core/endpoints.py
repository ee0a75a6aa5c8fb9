"""Services of Kubernetes and their EndpointSlices, as far as they name real servers; and how they are read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

from lvs_api.network_types import Protocol, host_address
from lvs_api.objects import parse_metadata
from lvs_api.violations import InvalidObject, Violation
from lvs_core.load_balancers import FormerLoadBalancer, LoadBalancer, load_balancer_from_raw

SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"
"""On an EndpointSlice, whoever made it: the Service of its namespace to which it belongs."""
_ADDRESS_TYPES: Final = frozenset({"IPv4", "IPv6"})
"""Of FQDN, the third one, no packet can be sent to what it names."""
_EXTERNAL_NAME: Final = "ExternalName"
_PROTOCOLS: Final = {one.value: one for one in Protocol}
_host_address: Final = lru_cache(maxsize=65536)(host_address)
Raw = Mapping[str, Any]


class EndpointState(IntEnum):
    """What an endpoint is good for. Where several slices name it, the highest counts.

    While it moves between slices it may stand in two, and the older copy is the one that is less ready.
    """

    NOT_READY = 0
    TERMINATING = 1
    """It goes, and takes nothing any more: programs let their readiness probe fail for that."""
    SERVING = 2
    """It goes, and still answers its readiness probe: it is good for new connections where nobody is ready."""
    READY = 3
    """Also of one that terminates, where its Service has `publishNotReadyAddresses`."""


class Endpoint(NamedTuple):
    """An address to which packets can go."""

    address: str
    state: EndpointState


class NamedPort(NamedTuple):
    """A port of a Service; its only one may have no name."""

    name: str
    protocol: Protocol


class EndpointPort(NamedTuple):
    """Where the endpoints of a slice take packets for a port of their Service."""

    named: NamedPort
    number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointSlice:
    """An EndpointSlice. There may be very many, most of them of no concern here: nothing else of it is kept."""

    namespace: str
    name: str
    service: str
    """Empty for one that belongs to no Service."""
    ports: tuple[EndpointPort, ...]
    endpoints: tuple[Endpoint, ...]
    fault: str | None = None
    """Why its endpoints can not be read; that is not to say that there are none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CoreService:
    """A Service (core/v1)."""

    namespace: str
    name: str
    has_endpoints: bool
    """False: it is of type ExternalName."""
    has_selector: bool
    """Kubernetes keeps slices for it: at least one, also where it finds no pod."""
    ports: tuple[NamedPort, ...]
    load_balancer: LoadBalancer | FormerLoadBalancer | None = None
    """What it asks of us, or once asked."""


def core_service_from_raw(raw: Raw) -> CoreService:
    """A Service. Raises InvalidObject."""
    meta = parse_metadata(raw, namespaced=True)
    spec = _mapping(raw, "spec", "Service", meta.name)
    return CoreService(
        namespace=meta.namespace or "",
        name=meta.name,
        has_endpoints=spec.get("type") != _EXTERNAL_NAME,
        has_selector=bool(spec.get("selector")),
        ports=tuple(_named(one) for one in _mappings(spec, "ports", "Service", meta.name) if _is_known(one)),
        load_balancer=load_balancer_from_raw(raw),
    )


def endpoint_slice_from_raw(raw: Raw) -> EndpointSlice:
    """An EndpointSlice; of an endpoint's addresses the first counts, as for kube-proxy.

    Raises InvalidObject where it is not even known whose it is.
    """
    meta = parse_metadata(raw, namespaced=True)
    service = meta.labels.get(SERVICE_NAME_LABEL, "")
    counts = bool(service) and raw.get("addressType") in _ADDRESS_TYPES
    read = EndpointSlice(namespace=meta.namespace or "", name=meta.name, service=service, ports=(), endpoints=())
    if not counts:
        return read
    try:
        ports, endpoints = tuple(_endpoint_ports(raw, meta.name)), tuple(_endpoints(raw, meta.name))
    except InvalidObject as error:
        return replace(read, fault="; ".join(map(str, error.violations)))
    return replace(read, ports=ports, endpoints=endpoints)


def _endpoint_ports(raw: Raw, name: str) -> Iterator[EndpointPort]:
    """A port without a number stands for every port, which is none to send packets to."""
    for one in _mappings(raw, "ports", "EndpointSlice", name):
        number = one.get("port")
        if isinstance(number, int) and _is_known(one):
            yield EndpointPort(_named(one), number)


def _endpoints(raw: Raw, name: str) -> Iterator[Endpoint]:
    for one in _mappings(raw, "endpoints", "EndpointSlice", name):
        address = next((_host_address(str(text)) for text in one.get("addresses") or ()), None)
        if address is not None:
            yield Endpoint(address, _state(_mapping(one, "conditions", "EndpointSlice", name)))


def _state(conditions: Raw) -> EndpointState:
    """What is not said of `ready` and `serving` means that it is so (EndpointConditions in discovery/v1)."""
    if conditions.get("ready") is not False:
        return EndpointState.READY
    if conditions.get("terminating") is not True:
        return EndpointState.NOT_READY
    return EndpointState.TERMINATING if conditions.get("serving") is False else EndpointState.SERVING


def _is_known(port: Raw) -> bool:
    return port.get("protocol", Protocol.TCP.value) in _PROTOCOLS


@lru_cache(maxsize=4096)
def _shared(name: str, protocol: Protocol) -> NamedPort:
    return NamedPort(name, protocol)


def _named(port: Raw) -> NamedPort:
    return _shared(str(port.get("name") or ""), _PROTOCOLS[port.get("protocol", Protocol.TCP.value)])


def _mapping(raw: Raw, field: str, kind: str, name: str) -> Raw:
    part = raw.get(field) or {}
    if not isinstance(part, Mapping):
        raise InvalidObject(
            kind=kind, name=name, violations=[Violation(field=field, message="Input should be an object")]
        )
    return part


def _mappings(raw: Raw, field: str, kind: str, name: str) -> list[Raw]:
    parts = raw.get(field) or []
    if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
        violation = Violation(field=field, message="Input should be a list of objects")
        raise InvalidObject(kind=kind, name=name, violations=[violation])
    return parts
