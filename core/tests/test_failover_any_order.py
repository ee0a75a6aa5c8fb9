"""Directors change between None and VRRP and give way, act late and report late: never do two carry the addresses.

Directors that speak VRRP hear one another here, and elect at once; so whatever is found is the operator's or the
plans' fault.
"""

import os
from dataclasses import replace
from datetime import datetime, timedelta
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
        self.asked = 0
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

    @rule(name=NODES, cordoned=st.booleans())
    def cordon(self, name: str, cordoned: bool) -> None:
        self.cluster.nodes[name] = replace(self.cluster.nodes[name], cordoned=cordoned)

    @rule(heir=st.none() | NODES)
    def ask(self, heir: str | None) -> None:
        """A person asks for a hand-over."""
        self.asked += 1
        said = f"t{self.asked}" if heir is None else f"t{self.asked}/{heir}"
        self.cluster.groups["default"] = replace(self.cluster.groups["default"], hand_over_request=said)
        self.note()

    @rule(seconds=st.sampled_from([1, 40]))
    def time_passes(self, seconds: int) -> None:
        moment = datetime.fromisoformat(self.cluster.now) + timedelta(seconds=seconds)
        self.cluster.now = moment.strftime("%Y-%m-%dT%H:%M:%SZ")

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
                if plan.gives_way and self.master == name:
                    self.master = next((one for one in self.by_priority() if one in self.speaking - {name}), name)
                self.elect()
                if self.master == name:
                    self.holding.discard(name)  # from now on VRRP carries what it carried
            case Holding.KEEP:
                pass
        self.elect()

    def by_priority(self) -> list[str]:
        """The directors as the operator told them last."""
        status = self.seen[-1].status
        routers = (status.virtual_routers if status is not None else None) or []
        return [one.node for one in routers[0].priorities or ()] if routers else list(DIRECTORS)

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
        aside = {name for name in DIRECTORS if self.cluster.nodes[name].cordoned}
        carrier = self.master or next(iter(self.holding), None)
        assert carrier not in aside or aside == set(DIRECTORS), (carrier, aside)
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
