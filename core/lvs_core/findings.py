"""What follows from a service's own objects, kept from one decision to the next as long as they are the same.

With thousands of services nearly all objects are those of the last decision. Nothing here changes what is decided: a
finding is used again only where everything that it follows from is the same. To compare that costs little, for what has
not changed is the same object.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from lvs_api.real_server_pool import RealServerState
from lvs_api.virtual_service import LvsVirtualServiceStatus
from lvs_core.checks import Problem
from lvs_core.cluster_view import ClusterNode, ClusterView, DirectorGroup, ObjectKey, Pool, Slice, VirtualService
from lvs_core.endpoints import CoreService, EndpointSlice
from lvs_core.members import GroupDirectors, WantedMember
from lvs_core.needs import Need
from lvs_core.preparation import Standing


class Basis(NamedTuple):
    """What the members of a service follow from, but for the Nodes."""

    service: VirtualService
    pool: Pool
    group: DirectorGroup
    directors: GroupDirectors
    addresses: Sequence[str] | None
    """Those from a LvsAddressPool."""
    served: frozenset[str]
    """Addresses that its slices serve."""
    core_service: CoreService | None
    endpoint_slices: tuple[EndpointSlice, ...]
    """What its pool's endpoints come from."""


class Finding(NamedTuple):
    """Who the members of a service are to be."""

    basis: Basis
    members: tuple[WantedMember, ...]
    problem: Problem | None
    """The first thing that is wrong with it, permissions and other services aside."""


class Situation(NamedTuple):
    """What the slices of an accepted service follow from, where nobody is coming or leaving."""

    service: VirtualService
    pool: Pool
    group: str
    addresses: tuple[str, ...]
    mark: int | None
    """The one chosen for it."""
    wanted: tuple[WantedMember, ...]
    slices: tuple[Slice, ...]
    """As they are."""
    standings: tuple[Standing, ...]
    """What is known of the nodes among its members."""


class Rest(NamedTuple):
    """A situation in which the slices are as they shall be."""

    situation: Situation
    needs: frozenset[Need]


class Standstill(NamedTuple):
    """A service whose status says already what is to be said."""

    premises: tuple[object, ...]
    """All that it follows from, each to be compared with itself."""
    status: LvsVirtualServiceStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """Those of one decision."""

    nodes: Mapping[str, ClusterNode] = field(default_factory=lambda: MappingProxyType({}))
    """Any may be a member of any service."""
    members: Mapping[ObjectKey, Finding] = field(default_factory=lambda: MappingProxyType({}))
    rests: Mapping[ObjectKey, Rest] = field(default_factory=lambda: MappingProxyType({}))
    standstills: Mapping[ObjectKey, Standstill] = field(default_factory=lambda: MappingProxyType({}))


class FindingsBook:
    """Gives what the last decision found, and notes what this one finds."""

    def __init__(self, view: ClusterView, before: Findings) -> None:
        self._nodes = view.nodes
        self._before = before if before.nodes == view.nodes else Findings()
        self._members: dict[ObjectKey, Finding] = {}
        self._rests: dict[ObjectKey, Rest] = {}
        self._standstills: dict[ObjectKey, Standstill] = {}

    @property
    def findings(self) -> Findings:
        """For the next decision."""
        return Findings(nodes=self._nodes, members=self._members, rests=self._rests, standstills=self._standstills)

    def finding(self, key: ObjectKey, basis: Basis) -> Finding | None:
        """What was found of a service on this very basis."""
        known = self._before.members.get(key)
        if known is None or known.basis != basis:
            return None
        self._members[key] = known
        return known

    def note(self, key: ObjectKey, finding: Finding) -> Finding:
        """Keep a new one."""
        self._members[key] = finding
        return finding

    def rest(self, key: ObjectKey, situation: Situation) -> Rest | None:
        """The rest in which a service was found, if nothing has come up since."""
        known = self._before.rests.get(key)
        if known is None or known.situation != situation:
            return None
        self._rests[key] = known
        return known

    def note_rest(self, key: ObjectKey, situation: Situation, needs: frozenset[Need]) -> None:
        """The slices are as they shall be. It is no rest where that depends on what directors still report."""
        if _is_settled(situation):
            self._rests[key] = Rest(situation, needs)

    def standstill(self, key: ObjectKey, premises: tuple[object, ...]) -> LvsVirtualServiceStatus | None:
        """The status that was said on these premises, and has been written."""
        known = self._before.standstills.get(key)
        if known is None or known.premises != premises:
            return None
        self._standstills[key] = known
        return known.status

    def note_standstill(self, key: ObjectKey, premises: tuple[object, ...], status: LvsVirtualServiceStatus) -> None:
        """This follows from the premises, and is said already."""
        self._standstills[key] = Standstill(premises, status)


def _is_settled(situation: Situation) -> bool:
    """Whether no member leaves, changes its method, or is a node that has not joined as one yet."""
    members = [one for slice_ in situation.slices for one in slice_.content.members]
    nodes = {one.name: one.node for one in members}
    return all(one.draining_seconds is None and one.former is None for one in members) and all(
        one.state is RealServerState.ACTIVE and (one.node is None or nodes.get(one.name) == one.node)
        for one in situation.wanted
    )
