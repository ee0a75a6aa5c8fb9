"""Says on objects that the CRDs in the cluster are older than this operator: what it wrote was not kept whole."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from lvs_api.address_pool import LvsAddressPoolStatus
from lvs_api.conditions import (
    Condition,
    ConditionStatus,
    ConditionType,
    Reason,
    drop_condition,
    find_condition,
    set_condition,
)
from lvs_api.director_group import LvsDirectorGroupStatus
from lvs_api.real_server_pool import LvsRealServerPoolStatus
from lvs_api.virtual_service import LvsVirtualServiceStatus
from lvs_core.cluster_view import ClusterView, ObjectKey
from lvs_core.decision import Decision
from lvs_operator.watched_kinds import ADDRESS_POOLS, DIRECTOR_GROUPS, LVS_NODES, POOLS, SLICES, VIRTUAL_SERVICES
from lvs_operator.writer import WriteKey

MAX_FIELDS: Final = 8
"""Named in a message; the rest is counted."""

StatusT = TypeVar(
    "StatusT", LvsVirtualServiceStatus, LvsRealServerPoolStatus, LvsDirectorGroupStatus, LvsAddressPoolStatus
)
Dropped = Mapping[WriteKey, Sequence[str]]


def mark_outdated(view: ClusterView, decision: Decision, dropped: Dropped, now: str) -> Decision:
    """The decision with the condition CRDOutdated where a write lost fields, and without it elsewhere.

    A slice speaks through its service, a LvsNode through the director groups, for whose services it carries addresses.
    """
    lost_of_services: dict[ObjectKey, list[str]] = {}
    lost_of_nodes = [f"{key.kind} {key.name} {lost}" for key, lost in _sorted(dropped) if key.kind == LVS_NODES.name]
    for key, lost in _sorted(dropped):
        where = ObjectKey(key.namespace, key.name)
        if key.kind == SLICES.name and where in decision.slices:
            owner = ObjectKey(key.namespace, decision.slices[where].service_name)
            lost_of_services.setdefault(owner, []).append(f"{key.kind} {lost}")
        elif key.kind == VIRTUAL_SERVICES.name:
            lost_of_services.setdefault(where, []).append(f"{key.kind} {lost}")
    lost_of_pools = _own(dropped, POOLS.name)
    lost_of_address_pools = _own(dropped, ADDRESS_POOLS.name)
    lost_of_groups = _own(dropped, DIRECTOR_GROUPS.name)
    return replace(
        decision,
        services={
            key: _marked(status, view.services[key].status, lost_of_services.get(key, []), now)
            for key, status in decision.services.items()
        },
        pools={
            key: _marked(status, view.pools[key].status, lost_of_pools.get(key, []), now)
            for key, status in decision.pools.items()
        },
        address_pools={
            name: _marked(
                status, view.address_pools[name].status, lost_of_address_pools.get(ObjectKey("", name), []), now
            )
            for name, status in decision.address_pools.items()
        },
        groups={
            name: _marked(
                status,
                view.groups[name].status,
                [*lost_of_groups.get(ObjectKey("", name), []), *lost_of_nodes],
                now,
            )
            for name, status in decision.groups.items()
        },
    )


def _sorted(dropped: Dropped) -> list[tuple[WriteKey, str]]:
    return [(key, field) for key in sorted(dropped) for field in dropped[key]]


def _own(dropped: Dropped, kind: str) -> dict[ObjectKey, list[str]]:
    found: dict[ObjectKey, list[str]] = {}
    for key, lost in _sorted(dropped):
        if key.kind == kind:
            found.setdefault(ObjectKey(key.namespace, key.name), []).append(f"{key.kind} {lost}")
    return found


def _marked(status: StatusT, existing: StatusT | None, lost: Sequence[str], now: str) -> StatusT:
    if not lost and find_condition(status.conditions, ConditionType.CRD_OUTDATED) is None:
        return status
    conditions = drop_condition(status.conditions, ConditionType.CRD_OUTDATED)
    if lost:
        before = find_condition(existing.conditions if existing else None, ConditionType.CRD_OUTDATED)
        named = ", ".join(lost[:MAX_FIELDS]) + (f" and {len(lost) - MAX_FIELDS} more" if len(lost) > MAX_FIELDS else "")
        conditions = set_condition(
            conditions,
            Condition(
                type=ConditionType.CRD_OUTDATED,
                status=ConditionStatus.TRUE,
                reason=Reason.CRD_OUTDATED,
                message=f"the CRDs are older than the operator and drop: {named}; install the CRDs of this version",
                last_transition_time=before.last_transition_time if before else now,
                observed_generation=status.observed_generation,
            ),
        )
    return status.model_copy(update={"conditions": conditions or None})
