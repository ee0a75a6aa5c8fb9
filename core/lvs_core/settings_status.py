"""What a group is told of its settings of whole nodes: in force on every director, or on which not, and why."""

from collections.abc import Iterator, Mapping
from typing import Final

from lvs_api.conditions import ConditionStatus, ConditionType, Reason
from lvs_core.cluster_view import ClusterView, DirectorGroup
from lvs_core.director_reports import report_of
from lvs_core.directors import Directors
from lvs_core.group_settings import settings_of, wanted_fields
from lvs_core.object_status import Statement

_NAMED: Final = 4
_KNOWN: Final = frozenset(Reason)


def settings_statement(view: ClusterView, group: DirectorGroup, directors: Mapping[str, Directors]) -> Statement | None:
    """The condition SettingsApplied; None for a group that wants nothing of its directors as a whole."""
    wanted = wanted_fields(group.spec) if group.spec is not None else frozenset()
    if not wanted:
        return None
    who = directors[group.meta.name]
    status, reason = ConditionStatus.TRUE, Reason.SETTINGS_APPLIED
    message = f"In force on {', '.join(who.available)}"
    if conflicts := list(_conflicts(view, group, directors)):
        status, reason, message = ConditionStatus.FALSE, Reason.CONFLICT, _some(conflicts)
    elif troubles := list(_troubles(view, wanted, who)):
        status, reason = ConditionStatus.FALSE, troubles[0][0]
        message = _some([text for _, text in troubles])
    elif not who.selected:
        status, reason, message = ConditionStatus.UNKNOWN, Reason.NO_DIRECTORS, "No Node is a director"
    elif waiting := [name for name in who.selected if not _has_acted(view, group, who, name)]:
        status, reason = ConditionStatus.UNKNOWN, Reason.PENDING
        message = f"Not reported as in force yet: {', '.join(waiting[:_NAMED])}"
    return Statement(
        type=ConditionType.SETTINGS_APPLIED,
        status=status,
        reason=reason,
        message=message,
        generation=group.meta.generation,
    )


def _conflicts(view: ClusterView, group: DirectorGroup, directors: Mapping[str, Directors]) -> Iterator[str]:
    """Every wish that an older group of the same director stands against, once for all directors that they share."""
    found: dict[str, list[str]] = {}
    for node in directors[group.meta.name].selected:
        shared = [view.groups.get(name) for name, who in directors.items() if node in who.selected]
        for conflict in settings_of(node, shared).conflicts:
            if conflict.group == group.meta.name:
                found.setdefault(str(conflict), []).append(node)
    for text, nodes in found.items():
        yield f"{text} (on {', '.join(nodes[:_NAMED])})"


def _troubles(view: ClusterView, wanted: frozenset[str], who: Directors) -> Iterator[tuple[Reason, str]]:
    """What directors that can be heard say of settings that this group wants."""
    for node in who.available:
        status = view.lvs_nodes[node].status
        for one in (status.settings if status is not None else None) or ():
            if one.name in wanted and one.reason is not None:
                reason = Reason(one.reason) if one.reason in _KNOWN else Reason.NOT_PROGRAMMED
                yield reason, f"{node}: {one.message}"


def _has_acted(view: ClusterView, group: DirectorGroup, who: Directors, node: str) -> bool:
    report = report_of(view.lvs_nodes.get(node), group.meta.name) if node in who.available else None
    return report is not None and report.group_generation == group.meta.generation


def _some(texts: list[str]) -> str:
    more = f"; and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return "; ".join(texts[:_NAMED]) + more
