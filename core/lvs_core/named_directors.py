"""Nodes that a group's spec names as its directors, and that are none: mistyped, or a director no longer."""

from collections.abc import Collection, Iterator
from typing import Final

from lvs_core.cluster_view import ClusterView, DirectorGroup
from lvs_core.virtual_routers import vrrp_of

_NAMED: Final = 4
_REMEDY: Final = (
    "what is set there counts for nothing until it names a director of the group: correct the name, or label the Node"
)


def no_directors(view: ClusterView, group: DirectorGroup, selected: Collection[str]) -> str:
    """Which fields name which of them, of the first few; empty where none does.

    A remark and no fault: a Node may be gone for a while, and what is said of it counts again when it is back. Where
    nobody is selected at all, that is what is wrong.
    """
    if group.spec is None or not selected:
        return ""
    found = [f"{field}: {_why(view, name)}" for field, name in _names(group) if name not in selected]
    if not found:
        return ""
    more = [f"and {len(found) - _NAMED} more"] if len(found) > _NAMED else []
    return f"{'; '.join([*found[:_NAMED], *more])}; {_REMEDY}"


def _names(group: DirectorGroup) -> Iterator[tuple[str, str]]:
    """Each with its field."""
    for index, one in enumerate(vrrp_of(group).priorities or ()):
        yield f"spec.vrrp.priorities[{index}].node", one.node
    for index, name in enumerate((group.spec.maintenance if group.spec is not None else None) or ()):
        yield f"spec.maintenance[{index}]", name


def _why(view: ClusterView, name: str) -> str:
    if name in view.nodes:
        return f"spec.nodes.selector does not find Node {name}"
    return f"there is no Node {name}"
