"""The kinds that the operator watches: where they are served, and what it keeps of each object."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from lvs_api import kinds
from lvs_api.api_group import GROUP, VERSION
from lvs_api.objects import ApiObject, parse_object
from lvs_api.violations import InvalidObject, Violation


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

    def collection(self, namespace: str | None = None) -> str:
        """Path of all objects, or of those of a namespace."""
        return f"{self.api}/namespaces/{namespace}/{self.plural}" if namespace else f"{self.api}/{self.plural}"

    def path(self, namespace: str | None, name: str) -> str:
        """Path of one object."""
        return f"{self.collection(namespace)}/{name}"

    def with_type(self, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        """An item of a list, which the API server sends without its type."""
        api_version = f"{self.group}/{self.version}" if self.group else self.version
        return {"apiVersion": api_version, "kind": self.name, **raw}


def _ours(kind: kinds.Kind[Any, Any]) -> WatchedKind:
    def parse(raw: Mapping[str, Any]) -> ApiObject[Any, Any] | Unreadable:
        try:
            return parse_object(kind, raw)
        except InvalidObject as error:
            return Unreadable(meta=Meta.read(raw), violations=error.violations)

    return WatchedKind(
        name=kind.name,
        plural=kind.plural,
        group=GROUP,
        version=VERSION,
        namespaced=kind.namespaced,
        parse=parse,
        same=_same_object,
    )


def _same_object(one: ApiObject[Any, Any] | Unreadable, other: ApiObject[Any, Any] | Unreadable) -> bool:
    if isinstance(one, Unreadable) or isinstance(other, Unreadable):
        return False
    return one == replace(other, metadata=replace(other.metadata, resource_version=one.metadata.resource_version))


VIRTUAL_SERVICES: Final = _ours(kinds.VIRTUAL_SERVICE)
POOLS: Final = _ours(kinds.REAL_SERVER_POOL)
DIRECTOR_GROUPS: Final = _ours(kinds.DIRECTOR_GROUP)
SLICES: Final = _ours(kinds.SERVICE_SLICE)
LVS_NODES: Final = _ours(kinds.NODE)
NODES: Final = WatchedKind(
    name="Node",
    plural="nodes",
    group="",
    version="v1",
    namespaced=False,
    parse=lambda raw: raw["metadata"]["labels"],
    same=lambda one, other: bool(one == other),
)
WATCHED_KINDS: Final = (NODES, DIRECTOR_GROUPS, POOLS, VIRTUAL_SERVICES, SLICES, LVS_NODES)
