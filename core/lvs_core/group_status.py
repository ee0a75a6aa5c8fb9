"""The public status of director groups."""

from collections.abc import Mapping
from dataclasses import dataclass

from lvs_api.conditions import ConditionType, Reason, drop_condition
from lvs_api.director_group import GroupMember, LvsDirectorGroupStatus
from lvs_core.cluster_view import ClusterView, DirectorGroup
from lvs_core.director_reports import report_of
from lvs_core.directors import Directors
from lvs_core.named_directors import no_directors
from lvs_core.object_status import MAX_DIRECTORS, Statement, stated, truth
from lvs_core.settings_status import settings_statement
from lvs_core.virtual_routers import RouterIds
from lvs_core.vrrp_status import own_addresses, router_statuses, still_speaking, vrrp_readiness


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What a group has to carry."""

    services: int
    ids: RouterIds | None
    """Of its virtual routers, with failover VRRP."""


def group_status(
    view: ClusterView, group: DirectorGroup, all_directors: Mapping[str, Directors], served: Served, now: str
) -> LvsDirectorGroupStatus:
    """Who the directors are, who of them carries the addresses, and whether they can be heard."""
    directors = all_directors[group.meta.name]
    generation = group.meta.generation
    members = []
    for name in [*directors.selected, *still_speaking(view, group, directors)][:MAX_DIRECTORS]:
        report = report_of(view.lvs_nodes.get(name), group.meta.name)
        holds = report is not None and report.holds_addresses
        own = own_addresses(view, group, name)
        members.append(
            GroupMember(
                node=name,
                holds_addresses=holds,
                reporting=name in directors.available,
                stands_aside=directors.aside.get(name),
                addresses=list(own) or None,
            )
        )
    ready, reason, message = _group_readiness(view, group, directors, served.ids)
    remarks = (directors.unrelieved, no_directors(view, group, directors.selected))
    message = "; ".join(filter(None, (message, *remarks)))
    accepted = group.spec is not None
    statements = [
        Statement(
            type=ConditionType.ACCEPTED,
            status=truth(accepted),
            reason=Reason.ACCEPTED if accepted else Reason.INVALID,
            message="The group is valid" if accepted else f"{group.spec_error}; directors stay as they were",
            generation=generation,
        ),
        Statement(type=ConditionType.READY, status=truth(ready), reason=reason, message=message, generation=generation),
    ]
    before = group.status.conditions if group.status else None
    if (applied := settings_statement(view, group, all_directors)) is not None:
        statements.append(applied)
    elif group.spec is not None:
        before = drop_condition(before, ConditionType.SETTINGS_APPLIED)
    return LvsDirectorGroupStatus(
        active=directors.active,
        directors=members or None,
        virtual_routers=router_statuses(view, group, directors),
        vrrp_begins_with=directors.begins_with,
        hand_over=directors.hand_over,
        services=served.services,
        observed_generation=generation,
        conditions=stated(before, statements, now),
    )


def _group_readiness(
    view: ClusterView, group: DirectorGroup, directors: Directors, ids: RouterIds | None
) -> tuple[bool | None, Reason, str]:
    if group.spec is None:
        return False, Reason.INVALID, group.spec_error or ""
    if not directors.selected:
        return False, Reason.NO_DIRECTORS, "spec.nodes.selector finds no Node; label the Nodes that are to be directors"
    if ids is not None and (ids.reason is not None or directors.begins_with is None):
        return vrrp_readiness(view, group, directors, ids)
    return _active_readiness(directors)


def _active_readiness(directors: Directors) -> tuple[bool | None, Reason, str]:
    """Whether the one director that is to carry all addresses is there."""
    if directors.active is None:
        return None, Reason.PENDING, "No director has reported yet"
    silent = [name for name in directors.selected if name not in directors.available]
    if directors.active in silent:
        message = (
            f"Director {directors.active} does not report. It keeps the addresses until it is back, or its Node is "
            "deleted or tainted node.kubernetes.io/out-of-service"
        )
        return False, Reason.NOT_PROGRAMMED, message
    if directors.active not in directors.selected:
        message = f"Director {directors.active} is to let go of the addresses first"
        return None, Reason.PENDING, message
    if directors.begins_with is not None:
        return None, Reason.PENDING, f"VRRP begins with {directors.begins_with}, which carries the addresses"
    others = f"; not reporting: {', '.join(silent)}" if silent else ""
    return True, Reason.READY, f"{directors.active} is the active director{others}"
