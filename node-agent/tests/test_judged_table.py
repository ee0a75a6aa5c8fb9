"""What is not judged again is as it would be judged: every agent of these tests compares the two at each look.

Here a few services with different habits are edited, fail, drain, and are meddled with, in any order.
"""

import asyncio
import os
import tempfile
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

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

from lvs_agent.decide.health_verdict import Verdict
from lvs_agent.decide.kernel_state import DestinationSettings, DestinationState, Route, RouteKind, ServiceKey
from lvs_agent.decide.kernel_state import ForwardingMethod as KernelMethod
from lvs_api.network_types import ForwardingMethod, Protocol
from lvs_core.cluster_view import ObjectKey
from lvs_core.plan import FormerMethod, PlannedMember, PlannedService, VirtualServerKey

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
