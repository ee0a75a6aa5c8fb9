"""Everything beside the plan that decides what the kernel shall hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lvs_agent.decide.drain import Drain, DrainKey
from lvs_agent.decide.fresh_word import MemberKey, Standing, Words
from lvs_agent.decide.health_verdict import Check, CheckResult
from lvs_agent.decide.kernel_state import AnyServiceKey, IPAddress, KernelIpvs, Route, WantedIpvs
from lvs_agent.decide.ownership import OwnedIpvs
from lvs_core.cluster_view import ObjectKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """Everything beside the plan that decides."""

    kernel: KernelIpvs
    owned: OwnedIpvs
    """What the ledger says is ours."""
    health: Mapping[Check, CheckResult]
    routes: Mapping[IPAddress, Route]
    """To the real servers."""
    drains: Mapping[DrainKey, Drain]
    now: float
    """Boot clock."""
    standings: Mapping[MemberKey, Standing] = field(default_factory=dict)
    """What was believed of the real servers until now."""
    words: Words | None = None
    """None: agents are not asked, and `prepared` is believed whenever it was said."""
    still_carried: frozenset[IPAddress] = frozenset()
    """VIPs that are no longer in the plan, and that the VRRP daemon has yet to let go."""
    quorums: Mapping[AnyServiceKey, bool] = field(default_factory=dict)
    """Which kernel services had their quorum until now."""
    told_below: frozenset[ObjectKey] = frozenset()
    """LvsVirtualServices that were below theirs, by what was reported before the agent was restarted."""
    handed_on: WantedIpvs = field(default_factory=dict)
    """Services for what other directors hand on."""
    unguarded: frozenset[IPAddress] = frozenset()
    """VIPs for which no service is made yet: what other directors hand on is not told apart."""
