"""Directors that stand aside: they carry addresses only where no other director can."""

from collections.abc import Iterable, Mapping

from lvs_api.director_group import StandingAside
from lvs_core.cluster_view import ClusterView, DirectorGroup


def standing_aside(view: ClusterView, group: DirectorGroup, directors: Iterable[str]) -> Mapping[str, StandingAside]:
    """Those of these directors that do, and why. A group that cannot be read has them as before."""
    names = frozenset(directors)
    if group.spec is None:
        before = (group.status.directors if group.status is not None else None) or ()
        return {one.node: one.stands_aside for one in before if one.stands_aside is not None and one.node in names}
    cordoned = dict.fromkeys((name for name in names if _is_cordoned(view, name)), StandingAside.CORDONED)
    maintained = dict.fromkeys(names.intersection(group.spec.maintenance or ()), StandingAside.MAINTENANCE)
    return dict(sorted((cordoned | maintained).items()))


def _is_cordoned(view: ClusterView, name: str) -> bool:
    return name in view.nodes and view.nodes[name].cordoned
