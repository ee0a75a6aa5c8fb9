"""The last complete view on disk, from which an agent serves that starts while the API server is away."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lvs_agent.state_file import read_state, write_state

_FORMAT: Final = 1
Raw = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredView:
    """Raw objects as the API server gave them, without what changes all the time."""

    cluster_id: str
    """uid of the namespace kube-system: the cluster that this is a view of."""
    node_name: str
    node: Raw
    """The LvsNode."""
    groups: tuple[Raw, ...]
    slices: tuple[Raw, ...]


class ViewStore:
    """The view's place on disk. Writes only what differs from what is there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stored: StoredView | None = None

    def read(self, node_name: str) -> StoredView | None:
        """The last view of this node; None when there is none. Raises StateFileDamaged."""
        body = read_state(self._path, _FORMAT)
        if body is None or body["nodeName"] != node_name:
            return None
        self._stored = StoredView(
            cluster_id=body["clusterID"],
            node_name=body["nodeName"],
            node=body["node"],
            groups=tuple(body["groups"]),
            slices=tuple(body["slices"]),
        )
        return self._stored

    def write(self, view: StoredView) -> bool:
        """Store it where it differs; whether it did. Raises StateNotWritten."""
        if view == self._stored:
            return False
        body = {
            "clusterID": view.cluster_id,
            "nodeName": view.node_name,
            "node": view.node,
            "groups": list(view.groups),
            "slices": list(view.slices),
        }
        write_state(self._path, _FORMAT, body)
        self._stored = view
        return True


def without_noise(raw: Mapping[str, Any], *, status: bool) -> Raw:
    """An object without managed fields and resource version, and without its status unless that decides something."""
    noise = {"managedFields", "resourceVersion"}
    kept = {key: value for key, value in raw.items() if key != "status" or status}
    kept["metadata"] = {key: value for key, value in raw["metadata"].items() if key not in noise}
    return kept
