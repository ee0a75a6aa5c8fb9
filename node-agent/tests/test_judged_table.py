"""What is not judged again is as it would be judged: every agent of these tests compares the two at each look.

Here a few services with different habits are edited, fail, drain, and are meddled with, in any order.
"""

import asyncio
import os
import tempfile
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from agent_world import (
    SERVICE,
    VIP,
    World,
    check_target,
    destination,
    director,
    member,
    service,
    service_on,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lvs_agent.decide.desired_state import Circumstances
from lvs_agent.decide.drain import Drain, DrainCause, DrainKey
from lvs_agent.decide.fresh_word import Words
from lvs_agent.decide.health_verdict import Verdict
from lvs_agent.decide.judged_table import TableJudge, judge_table
from lvs_agent.decide.kernel_state import (
    DestinationSettings,
    DestinationState,
    KernelIpvs,
    Route,
    RouteKind,
    ServiceKey,
    ServiceState,
)
from lvs_agent.decide.kernel_state import ForwardingMethod as KernelMethod
from lvs_agent.decide.prepared_plan import PreparedPlan, prepare
from lvs_api.network_types import ForwardingMethod, Protocol
from lvs_core.cluster_view import ObjectKey
from lvs_core.plan import FormerMethod, PlannedMember, PlannedQuorum, PlannedService, VirtualServerKey

NUMBERS = range(100, 104)
PORTS = (80, 81, 82)
MASQUERADE = ForwardingMethod.MASQUERADE


def part(port: int, *members: PlannedMember) -> PlannedService:
    """A kernel service; the last two are of one LvsVirtualService."""
    key = VirtualServerKey(address=ip_address(VIP), port=port, protocol=Protocol.TCP)
    name = ObjectKey("default", "web" if port == PORTS[0] else "other")
    return service(*members, key=key, service=name, service_uid=name.name)


def key_of(port: int) -> ServiceKey:
    return SERVICE if port == PORTS[0] else service_on(port)


ON_PORT = st.sampled_from(PORTS)
OF_MEMBER = st.sampled_from(NUMBERS)
CHANGES = st.sampled_from(
    [
        {},
        {"weight": 0},
        {"weight": 7},
        {"method": MASQUERADE},
        {"prepared": False},
        {"refused": "NotPermitted"},
        {"draining_seconds": 30},
        {"node": "server"},
        {"check": True},
        {"method": MASQUERADE, "check": True},
        {"former": FormerMethod(method=ForwardingMethod.DIRECT_ROUTING, timeout_seconds=30)},
    ]
)


def settled(prepared: PreparedPlan, judge: TableJudge, **around: Any) -> Circumstances:
    """Circumstances in which the kernel is as this plan wants it, judged once."""
    nothing: dict[str, Any] = {"owned": {}, "health": {}, "routes": {}, "drains": {}, "now": 0.0}
    empty = Circumstances(kernel=KernelIpvs(), **(nothing | around))
    wanted = judge_table(prepared, empty).desired.wanted
    kernel = KernelIpvs(
        services={
            key: ServiceState(
                settings=one.settings,
                destinations={
                    entry: DestinationState(settings=replace(wish, weight=1), active_connections=1)
                    for entry, wish in one.destinations.items()
                },
            )
            for key, one in wanted.items()
        }
    )
    owned = {key: frozenset(one.destinations) for key, one in wanted.items()}
    now = replace(empty, kernel=kernel, owned=owned)
    assert judge.judge(prepared, now) == judge_table(prepared, now)
    return now


def on_masquerade(*members: PlannedMember) -> PreparedPlan:
    return prepare(director(part(80, *members)))


def test_what_is_ours_no_more_is_judged_again() -> None:
    judge, prepared = TableJudge(), on_masquerade(member(100, method=MASQUERADE))
    around = replace(settled(prepared, judge), owned={})
    assert judge.judge(prepared, around) == judge_table(prepared, around)


def test_a_drain_is_judged_again_when_it_begins_and_when_it_ends() -> None:
    """A former method that the slices do not tell of: who carries the VIP has to go on doing so."""
    judge, prepared = TableJudge(), on_masquerade(member(100, method=MASQUERADE, node="server"))
    around = settled(prepared, judge)
    key = DrainKey(service=SERVICE, destination=destination(100), cause=DrainCause.FORMER_METHOD)
    for drains in ({key: Drain(started=0.0, timeout_seconds=30.0)}, {}):
        changed = replace(around, drains=drains)
        assert judge.judge(prepared, changed) == judge_table(prepared, changed)


def test_who_is_asked_what_it_carries_is_judged_again() -> None:
    judge, prepared = TableJudge(), prepare(director(service(member(100, node="server", prepared=True))))
    around = settled(prepared, judge, words=Words(port=1))
    assert judge.judge(prepared, around) == judge_table(prepared, around)


def test_a_service_with_a_quorum_is_judged_again() -> None:
    quorum = PlannedQuorum(weight=1, hysteresis=0, withdraws=True)
    judge, prepared = TableJudge(), prepare(director(service(member(100), quorum=quorum)))
    around = settled(prepared, judge)
    assert judge.judge(prepared, around) == judge_table(prepared, around)


def test_a_service_with_a_strangers_real_server_is_judged_again() -> None:
    judge, prepared = TableJudge(), on_masquerade(member(100, method=MASQUERADE))
    around = settled(prepared, judge)
    state = around.kernel.services[SERVICE]
    there = {**state.destinations, destination(101): state.destinations[destination(100)]}
    meddled = replace(around, kernel=KernelIpvs(services={SERVICE: replace(state, destinations=there)}))
    for _ in range(2):
        assert judge.judge(prepared, meddled) == judge_table(prepared, meddled)


def test_a_check_that_has_said_nothing_yet_is_judged_with_all_services_that_it_is_of() -> None:
    """By the kernel one of them has weight, and so has the other then."""
    judge = TableJudge()
    checked = member(100, method=MASQUERADE, check=check_target(100))
    first, both = director(part(80, checked)), director(part(80, checked), part(81, checked))
    prepared = prepare(first)
    around = settled(prepared, judge)
    more = prepare(both, prepared)
    assert judge.judge(more, around) == judge_table(more, around)


def test_by_the_last_view_on_disk_nothing_comes_to_rest() -> None:
    """What is wanted then is what is there, and not what the plan says."""
    judge, edited = TableJudge(), service(member(100, weight=7))
    prepared = prepare(director(edited, provisional=True))
    around = settled(prepared, judge)
    known = prepare(director(edited), prepared)
    assert known.services[0] is prepared.services[0]
    assert judge.judge(known, around) == judge_table(known, around)


BEGINNINGS = {80: {}, 81: {"method": MASQUERADE}, 82: {"method": MASQUERADE, "check": True}}
"""What members are like at first: where routes count, where nothing does, and where health does."""


class AnyOrder(RuleBasedStateMachine):
    """One director."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.world = World(Path(self.directory.name))
        self.members: dict[int, dict[int, PlannedMember]] = {port: {} for port in PORTS}
        self.paused: set[int] = set()
        self.provisional = False

    @initialize()
    def begin(self) -> None:
        for port in PORTS:
            for number in NUMBERS[:2]:
                self._edit(port, number, BEGINNINGS[port])

    @invariant()
    def go_on(self) -> None:
        """A round follows whatever happens."""
        self.world.now += 0.1
        services = [
            replace(part(port, *self.members[port].values()), paused=port in self.paused)
            for port in PORTS
            if self.members[port]
        ]
        self.runner.run(self.world.do(director(*services, provisional=self.provisional)))

    @rule(seconds=st.sampled_from([1, 40]))
    def wait(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(port=ON_PORT, number=OF_MEMBER, changes=CHANGES)
    def edit(self, port: int, number: int, changes: dict[str, object]) -> None:
        self._edit(port, number, changes)

    def _edit(self, port: int, number: int, changes: dict[str, object]) -> None:
        wanted = {**changes, "check": check_target(number)} if "check" in changes else changes
        self.members[port][number] = member(number, port=port, **wanted)

    @rule(port=ON_PORT, number=OF_MEMBER)
    def leave_out(self, port: int, number: int) -> None:
        self.members[port].pop(number, None)

    @rule(port=ON_PORT)
    def pause(self, port: int) -> None:
        self.paused ^= {port}

    @rule()
    def lose_sight_of_the_api(self) -> None:
        self.provisional = not self.provisional

    @precondition(lambda self: self.world.health.results)
    @rule(verdict=st.sampled_from(list(Verdict)), which=st.integers(0, 9))
    def find(self, verdict: Verdict, which: int) -> None:
        checks = sorted(self.world.health.results, key=lambda check: check.address)
        self.world.health.find(int(checks[which % len(checks)].address.rsplit(".", 1)[1]), verdict)

    @rule(number=OF_MEMBER, next_hop=st.sampled_from([None, ip_address("192.168.4.1")]))
    def reroute(self, number: int, next_hop: object) -> None:
        route = Route(kind=RouteKind.UNICAST, device="eth0", next_hop=next_hop)
        self.world.links.routes[ip_address(f"192.168.4.{number}")] = route
        self.world.agent._links_changed()

    @rule(port=ON_PORT, number=OF_MEMBER, weight=st.sampled_from([0, 1, 9]))
    def meddle(self, port: int, number: int, weight: int) -> None:
        """Somebody else makes or changes an entry."""
        state = self.world.ipvs.services.get(key_of(port))
        if state is not None:
            theirs = DestinationState(settings=DestinationSettings(method=KernelMethod.MASQUERADE, weight=weight))
            there = {**state.destinations, replace(destination(number), port=port): theirs}
            self.world.ipvs.services[key_of(port)] = replace(state, destinations=there)

    @rule(port=ON_PORT)
    def take_away(self, port: int) -> None:
        self.world.ipvs.services.pop(key_of(port), None)

    @rule()
    def restart(self) -> None:
        self.world.restart()

    def teardown(self) -> None:
        self.runner.close()
        self.directory.cleanup()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=int(os.environ.get("LVS_AGENT_EXAMPLES", "25")),  # a soak tries more, in another order each time
    stateful_step_count=30,
    deadline=None,
    derandomize="LVS_AGENT_EXAMPLES" not in os.environ,
    database=None,
)
