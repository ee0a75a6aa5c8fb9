"""Whether our kinds are whole: while a CRD is missing or being deleted, objects vanish that nobody deleted.

`Terminating` comes before the first object of a kind goes (finalizer.go of apiextensions-apiserver), so a look at the
CRDs after the view was checked tells whether an absence in it may be believed.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from lvs_api.api_group import GROUP
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
from lvs_api.kinds import ALL_KINDS
from lvs_api.objects import ObjectMeta
from lvs_core.cluster_view import ClusterView, ObjectKey
from lvs_core.decision import Decision
from lvs_operator import metrics
from lvs_operator.api_client import ApiClient
from lvs_operator.errors import ApiForbiddenError, ApiNotFoundError
from lvs_operator.watched_kinds import CORE_SERVICES, DIRECTOR_GROUPS, LVS_NODES, SLICES, VIRTUAL_SERVICES, WatchedKind
from lvs_operator.writer import Delete, ReplacePart, Write

logger = logging.getLogger(__name__)

CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
MAX_NAMED: Final = 3
LOOK_SECONDS: Final = 5.0
"""Between looks while something is wrong."""


class KindGuard:
    """Belongs to the main loop."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._looked = float("-inf")
        self.reason: Reason | None = None
        """Why nothing may be taken away; None where all kinds were whole at the last look."""
        self.message = ""
        self._made: dict[str, str] = {}
        """When each kind's CRD was made (RFC 3339), by the kind's name."""
        self._unbelieved: tuple[str, ...] = ()

    @property
    def due(self) -> float | None:
        """When to look again (monotonic); None where nothing is wrong."""
        return None if self.reason is None else self._looked + LOOK_SECONDS

    @property
    def may_look(self) -> bool:
        """Whether the last look was a while ago."""
        return time.monotonic() >= self._looked + LOOK_SECONDS

    async def look(self) -> bool:
        """Ask the API server; True where something was wrong and is no more. Raises ApiUnavailableError."""
        was_wrong = self.reason is not None
        reason, message = await self._trouble()
        self._looked = time.monotonic()
        if reason is not None and (reason, message) != (self.reason, self.message):
            logger.warning("nothing is taken away: %s", message)
        elif reason is None and was_wrong:
            logger.info("all kinds are whole again")
        self.reason, self.message = reason, message
        metrics.REMOVALS_HELD.set(0 if reason is None else 1)
        return was_wrong and reason is None

    def believed(self, view: ClusterView, losses: Iterable[Write]) -> list[Write]:
        """The losses without those that follow from objects which went with a CRD that has been made anew since.

        What was made before its user's kind was made anew has lost its user's object by that; it may be applied again.
        """
        believed, unbelieved = [], []
        for write in losses:
            lost = self._lost_with_crd(view, write)
            if lost is None:
                believed.append(write)
            else:
                unbelieved.append(lost)
        if unbelieved and tuple(unbelieved) != self._unbelieved:
            logger.warning("not taken away: %s", "; ".join(unbelieved[:MAX_NAMED]))
        self._unbelieved = tuple(unbelieved)
        metrics.REMOVALS_HELD.set(1 if self.reason is not None or unbelieved else 0)
        return believed

    def _lost_with_crd(self, view: ClusterView, write: Write) -> str | None:
        """What went with its CRD, and with it the reason for something that a write takes away."""
        match write:
            case Delete(kind=kind, meta=meta) if kind is SLICES:
                one = view.slices[ObjectKey(meta.namespace or "", meta.name)]
                if one.service_key not in view.services and self._is_younger(VIRTUAL_SERVICES, one.meta):
                    return f"{kind.name} {meta}: its LvsVirtualService went with its CRD"
            case ReplacePart(kind=kind, meta=meta, value=value) if kind is LVS_NODES:
                node = view.lvs_nodes[meta.name]
                left = set(node.spec.director_groups or ()) - set(value.get("directorGroups") or ())
                gone = sorted(left - view.groups.keys())
                if gone and self._is_younger(DIRECTOR_GROUPS, node.meta):
                    return f"{kind.name} {meta}: LvsDirectorGroup {gone[0]} went with its CRD"
            case ReplacePart(kind=kind, meta=meta) if kind is CORE_SERVICES:
                # A Service may be older than our kinds; what it says of its virtual service is not.
                said = view.load_balancers[ObjectKey(meta.namespace or "", meta.name)].status.conditions
                if self._made.get(VIRTUAL_SERVICES.name, "") > max(one.last_transition_time for one in said):
                    return f"the address of {kind.name} {meta}: its LvsVirtualService went with its CRD"
        return None

    def _is_younger(self, kind: WatchedKind, than: ObjectMeta) -> bool:
        return self._made.get(kind.name, "") > (than.creation_timestamp or "")

    async def _trouble(self) -> tuple[Reason | None, str]:
        for kind in ALL_KINDS:
            name = f"{kind.plural}.{GROUP}"
            try:
                crd = await self._client.get(f"{CRDS}/{name}")
            except ApiNotFoundError:
                return Reason.CRD_MISSING, f"CustomResourceDefinition {name} is missing"
            except ApiForbiddenError as error:
                return Reason.LOOK_UP_FAILED, f"CustomResourceDefinition {name} cannot be looked at: {error}"
            if (trouble := _trouble_of(crd)) is not None:
                return Reason.CRD_MISSING, f"CustomResourceDefinition {name} {trouble}"
            self._made[kind.name] = str(crd["metadata"].get("creationTimestamp", ""))
        return None, ""


def _trouble_of(crd: Mapping[str, Any]) -> str | None:
    conditions = {one.get("type"): one.get("status") for one in (crd.get("status") or {}).get("conditions") or ()}
    if "deletionTimestamp" in crd["metadata"] or conditions.get("Terminating") == "True":
        return "is being deleted"
    if conditions.get("Established") != "True":
        return "is not established"
    return None


def mark_held(view: ClusterView, decision: Decision, guard: KindGuard, now: str) -> Decision:
    """The decision with the condition RemovalHeld on the director groups while nothing is taken away."""
    return replace(
        decision,
        groups={
            name: _marked(status, view.groups[name].status, guard, now) for name, status in decision.groups.items()
        },
    )


def _marked(
    status: LvsDirectorGroupStatus, existing: LvsDirectorGroupStatus | None, guard: KindGuard, now: str
) -> LvsDirectorGroupStatus:
    conditions = drop_condition(status.conditions, ConditionType.REMOVAL_HELD)
    if guard.reason is not None:
        before = find_condition(existing.conditions if existing else None, ConditionType.REMOVAL_HELD)
        held = Condition(
            type=ConditionType.REMOVAL_HELD,
            status=ConditionStatus.TRUE,
            reason=guard.reason,
            message=f"nothing is taken away: {guard.message}",
            last_transition_time=before.last_transition_time if before else now,
            observed_generation=status.observed_generation,
        )
        conditions = set_condition(conditions, held)
    return status.model_copy(update={"conditions": conditions or None})
