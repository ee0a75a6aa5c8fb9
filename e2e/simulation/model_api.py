"""A model of the API server: objects with uid, generation and resourceVersion, watches with history, faults.

It keeps what the API machinery promises and no more: writes are ordered, a watch gives every change after its version
in order, a version that was compacted is 410, a kind whose CRD is gone is 404, and whoever does not get an answer does
not know whether the write was made.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

Raw = dict[str, Any]
Key = tuple[str, str]
"""Namespace, empty for cluster-scoped objects, and name."""

OURS: Final = "/apis/lvs-operator.io/v1alpha1"
KINDS: Final = {
    "namespaces": "Namespace",
    "nodes": "Node",
    "lvsaddresspools": "LvsAddressPool",
    "services": "Service",
    "endpointslices": "EndpointSlice",
    "lvsdirectorgroups": "LvsDirectorGroup",
    "lvsrealserverpools": "LvsRealServerPool",
    "lvsvirtualservices": "LvsVirtualService",
    "lvsserviceslices": "LvsServiceSlice",
    "lvsnodes": "LvsNode",
}
USERS: Final = frozenset({"lvsvirtualservices", "lvsrealserverpools", "lvsdirectorgroups", "lvsaddresspools"})
NAMESPACED: Final = frozenset(
    {"services", "endpointslices", "lvsvirtualservices", "lvsrealserverpools", "lvsserviceslices"}
)
GENERATIONS_APART: Final = 1000
"""A namesake's generations begin so much higher: each (kind, name, generation) is one state of one object."""
PAGE: Final = 3
"""Objects of a list's page, few enough for lists of several pages."""


class NoAnswerError(Exception):
    """Nobody answers."""


class RefusedError(Exception):
    """An error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Change(NamedTuple):
    """One event of the history."""

    version: int
    what: str
    raw: Raw

    @property
    def line(self) -> str:
        """As a watch sends it."""
        return json.dumps({"type": self.what, "object": self.raw})


@dataclass
class Shelf:
    """One kind."""

    objects: dict[Key, Raw] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)
    oldest: int = 0
    """The version before which the history is compacted."""
    made: str = ""
    """When its CRD was made."""
    going: bool = False
    """Its CRD is being deleted."""
    served: bool = True
    incarnations: dict[Key, int] = field(default_factory=dict)


class Place(NamedTuple):
    """What a path names."""

    plural: str
    key: Key
    subresource: str


def read_path(path: str) -> Place:
    """A path of one of the kinds."""
    base = next(one for one in (OURS, "/apis/discovery.k8s.io/v1", "/api/v1") if path.startswith(one))
    parts = path.removeprefix(base).strip("/").split("/")
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    plural, name, subresource = (*parts, "", "")[:3]
    return Place(plural, (namespace, name), subresource)


class ModelApi:
    """The objects. Every raw object is a new one after each change, and nobody changes one in place."""

    def __init__(self, stamp: Callable[[], str]) -> None:
        self._stamp = stamp
        self._shelves = {plural: Shelf(made=stamp()) for plural in KINDS}
        self._version = 100
        self._uids = 0
        self._waiting: dict[asyncio.Event, str] = {}
        """In order, so that the same seed gives the same course."""
        self.up = True
        self.leases: dict[str, Raw] = {}
        """Of the agents, by name; who renews one wakes nobody."""
        self._renewals = 0
        self.cluster_uid = "cluster-1"
        self.writes = 0
        """By programs: operator and agents."""
        self.events = 0
        """Events of Kubernetes posted."""
        self.witnesses: list[Callable[[str, str, Raw | None, Raw | None], None]] = []
        """Called for each change with its author, the kind, the object before and after."""

    # What there is

    def objects(self, plural: str) -> Mapping[Key, Raw]:
        """All of a kind, by key."""
        return self._shelves[plural].objects

    @property
    def version(self) -> int:
        """Of the last change."""
        return self._version

    def serves(self, plural: str) -> bool:
        """Whether the kind's CRD is there."""
        return self._shelves[plural].served

    def history(self, plural: str, since: int) -> list[Change]:
        """What changed after a version. Raises RefusedError (410) where that is compacted."""
        shelf = self._served(plural)
        if since < shelf.oldest:
            raise RefusedError(410, "too old resource version")
        return [change for change in shelf.history if change.version > since]

    def get(self, plural: str, key: Key) -> Raw:
        """One object. Raises RefusedError (404)."""
        self._served(plural)
        raw = self.objects(plural).get(key)
        if raw is None:
            raise RefusedError(404, f"{plural} {key} not found")
        return raw

    async def wait_for_change(self, plural: str, seconds: float) -> None:
        """Until something of a kind changed, at most so long."""
        waiter = asyncio.Event()
        self._waiting[waiter] = plural
        try:
            async with asyncio.timeout(seconds):
                await waiter.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting.pop(waiter, None)

    def stir(self, plural: str | None = None) -> None:
        """Wake every watch, or those of a kind."""
        for waiter, watched in self._waiting.items():
            if plural in {None, watched}:
                waiter.set()

    # What changes

    def create(self, author: str, plural: str, body: Mapping[str, Any]) -> Raw:
        """A new object. Raises RefusedError (409)."""
        shelf = self._served(plural)
        metadata = dict(body["metadata"])
        key = (metadata.get("namespace") or "", metadata["name"])
        if key in shelf.objects:
            raise RefusedError(409, f"{plural} {key} exists")
        self._uids += 1
        nth = shelf.incarnations[key] = shelf.incarnations.get(key, -1) + 1
        metadata |= {
            "uid": hashlib.sha256(f"{self._uids}".encode()).hexdigest()[:12],
            "generation": nth * GENERATIONS_APART + 1,
            "creationTimestamp": self._stamp(),
        }
        return self._commit(author, plural, key, {**body, "kind": KINDS[plural], "metadata": metadata})

    def replace(self, author: str, plural: str, key: Key, part: str, value: Any) -> Raw:  # noqa: ANN401 -- JSON
        """Set `spec`, `status`, the labels or the annotations of an object."""
        old = self.get(plural, key)
        if part in {"labels", "annotations"}:
            if old["metadata"].get(part, {}) == value:
                return old
            return self._commit(author, plural, key, {**old, "metadata": {**old["metadata"], part: value}})
        if old.get(part) == value:
            return old
        metadata = dict(old["metadata"])
        if part == "spec" and plural != "nodes":
            metadata["generation"] += 1
        return self._commit(author, plural, key, {**old, part: value, "metadata": metadata})

    def delete(self, author: str, plural: str, key: Key) -> None:
        """Take an object away."""
        old = self.get(plural, key)
        self._version += 1
        gone = {**old, "metadata": {**old["metadata"], "resourceVersion": str(self._version)}}
        del self._shelves[plural].objects[key]
        self._happened(author, plural, Change(self._version, "DELETED", gone), old, None)

    def compact(self) -> None:
        """The history up to now is gone: a watch that was not there for it has to list."""
        for shelf in self._shelves.values():
            shelf.history.clear()
            shelf.oldest = self._version
        self.stir()

    def terminate_crd(self, plural: str) -> None:
        """A kind is being deleted: it says so before the first object goes."""
        self._shelves[plural].going = True

    def remove_crd(self, plural: str) -> None:
        """A kind goes, with every object of it."""
        for key in list(self.objects(plural)):
            self.delete("crd", plural, key)
        shelf = self._shelves[plural]
        shelf.served = False
        self.stir()

    def install_crd(self, plural: str) -> None:
        """A kind comes back, empty."""
        shelf = self._shelves[plural]
        if not shelf.served:
            shelf.served, shelf.going, shelf.made = True, False, self._stamp()
            shelf.history.clear()
            shelf.oldest = self._version

    def crd(self, plural: str) -> Raw:
        """The CRD of a kind. Raises RefusedError (404)."""
        shelf = self._served(plural)
        metadata = {"uid": f"crd-{plural}-{shelf.made}", "creationTimestamp": shelf.made}
        if shelf.going:
            metadata["deletionTimestamp"] = self._stamp()
        return {"metadata": metadata, "status": {"conditions": [{"type": "Established", "status": "True"}]}}

    def renew(self, name: str, spec: Raw) -> Raw:
        """An agent is alive."""
        self._renewals += 1
        self.leases[name] = {"metadata": {"name": name, "resourceVersion": str(self._renewals)}, "spec": spec}
        return self.leases[name]

    def owned_by_nobody(self) -> Iterator[Key]:
        """Slices whose owner is gone: for the garbage collector."""
        owners = {raw["metadata"]["uid"] for raw in self.objects("lvsvirtualservices").values()}
        for key, raw in self.objects("lvsserviceslices").items():
            if raw["metadata"]["ownerReferences"][0]["uid"] not in owners:
                yield key

    def _served(self, plural: str) -> Shelf:
        shelf = self._shelves.get(plural)
        if shelf is None or not shelf.served:
            raise RefusedError(404, "the server could not find the requested resource")
        return shelf

    def _commit(self, author: str, plural: str, key: Key, raw: Raw) -> Raw:
        self._version += 1
        old = self.objects(plural).get(key)
        new = {**raw, "metadata": {**raw["metadata"], "resourceVersion": str(self._version)}}
        self._shelves[plural].objects[key] = new
        self._happened(author, plural, Change(self._version, "MODIFIED" if old else "ADDED", new), old, new)
        return new

    def _happened(self, author: str, plural: str, change: Change, old: Raw | None, new: Raw | None) -> None:
        self._shelves[plural].history.append(change)
        if author in {"operator", "agent"}:
            self.writes += 1
        for witness in self.witnesses:
            witness(author, plural, old, new)
        self.stir(plural)
