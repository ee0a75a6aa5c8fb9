"""Remembers from round to round which services have their quorum, and which VIPs are not carried for want of it."""

from collections.abc import Callable, Mapping

from lvs_agent.decide.kernel_state import AnyServiceKey, IPAddress
from lvs_agent.decide.prepared_plan import PreparedPlan
from lvs_agent.decide.quorum import told_below, withdrawn_addresses
from lvs_api.lvs_node import LvsNodeStatus
from lvs_core.cluster_view import ObjectKey


class QuorumKeeper:
    """Owner of what is known of quorums."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.met: Mapping[AnyServiceKey, bool] = {}
        """Which kernel services have theirs, as of the last round."""
        self.told_below: frozenset[ObjectKey] | None = None
        """For the first round: LvsVirtualServices that were below theirs, by what the node's status says."""
        self.withdrawn: frozenset[IPAddress] = frozenset()

    def recall(self, reported: Callable[[], LvsNodeStatus | None], boot_id: str) -> None:
        """Once, before the first round: what was said before the agent was restarted."""
        if self.told_below is None:
            self.told_below = told_below(reported(), boot_id)

    def look(self, prepared: PreparedPlan) -> frozenset[IPAddress]:
        """VIPs that a plan has this director not carry, by what was so until now."""
        self.withdrawn = withdrawn_addresses(prepared, self.met)
        return self.withdrawn

    def follow(self, prepared: PreparedPlan, met: Mapping[AnyServiceKey, bool]) -> frozenset[IPAddress]:
        """The same by what a round came to. What is to go is unbound where a round begins, so one is asked for."""
        before, self.met, self.told_below = self.withdrawn, met, frozenset()
        if self.look(prepared) != before:
            self._wake()
        return self.withdrawn
