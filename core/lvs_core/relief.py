"""Who could take the addresses of a group over from the director that carries them, by what directors report."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lvs_api.conditions import ConditionStatus, ConditionType, Reason, find_condition
from lvs_api.lvs_node import VirtualRouterState
from lvs_api.quorum import BelowQuorum
from lvs_core.cluster_view import ClusterView, DirectorGroup, LvsNode, ObjectKey
from lvs_core.directors import Directors
from lvs_core.mastership import Mastership, reports_of

_NAMED: Final = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Relief:
    """One group at one moment."""

    view: ClusterView
    group: DirectorGroup
    who: Directors

    @property
    def used(self) -> tuple[Mastership, ...]:
        """Virtual routers that have addresses."""
        return tuple(one for one in self.who.routers or () if one.is_used)

    @property
    def stays(self) -> str:
        """Why the addresses can not leave the one that carries them; empty where they can.

        By VRRP a paused service's move with the others.
        """
        if self.who.routers is not None:
            return ""
        ours = (one for one in self.view.slices.values() if one.content.director_group == self.group.meta.name)
        paused = [one.service_key for one in ours if one.content.service is not None and one.content.service.paused]
        return (
            f"the addresses of LvsVirtualService {paused[0]} stay where they are while it is paused" if paused else ""
        )

    def why_not(self, name: str) -> str | None:
        """Why a director could not take over all addresses now; None: it could."""
        if name not in self.who.selected:
            return "is no director of the group"
        if name in self.who.aside:
            return f"stands aside ({self.who.aside[name]})"
        if name not in self.who.available or name in self.view.signs.late or not self.view.runs(self.view.nodes[name]):
            return "does not report"
        return next(self._faults(name), None)

    def ready_beside(self, giver: str | None) -> tuple[str, ...]:
        """Directors that could take over from this one, sorted."""
        return tuple(name for name in self.who.selected if name != giver and self.why_not(name) is None)

    def why_nobody(self, giver: str | None) -> str:
        """Why there are none; the first few."""
        others = [name for name in self.who.selected if name != giver]
        if not others:
            return "there is no other director"
        more = [f"and {len(others) - _NAMED} more"] if len(others) > _NAMED else []
        said = "; ".join([*(f"{name} {self.why_not(name)}" for name in others[:_NAMED]), *more])
        return f"no other director is ready: {said}"

    def _faults(self, name: str) -> Iterator[str]:
        lvs_node = self.view.lvs_nodes[name]
        conditions = lvs_node.status.conditions if lvs_node.status is not None else None
        ready = find_condition(conditions, ConditionType.READY)
        if ready is not None and ready.status is ConditionStatus.FALSE:
            yield f"is not ready: {ready.message}"
        if self.who.routers is None and (below := next(self._below_quorum(lvs_node), None)) is not None:
            yield f"is below quorum of LvsVirtualService {below}, and would not carry its addresses"
        for router in self.used:
            mine = [one for one in reports_of(self.view, self.group.meta.name, name) if one.id == router.id]
            if not mine:
                yield f"takes no part in virtual router {router.id} yet"
            for one in mine:
                if one.state is VirtualRouterState.FAULT:
                    yield f"is in Fault in virtual router {router.id}{f': {one.message}' if one.message else ''}"

    def _below_quorum(self, lvs_node: LvsNode) -> Iterator[ObjectKey]:
        """Services of the group whose addresses a director would withdraw. By VRRP that is a Fault of its own."""
        said = (lvs_node.status.exceptions if lvs_node.status is not None else None) or ()
        below = {ObjectKey(one.namespace, one.name) for one in said if one.reason == Reason.BELOW_QUORUM}
        for one in self.view.slices.values() if below else ():
            is_ours = one.content.director_group == self.group.meta.name and one.service_key in below
            quorum = one.content.service.quorum if is_ours and one.content.service is not None else None
            if quorum is not None and quorum.below == BelowQuorum.WITHDRAW_ADDRESS:
                yield one.service_key
