"""Which real-server nodes carry the VIPs that they need, in their present boot."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from lvs_api.lvs_node import NodeAddressState
from lvs_core.cluster_view import ClusterNode, ClusterView, LvsNode
from lvs_core.director_reports import present_boot
from lvs_core.needs import Need, told_needs


class NodeState(NamedTuple):
    """What a node's report is good for."""

    boot_id: str
    carried: frozenset[Need]
    """What its spec names and its report calls bound and silent, ports with the VIP for which they are open."""
    is_current: bool
    """The report speaks of the spec as it is now, its Node is Ready or its agent renews its Lease, and has been heard
    since the operator began to look. An older one may call bound what was given up and asked for again, or lost; one of
    a Node that is not Ready, or of an agent that is silent, where that is no news, is only believed as before."""


class Standing(NamedTuple):
    """All by which it is judged whether a node is prepared; equal where the judgement is the same."""

    node: ClusterNode | None
    lvs_node: LvsNode | None
    is_late: bool
    is_silent: bool
    is_unheard: bool
    is_heard: bool
    readiness_is_news: bool
    silence_is_news: bool


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Answers for all nodes of a view; each node is read once."""

    view: ClusterView

    @cached_property
    def _states(self) -> dict[str, NodeState | None]:
        return {}

    @cached_property
    def _standings(self) -> dict[str, Standing]:
        return {}

    def standing(self, name: str) -> Standing:
        """What `boot` of a node follows from, beside what is asked."""
        if name not in self._standings:
            view, signs = self.view, self.view.signs
            self._standings[name] = Standing(
                node=view.nodes.get(name),
                lvs_node=view.lvs_nodes.get(name),
                is_late=name in signs.late,
                is_silent=name in signs.silent,
                is_unheard=name in signs.unheard,
                is_heard=name in signs.heard,
                readiness_is_news=view.readiness_is_news,
                silence_is_news=view.silence_is_news,
            )
        return self._standings[name]

    def boot(self, node: str, needs: Collection[Need], *, sticky_boot: str | None) -> str | None:
        """The boot in which a node carries all that is needed; None where it does not, or cannot be believed.

        `sticky_boot` is the boot for which the same needs were found carried before. In that boot an older report
        is good enough, for what is needed without a break is not given up in between; and no report at all, of a
        LvsNode that is gone or was made anew, is no news: its agent keeps what it has.
        """
        if sticky_boot is not None and self._is_unheard(node):
            return sticky_boot if self._may_be_in(node, sticky_boot) else None
        state = self._state(node)
        if state is None or not state.carried.issuperset(needs):
            return None
        return state.boot_id if state.is_current or state.boot_id == sticky_boot else None

    def _is_unheard(self, name: str) -> bool:
        node = self.view.lvs_nodes.get(name)
        return node is None or node.status is None or node.status.boot_id is None

    def _may_be_in(self, name: str, boot: str) -> bool:
        """Whether nothing says that the node has left a boot."""
        node = self.view.nodes.get(name)
        if node is None or node.out_of_service or self.view.is_called_gone(node):
            return False
        return node.boot_id in (None, boot)

    def _state(self, node: str) -> NodeState | None:
        if node not in self._states:
            self._states[node] = self._read(node)
        return self._states[node]

    def _read(self, name: str) -> NodeState | None:
        boot = present_boot(self.view, name)
        node = self.view.lvs_nodes.get(name)
        signs = self.view.signs
        if boot is None or node is None or node.status is None:
            return None
        if name in signs.silent and self.view.silence_is_news:
            return None
        closed = {
            (address.address, address.device): set(address.closed_ports or ())
            for address in node.status.addresses or ()
            if address.state is NodeAddressState.BOUND or address.closed_ports
        }
        asked = told_needs(name, node.spec.addresses)
        carried = frozenset(
            need for need in asked if need.port not in closed.get((need.address, need.device), {need.port})
        )
        runs = self.view.nodes[name].ready or name in signs.heard
        is_heard = runs and name not in signs.silent and name not in signs.unheard
        is_current = is_heard and node.status.observed_generation == node.meta.generation
        return NodeState(boot, carried, is_current)
