"""Joining and leaving in any order: users, operator, agents and power do what they like. Directors are members, too."""

import os
from dataclasses import replace

from core_objects import WEB, director, node, pool, service, small_cluster
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lvs_api import testing
from lvs_api.conditions import ConditionType, find_condition
from lvs_core.memory import Memory


class AnyOrder(RuleBasedStateMachine):
    """Two directors and three nodes; users, operator, agents and power do what they like, when they like."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = small_cluster(directors=2)
        self.cluster.add_node(node("n3", "192.168.4.201"))
        self.cluster.settle()

    names = st.sampled_from(["d1", "d2", "n1", "n2", "n3"])
    directors = st.sampled_from(["d1", "d2"])
    servers = st.sampled_from(["n1", "n2", "n3"])
    ways = st.sampled_from(
        [
            {"method": "DirectRouting"},
            {"method": "Tunnel"},
            {"method": "Tunnel", "tunnel": {"type": "GRE"}},
            {"method": "Tunnel", "tunnel": {"type": "GUE", "port": 6080}},
            {"method": "Tunnel", "tunnel": {"type": "GUE", "port": 6081}},
            {"method": "Masquerade"},
        ]
    )

    @rule()
    def decide(self) -> None:
        self.cluster.round()
        assert list(self.cluster.prepared_without_report()) == []

    @rule()
    def restart_operator(self) -> None:
        """It takes longer than a report: what an agent did is known when the operator is back."""
        for name in self.cluster.machines:
            self.cluster.report(name)
        self.cluster.memory = Memory()

    @rule(name=names, behind=st.integers(0, 4))
    def act(self, name: str, behind: int) -> None:
        self.cluster.act(name, behind=behind)

    @rule()
    def everybody_works(self) -> None:
        for name in self.cluster.machines:
            self.cluster.act(name)
            self.cluster.report(name)
        self.cluster.round()

    @rule(name=names)
    def report(self, name: str) -> None:
        self.cluster.report(name)

    @rule(name=names)
    def act_and_report(self, name: str) -> None:
        self.cluster.act(name)
        self.cluster.report(name)

    @rule(name=directors)
    def finish(self, name: str) -> None:
        self.cluster.finish(name)

    @rule(name=servers)
    def reboot_server(self, name: str) -> None:
        self.cluster.reboot(name)

    @rule(name=names, ready=st.booleans())
    def node_condition(self, name: str, ready: bool) -> None:
        self.cluster.nodes[name] = replace(self.cluster.nodes[name], ready=ready)

    @rule(name=names, late=st.booleans(), silent=st.booleans(), unheard=st.booleans(), heard=st.booleans())
    def agent_lease(self, name: str, **says: bool) -> None:
        cluster = self.cluster
        lists = {"late": cluster.late, "silent": cluster.silent, "unheard": cluster.unheard, "heard": cluster.heard}
        signs = [(is_so, lists[sign]) for sign, is_so in says.items()]
        for is_so, nodes in signs:
            (nodes.add if is_so else nodes.discard)(name)

    @rule(
        chosen=st.sets(st.sampled_from(["100", "200", "201", "5", "6"]), min_size=1),
        states=st.lists(st.sampled_from(["Active", "Active", "Draining", "Disabled"]), min_size=5, max_size=5),
    )
    def edit_pool(self, chosen: set[str], states: list[str]) -> None:
        servers = [
            {**testing.real_server(f"rs{end}", f"192.168.4.{end}"), "state": state}
            for end, state in zip(sorted(chosen), states, strict=False)
        ]
        self.cluster.put(pool(self.cluster, realServers=servers))

    @rule(way=ways, vip=st.sampled_from([testing.VIP, testing.VIP, "192.168.4.16"]))
    def put_service(self, way: dict[str, object], vip: str) -> None:
        self.cluster.put(service(self.cluster, forwarding=way, addresses=[vip]))

    @precondition(lambda self: WEB in self.cluster.services)
    @rule(collect=st.booleans())
    def delete_service(self, collect: bool) -> None:
        self.cluster.delete_service(WEB, collect=collect)

    @rule(name=directors, chosen=st.booleans())
    def choose_director(self, name: str, chosen: bool) -> None:
        labels = director(name, "192.168.4.5").labels if chosen else {}
        self.cluster.nodes[name] = replace(self.cluster.nodes[name], labels=labels)

    @rule(name=directors, cordoned=st.booleans())
    def cordon(self, name: str, cordoned: bool) -> None:
        self.cluster.nodes[name] = replace(self.cluster.nodes[name], cordoned=cordoned)

    @rule(name=directors)
    def power_off_and_taint(self, name: str) -> None:
        self.cluster.reboot(name)
        self.cluster.nodes[name] = replace(self.cluster.nodes[name], out_of_service=True, ready=False)

    @rule(name=directors)
    def repair(self, name: str) -> None:
        """What returns after it was given up starts from the slices as they are, not from a stored view."""
        if self.cluster.is_off(name):
            self.cluster.machines[name].at = len(self.cluster.events) - 1
        self.cluster.nodes[name] = replace(self.cluster.nodes[name], out_of_service=False, ready=True)

    @invariant()
    def nobody_forwards_to_a_node_that_gives_up_the_address(self) -> None:
        assert list(self.cluster.forwarded_without_address()) == []
        assert list(self.cluster.kept_out()) == []

    @invariant()
    def one_holder(self) -> None:
        assert len(self.cluster.holders("default")) <= 1

    def teardown(self) -> None:
        """Whatever happened, the cluster comes to rest as the objects say."""
        for name, one in self.cluster.nodes.items():
            labels = director(name, "").labels if name.startswith("d") else {}
            self.cluster.nodes[name] = replace(one, ready=True, out_of_service=False, labels=labels)
        for signs in (self.cluster.late, self.cluster.silent, self.cluster.unheard, self.cluster.heard):
            signs.clear()
        self.cluster.put(pool(self.cluster))
        self.cluster.put(service(self.cluster))
        self.cluster.settle(rounds=30)
        prepared = {one.name: one.prepared for part in self.cluster.slices.values() for one in part.content.members}
        assert prepared == {"rs1": True, "rs2": True}
        ready = find_condition(self.cluster.services[WEB].status.conditions, ConditionType.READY)
        assert (ready.status, ready.reason) == ("True", "Ready")


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=int(os.environ.get("LVS_CORE_EXAMPLES", "60")),  # a soak tries more, in another order each time
    stateful_step_count=40,
    deadline=None,
    derandomize="LVS_CORE_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
