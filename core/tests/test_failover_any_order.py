"""Failover changes between None and VRRP while directors act late and report late: never do two carry the addresses.

Directors that speak VRRP hear one another here, and elect at once; so whatever is found is the operator's or the
plans' fault.
"""

import os
from typing import Any

from core_objects import group, small_cluster
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lvs_api.lvs_node import VirtualRouterReport, VirtualRouterState
from lvs_api.network_types import Family
from lvs_core.cluster_view import DirectorGroup
from lvs_core.compile import AgentView, compile_plan
from lvs_core.plan import Holding

VRID = 55
DIRECTORS = ("d1", "d2", "d3")
NODES = st.sampled_from(DIRECTORS)
VRRP: dict[str, Any] = {
    "virtualRouterIds": [VRID],
    "priorities": [{"node": name, "priority": 50 * place} for place, name in enumerate(reversed(DIRECTORS), 1)],
}


class AnyOrder(RuleBasedStateMachine):
    """Three directors, each with the group as it saw it last, and what it does by that."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = small_cluster(directors=len(DIRECTORS))
        self.cluster.settle()
        self.seen: list[DirectorGroup] = [self.cluster.groups["default"]]
        self.at = dict.fromkeys(DIRECTORS, 0)
        self.holding: set[str] = set()
        """Who carries the addresses without VRRP."""
        self.speaking: set[str] = set()
        self.master: str | None = None
        for name in DIRECTORS:
            self.act(name, 0)

    @initialize(vrrp=st.booleans())
    def begin(self, vrrp: bool) -> None:
        self.edit(vrrp)
        self.come_to_rest()

    def come_to_rest(self) -> None:
        for _ in range(8):
            self.decide()
            for name in DIRECTORS:
                self.act(name, 0)
                self.report(name)
                self.one_carries_the_addresses()

    def note(self) -> None:
        self.seen.append(self.cluster.groups["default"])

    @rule(vrrp=st.booleans())
    def edit(self, vrrp: bool) -> None:
        changes = {"failover": "VRRP", "vrrp": VRRP} if vrrp else {}
        self.cluster.put(group(self.cluster, **changes))
        self.note()

    @rule()
    def decide(self) -> None:
        self.cluster.round()
        self.note()

    @rule(name=NODES, behind=st.integers(0, 3))
    def act(self, name: str, behind: int) -> None:
        self.at[name] = max(self.at[name], len(self.seen) - 1 - behind)
        view = AgentView(
            node=name,
            lvs_node=self.cluster.lvs_nodes[name],
            groups={"default": self.seen[self.at[name]]},
            slices=tuple(self.cluster.slices.values()),
        )
        (plan,) = compile_plan(view).directing
        match plan.holding:
            case Holding.HOLD:
                self.holding.add(name)
                self.speaking.discard(name)
            case Holding.RELEASE:
                self.holding.discard(name)
                self.speaking.discard(name)
            case Holding.VRRP:
                self.speaking.add(name)
                self.elect()
                if self.master == name:
                    self.holding.discard(name)  # from now on VRRP carries what it carried
            case Holding.KEEP:
                pass
        self.elect()

    def elect(self) -> None:
        """Who is Master stays it; who carried the addresses without VRRP and begins with it goes on carrying them."""
        if self.master not in self.speaking:
            self.master = next((name for name in DIRECTORS if name in self.speaking), None)

    @rule(name=NODES)
    def report(self, name: str) -> None:
        state = VirtualRouterState.MASTER if name == self.master else VirtualRouterState.BACKUP
        machine = self.cluster.machines[name]
        self.cluster.act(name)
        machine.holds = frozenset({"default"} if name in {*self.holding, self.master} else ())
        speaks = [VirtualRouterReport(id=VRID, family=Family.IPV4, state=state)]
        machine.routers = speaks if name in self.speaking else None
        self.cluster.report(name)

    @invariant()
    def one_carries_the_addresses(self) -> None:
        carriers = self.holding | ({self.master} if self.master is not None else set())
        assert len(carriers) <= 1, carriers

    def teardown(self) -> None:
        """Once everybody acts and reports, the group is as it was asked for, and somebody carries the addresses."""
        self.come_to_rest()
        asked = self.seen[-1].spec
        assert asked is not None
        wanted = set(DIRECTORS) if asked.failover == "VRRP" else set()
        assert self.speaking == wanted
        assert (self.master is None) == (not wanted)
        assert len(self.holding) == (0 if wanted else 1)


TestFailoverInAnyOrder = AnyOrder.TestCase
TestFailoverInAnyOrder.settings = settings(
    max_examples=int(os.environ.get("LVS_CORE_EXAMPLES", "60")),  # a soak tries more, in another order each time
    stateful_step_count=30,
    deadline=None,
    derandomize="LVS_CORE_EXAMPLES" not in os.environ,
    database=None,
)
