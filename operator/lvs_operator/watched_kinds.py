"""The kinds that the operator watches: where they are served, and what it keeps of each object."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from lvs_api import kinds
from lvs_api.api_group import GROUP, VERSION
from lvs_api.violations import InvalidObject, Violation
from lvs_core.endpoints import core_service_from_raw, endpoint_slice_from_raw
from lvs_core.view_objects import (
    address_pool_from_raw,
    group_from_raw,
    lvs_node_from_raw,
    namespace_from_raw,
    node_from_raw,
    pool_from_raw,
    service_from_raw,
    slice_from_raw,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Meta:
    """Which object, in which state."""

    namespace: str | None
    name: str
    uid: str
    version: int
    """resourceVersion: comparable within a kind (KEP-5504), as all API servers on etcd have always had it."""

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Self:
        """From an object or from a partial one."""
        metadata = raw["metadata"]
        return cls(
            namespace=metadata.get("namespace"),
            name=metadata["name"],
            uid=metadata["uid"],
            version=int(metadata["resourceVersion"]),
        )

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Unreadable:
    """An object that this version of the operator cannot read; it is there all the same."""

    meta: Meta
    violations: tuple[Violation, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WatchedKind:
    """One kind."""

    name: str
    plural: str
    group: str
    version: str
    namespaced: bool
    parse: Callable[[Mapping[str, Any]], Any]
    """From a raw object to what the view keeps; never raises."""
    same: Callable[[Any, Any], bool]
    """Whether two states of an object mean the same to the operator."""

    @property
    def api(self) -> str:
        """Path under which the kind is discovered."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def api_version(self) -> str:
        """As objects name it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def collection(self, namespace: str | None = None) -> str:
        """Path of all objects, or of those of a namespace."""
        return f"{self.api}/namespaces/{namespace}/{self.plural}" if namespace else f"{self.api}/{self.plural}"

    def path(self, namespace: str | None, name: str) -> str:
        """Path of one object."""
        return f"{self.collection(namespace)}/{name}"

    def with_type(self, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        """An item of a list, which the API server sends without its type."""
        return {"apiVersion": self.api_version, "kind": self.name, **raw}


def _kind(kind: kinds.Kind[Any, Any], read: Callable[[Mapping[str, Any]], Any]) -> WatchedKind:
    return WatchedKind(
        name=kind.name,
        plural=kind.plural,
        group=GROUP,
        version=VERSION,
        namespaced=kind.namespaced,
        parse=_or_unreadable(read),
        same=_same_but_version,
    )


def _kubernetes_kind(
    name: str, plural: str, read: Callable[[Mapping[str, Any]], Any], *, group: str = "", namespaced: bool = False
) -> WatchedKind:
    """One of Kubernetes' own kinds, of which any change of what is kept counts."""
    return WatchedKind(
        name=name,
        plural=plural,
        group=group,
        version="v1",
        namespaced=namespaced,
        parse=_or_unreadable(read),
        same=lambda one, other: bool(one == other),
    )


def _or_unreadable(read: Callable[[Mapping[str, Any]], Any]) -> Callable[[Mapping[str, Any]], Any]:
    def parse(raw: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- a value of the view
        try:
            return read(raw)
        except InvalidObject as error:
            return Unreadable(meta=Meta.read(raw), violations=error.violations)

    return parse


def _same_but_version(one: Any, other: Any) -> bool:  # noqa: ANN401 -- values of the view
    if isinstance(one, Unreadable) or isinstance(other, Unreadable):
        return False
    meta = replace(other.meta, resource_version=one.meta.resource_version)
    return bool(one == replace(other, meta=meta))


def _same_service(one: Any, other: Any) -> bool:  # noqa: ANN401 -- values of the view
    """Of a Service of ours the version is kept, for its status is written; it says nothing."""
    if isinstance(one, Unreadable) or isinstance(other, Unreadable):
        return False
    if one.load_balancer is None or other.load_balancer is None:
        return bool(one == other)
    version = one.load_balancer.meta.resource_version
    meta = replace(other.load_balancer.meta, resource_version=version)
    return bool(one == replace(other, load_balancer=replace(other.load_balancer, meta=meta)))


VIRTUAL_SERVICES: Final = _kind(kinds.VIRTUAL_SERVICE, service_from_raw)
POOLS: Final = _kind(kinds.REAL_SERVER_POOL, pool_from_raw)
DIRECTOR_GROUPS: Final = _kind(kinds.DIRECTOR_GROUP, group_from_raw)
ADDRESS_POOLS: Final = _kind(kinds.ADDRESS_POOL, address_pool_from_raw)
SLICES: Final = _kind(kinds.SERVICE_SLICE, slice_from_raw)
LVS_NODES: Final = _kind(kinds.NODE, lvs_node_from_raw)
NODES: Final = _kubernetes_kind("Node", "nodes", node_from_raw)
NAMESPACES: Final = _kubernetes_kind("Namespace", "namespaces", namespace_from_raw)
CORE_SERVICES: Final = replace(
    _kubernetes_kind("Service", "services", core_service_from_raw, namespaced=True), same=_same_service
)
ENDPOINT_SLICES: Final = _kubernetes_kind(
    "EndpointSlice", "endpointslices", endpoint_slice_from_raw, group="discovery.k8s.io", namespaced=True
)
WATCHED_KINDS: Final = (
    NAMESPACES,
    NODES,
    CORE_SERVICES,
    ENDPOINT_SLICES,
    ADDRESS_POOLS,
    DIRECTOR_GROUPS,
    POOLS,
    VIRTUAL_SERVICES,
    SLICES,
    LVS_NODES,
)
