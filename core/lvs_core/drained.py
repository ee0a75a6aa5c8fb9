"""Whether the directors are done with a member that leaves."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from lvs_core.cluster_view import ClusterView, Member, ObjectKey
from lvs_core.directors import Directors
from lvs_core.memory import GroupMemory, MemberKey, Memory


@dataclass(frozen=True, kw_only=True)
class DrainReports:
    """What the directors of all groups report as drained."""

    view: ClusterView
    memory: Memory
    directors: Mapping[str, Directors]

    @cached_property
    def _drained(self) -> Mapping[str, frozenset[MemberKey]]:
        """By director."""
        return {
            name: frozenset(
                MemberKey(ObjectKey(one.namespace, one.name), member)
                for one in (node.status.drained if node.status else None) or ()
                for member in one.members
            )
            for name, node in self.view.lvs_nodes.items()
        }

    def over(self, group: str, service: ObjectKey, member: Member, *, draining: bool) -> bool:
        """Every available director has reported the member, having seen that it leaves.

        Where directors are only out of reach there is no answer; where a group has none, nobody forwards.
        """
        directors = self.directors.get(group)
        if directors is None or not directors.forwarding:
            return True
        key = MemberKey(service, member.name)
        memory = self.memory.groups.get(group, GroupMemory())
        leaving = memory.leaving.get(key)
        if leaving is None or leaving.draining != draining or not directors.available:
            return False
        return all(
            (position := memory.position_of(name)) is not None
            and position >= leaving.position
            and key in self._drained.get(name, frozenset())
            for name in directors.available
        )
