"""Joining and leaving, step by step."""

from dataclasses import replace

import pytest
from core_objects import WEB, pool, real_servers, service, small_cluster
from simulated_cluster import SimulatedCluster

from lvs_api.network_types import ForwardingMethod, Tunnel, TunnelType
from lvs_core.cluster_view import Member
from lvs_core.memory import Memory


def members(cluster: SimulatedCluster) -> dict[str, Member]:
    return {member.name: member for one in cluster.slices.values() for member in one.content.members}


def asked(cluster: SimulatedCluster, name: str) -> list[str]:
    node_ = cluster.lvs_nodes.get(name)
    return [f"{one.address} {one.device}" for one in (node_.spec.addresses if node_ else None) or ()]


def live(cluster: SimulatedCluster, *names: str) -> None:
    for name in names:
        cluster.act(name)
        cluster.report(name)


def active(cluster: SimulatedCluster) -> str | None:
    status = cluster.groups["default"].status
    return status.active if status is not None else None


def test_a_member_is_prepared_only_after_its_node_reported() -> None:
    cluster = small_cluster()
    cluster.round()
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]
    assert not members(cluster)["rs1"].prepared
    cluster.act("n1")
    cluster.round()
    assert not members(cluster)["rs1"].prepared
    cluster.report("n1")
    cluster.round()
    assert members(cluster)["rs1"].prepared
    assert members(cluster)["rs1"].boot_id == "n1-boot-1"
    assert not members(cluster)["rs2"].prepared


def test_an_old_report_of_the_same_address_does_not_count_for_a_new_member() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.delete_service(WEB)
    live(cluster, "d1")
    cluster.finish("d1")
    cluster.report("d1")
    cluster.round()
    assert asked(cluster, "n1") == []
    cluster.put(service(cluster))
    cluster.round()
    cluster.round()
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]
    assert not members(cluster)["rs1"].prepared
    live(cluster, "n1")
    cluster.round()
    assert members(cluster)["rs1"].prepared


def test_nobody_loses_weight_when_most_nodes_are_not_ready() -> None:
    """So it looks when the API server comes back after an outage longer than the node controller's grace."""
    cluster = small_cluster()
    cluster.settle()
    before = {name: member.prepared for name, member in members(cluster).items()}
    assert all(before.values())
    for name, one in cluster.nodes.items():
        cluster.nodes[name] = replace(one, ready=False)
    cluster.round()
    assert {name: member.prepared for name, member in members(cluster).items()} == before
    cluster.nodes["n1"] = replace(cluster.nodes["n1"], boot_id="another")
    cluster.round()
    assert {name for name, member in members(cluster).items() if not member.prepared} == {"rs1"}


def test_what_is_no_news_gives_nobody_weight_either() -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()
    for name in ("n1", "n2", "d2"):
        cluster.nodes[name] = replace(cluster.nodes[name], ready=False)
        cluster.round()
    assert not any(member.prepared for member in members(cluster).values())


def test_a_plain_machine_that_joins_the_cluster_keeps_its_weight_until_its_agent_has_reported() -> None:
    cluster = small_cluster()
    joining = cluster.nodes.pop("n1")
    cluster.settle()
    assert (members(cluster)["rs1"].node, members(cluster)["rs1"].prepared) == (None, True)
    cluster.add_node(joining)
    cluster.round()
    cluster.round()
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]
    assert (members(cluster)["rs1"].node, members(cluster)["rs1"].prepared) == (None, True)
    live(cluster, "n1")
    cluster.round()
    assert (members(cluster)["rs1"].node, members(cluster)["rs1"].boot_id) == ("n1", "n1-boot-1")
    cluster.nodes["n1"] = replace(cluster.nodes["n1"], ready=False)
    cluster.round()
    assert not members(cluster)["rs1"].prepared


def test_prepared_is_withdrawn_when_the_agent_falls_silent() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.late |= {"n1"}
    cluster.round()
    assert members(cluster)["rs1"].prepared
    cluster.silent |= {"n1"}
    cluster.round()
    assert {name: member.prepared for name, member in members(cluster).items()} == {"rs1": False, "rs2": True}
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]
    cluster.silent.clear()
    cluster.round()
    assert members(cluster)["rs1"].boot_id == "n1-boot-1"


def test_nobody_loses_weight_when_most_agents_are_late() -> None:
    """So it looks when their renewals do not get through, also before the last of them has run out."""
    cluster = small_cluster()
    cluster.settle()
    cluster.late |= {"n1", "d1"}
    cluster.silent |= {"n2"}
    cluster.round()
    assert {member.prepared for member in members(cluster).values()} == {True}
    cluster.put(service(cluster, addresses=["192.168.4.16"]))
    cluster.settle()
    assert {name: member.prepared for name, member in members(cluster).items()} == {"rs1": True, "rs2": False}


def test_an_agent_that_a_new_operator_has_not_heard_keeps_what_it_has_and_gets_nothing_new() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.silent |= {"n2"}
    cluster.round()
    cluster.memory = Memory()
    cluster.silent.clear()
    cluster.unheard |= {"n1", "n2"}
    cluster.round()
    assert {name: member.prepared for name, member in members(cluster).items()} == {"rs1": True, "rs2": False}
    cluster.unheard.clear()
    cluster.round()
    assert {member.prepared for member in members(cluster).values()} == {True}


def test_a_node_whose_agent_renews_its_lease_is_not_gone() -> None:
    """The node controller calls Nodes not ready for a moment when the API server was away; a kubelet may be stopped."""
    cluster = small_cluster()
    cluster.settle()
    cluster.nodes["n1"] = replace(cluster.nodes["n1"], ready=False)
    cluster.heard.add("n1")
    cluster.round()
    assert members(cluster)["rs1"].prepared
    cluster.late.add("n1")
    cluster.round()
    assert not members(cluster)["rs1"].prepared


def test_a_new_operator_waits_for_the_agent_of_a_node_that_is_not_ready() -> None:
    """It runs, as the operator before knew: its members would lose weight until its Lease is renewed."""
    cluster = small_cluster()
    cluster.settle()
    cluster.nodes["n1"] = replace(cluster.nodes["n1"], ready=False)
    cluster.memory = Memory()
    cluster.unheard |= set(cluster.nodes)
    cluster.round()
    assert members(cluster)["rs1"].prepared
    cluster.put(service(cluster, addresses=["192.168.4.16"]))
    cluster.settle()
    assert not members(cluster)["rs1"].prepared, "nothing new is believed"
    cluster.put(service(cluster))
    cluster.unheard.clear()
    cluster.heard |= set(cluster.nodes)
    cluster.settle()
    assert members(cluster)["rs1"].prepared
    cluster.heard.clear()
    cluster.unheard.add("n1")
    cluster.late.add("n1")
    cluster.round()
    assert not members(cluster)["rs1"].prepared


def test_a_new_operator_names_no_director_that_may_be_off() -> None:
    """It would stay the one until somebody says that it is off."""
    cluster = small_cluster(directors=2)
    cluster.settle()
    cluster.nodes["d1"] = replace(cluster.nodes["d1"], labels={})
    cluster.settle()
    assert active(cluster) == "d2"
    cluster.nodes["d1"] = replace(cluster.nodes["d1"], labels=cluster.nodes["d2"].labels)
    cluster.settle()
    cluster.nodes["d1"] = replace(cluster.nodes["d1"], ready=False)
    cluster.nodes["d2"] = replace(cluster.nodes["d2"], out_of_service=True)
    cluster.memory = Memory()
    cluster.unheard.add("d1")
    cluster.round()
    assert active(cluster) is None
    cluster.unheard.clear()
    cluster.heard.add("d1")
    cluster.round()
    assert active(cluster) == "d1"


def test_prepared_is_withdrawn_when_the_node_is_not_ready_or_started_again() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.nodes["n1"] = replace(cluster.nodes["n1"], ready=False)
    cluster.round()
    assert not members(cluster)["rs1"].prepared
    cluster.nodes["n1"] = replace(cluster.nodes["n1"], ready=True)
    cluster.round()
    assert members(cluster)["rs1"].prepared
    cluster.reboot("n1")
    cluster.report("n1")
    cluster.round()
    assert not members(cluster)["rs1"].prepared
    live(cluster, "n1")
    cluster.round()
    assert members(cluster)["rs1"].boot_id == "n1-boot-2"


def test_the_kubelet_tells_of_a_new_boot_before_the_agent_does() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.nodes["n1"] = replace(cluster.nodes["n1"], boot_id="n1-boot-2")
    cluster.round()
    assert not members(cluster)["rs1"].prepared


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_lvs_node_that_is_gone_is_no_news_of_its_node(everywhere: bool) -> None:
    """Its agent keeps what it has, and so do the directors."""
    cluster = small_cluster()
    cluster.settle()
    before = {key: one.meta.generation for key, one in cluster.slices.items()}
    specs = {name: one.spec for name, one in cluster.lvs_nodes.items()}
    for name in list(cluster.lvs_nodes) if everywhere else ["n1"]:
        del cluster.lvs_nodes[name]
    cluster.round()
    assert {name: one.spec for name, one in cluster.lvs_nodes.items()} == specs, "made anew"
    cluster.round()
    assert {key: one.meta.generation for key, one in cluster.slices.items()} == before
    cluster.nodes["n1"] = replace(cluster.nodes["n1"], boot_id="n1-boot-2")
    cluster.round()
    assert not members(cluster)["rs1"].prepared, "this is news"
    assert members(cluster)["rs2"].prepared


def test_a_node_that_never_reported_is_not_prepared() -> None:
    cluster = small_cluster()
    cluster.round()
    del cluster.lvs_nodes["n1"]
    cluster.round()
    assert not members(cluster)["rs1"].prepared


def test_leaving_drains_then_removes_then_gives_up_the_address() -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()
    cluster.put(pool(cluster, realServers=real_servers(rs2="192.168.4.200")))
    cluster.round()
    assert members(cluster)["rs1"].draining_seconds == 300
    live(cluster, "d1", "d2")
    cluster.round()
    assert "rs1" in members(cluster)
    cluster.finish("d1")
    cluster.report("d1")
    cluster.round()
    assert "rs1" in members(cluster), "d2 still has connections"
    cluster.finish("d2")
    cluster.report("d2")
    cluster.round()
    assert "rs1" not in members(cluster)
    assert asked(cluster, "n1") == ["192.168.4.15 lo"], "the directors have not said that the entry is gone"
    live(cluster, "d1")
    cluster.round()
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]
    live(cluster, "d2")
    cluster.round()
    assert asked(cluster, "n1") == []
    assert "n1" in cluster.round().agent_nodes, "the node has not said that it is clean"
    live(cluster, "n1")
    assert "n1" not in cluster.round().agent_nodes
    assert "n1" not in cluster.lvs_nodes


def test_a_director_that_is_silent_holds_up_the_address_until_its_node_is_gone() -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()
    cluster.nodes["d2"] = replace(cluster.nodes["d2"], ready=False)
    cluster.put(pool(cluster, realServers=real_servers(rs2="192.168.4.200")))
    cluster.round()
    live(cluster, "d1")
    cluster.finish("d1")
    cluster.report("d1")
    cluster.round()
    assert "rs1" not in members(cluster), "a director that is not available is not waited for"
    live(cluster, "d1")
    cluster.round()
    assert asked(cluster, "n1") == ["192.168.4.15 lo"], "but it may still forward"
    del cluster.nodes["d2"]
    cluster.round()
    assert asked(cluster, "n1") == []


def test_a_restarted_operator_waits_until_it_understands_the_directors() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.delete_service(WEB)
    cluster.memory = Memory()
    cluster.round()
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]
    cluster.act("d1")
    cluster.report("d1")
    cluster.round()
    assert asked(cluster, "n1") == ["192.168.4.15 lo"], "the director drains what vanished"
    cluster.finish("d1")
    cluster.report("d1")
    cluster.round()
    assert asked(cluster, "n1") == []


def test_leftovers_of_a_view_that_is_not_known_do_not_count_for_one_that_was() -> None:
    """A director that starts again from what it serves, and not from what the slices are, says nothing of leftovers."""
    cluster = small_cluster()
    cluster.settle()
    cluster.delete_service(WEB)
    live(cluster, "d1")
    cluster.round()
    (said,) = cluster.lvs_nodes["d1"].status.exceptions
    assert said.draining
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]
    d1 = cluster.lvs_nodes["d1"]
    (group,) = d1.status.director_groups
    stranger = group.model_copy(update={"view_digest": "0" * 64})
    status = d1.status.model_copy(update={"director_groups": [stranger], "exceptions": None})
    cluster.lvs_nodes["d1"] = replace(d1, status=status)
    cluster.round()
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]
    cluster.finish("d1")
    cluster.report("d1")
    cluster.round()
    assert asked(cluster, "n1") == []


def test_slices_that_return_do_not_make_an_old_report_a_new_one() -> None:
    """The digest of no slices at all is always the same."""
    cluster = small_cluster()
    cluster.settle()
    cluster.delete_service(WEB)
    cluster.settle()
    cluster.put(service(cluster))
    cluster.round()
    live(cluster, "n1", "n2")
    cluster.round()
    assert members(cluster)["rs1"].prepared
    cluster.act("d1")  # forwards, and has not reported it
    cluster.round()
    cluster.delete_service(WEB)
    cluster.round()
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]
    cluster.report("d1")
    cluster.round()
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]
    live(cluster, "d1")
    cluster.finish("d1")
    cluster.report("d1")
    cluster.round()
    assert asked(cluster, "n1") == []


def test_what_was_prepared_and_deleted_between_two_looks_counts_too() -> None:
    cluster = small_cluster()
    cluster.round()
    live(cluster, "n1", "n2", "d1")
    cluster.round()
    cluster.act("d1")
    cluster.delete_service(WEB)
    cluster.round()
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]


def test_a_report_that_fits_several_views_is_taken_for_the_earliest_that_is_possible() -> None:
    cluster = small_cluster()
    del cluster.services[WEB]
    cluster.settle()
    cluster.put(service(cluster))  # never prepared: the nodes are asleep
    cluster.round()
    live(cluster, "d1")
    cluster.round()
    cluster.delete_service(WEB)
    cluster.round()
    cluster.put(service(cluster))
    cluster.round()
    live(cluster, "n1", "n2")
    cluster.round()
    assert members(cluster)["rs1"].prepared
    cluster.round()
    cluster.delete_service(WEB)
    cluster.round()
    cluster.act("d1", behind=3)
    cluster.report("d1")  # of no slices, as after the first deletion
    cluster.round()
    cluster.act("d1", behind=1)
    assert list(cluster.forwarded_without_address()) == []
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]


def test_what_is_asked_of_a_node_for_another_service_does_not_touch_who_is_prepared() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.put(service(cluster, "other", addresses=["192.168.4.16"], realServerPoolRef={"name": "web"}))
    cluster.round()
    cluster.round()
    prepared = {
        (one.content.service_name, member.name): member.prepared
        for one in cluster.slices.values()
        for member in one.content.members
    }
    assert prepared == {("other", "rs1"): False, ("other", "rs2"): False, ("web", "rs1"): True, ("web", "rs2"): True}


def test_a_drain_report_of_an_earlier_drain_does_not_count() -> None:
    cluster = small_cluster()
    cluster.settle()
    gone, there = real_servers(rs2="192.168.4.200"), real_servers(rs1="192.168.4.100", rs2="192.168.4.200")
    cluster.put(pool(cluster, realServers=gone))
    cluster.round()
    live(cluster, "d1")
    cluster.finish("d1")
    cluster.report("d1")
    cluster.put(pool(cluster, realServers=there))
    cluster.round()
    assert members(cluster)["rs1"].draining_seconds is None
    cluster.act("d1")  # rs1 has weight again, and this is not reported
    cluster.put(pool(cluster, realServers=gone))
    cluster.round()
    cluster.round()
    assert members(cluster)["rs1"].draining_seconds == 300


def test_a_former_director_counts_until_it_has_said_that_it_let_go() -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()
    cluster.nodes["d2"] = replace(cluster.nodes["d2"], labels={})
    cluster.delete_service(WEB)
    cluster.round()
    live(cluster, "d1")
    cluster.finish("d1")
    cluster.report("d1")
    cluster.round()
    assert asked(cluster, "n1") == ["192.168.4.15 lo"], "d2 may forward still"
    live(cluster, "d2")
    cluster.round()
    assert asked(cluster, "n1") == []


@pytest.mark.parametrize("operator_restarts", [False, True])
def test_a_former_active_director_whose_lvs_node_was_deleted_is_asked_to_let_go(operator_restarts: bool) -> None:
    """Its agent takes nothing away because the LvsNode is missing: it carries the addresses still."""
    cluster = small_cluster(directors=2)
    cluster.settle()
    (active,) = cluster.holders("default")
    (other,) = {"d1", "d2"} - {active}
    cluster.nodes[active] = replace(cluster.nodes[active], labels={})
    del cluster.lvs_nodes[active]
    if operator_restarts:
        cluster.memory = Memory()
    cluster.round()
    status = cluster.groups["default"].status
    assert status is not None
    assert status.active == active
    assert cluster.lvs_nodes[active].spec.director_groups == ["default"], "an agent acts on edits only"
    cluster.round()
    assert cluster.lvs_nodes[active].spec.director_groups == ["default"], "until it has reported on this one"
    cluster.settle()
    assert cluster.holders("default") == [other]
    assert active not in cluster.lvs_nodes


def test_prepared_withdrawn_does_not_give_up_the_address_early() -> None:
    """Connections from before live on at a member without weight."""
    cluster = small_cluster()
    cluster.settle()
    cluster.nodes["n1"] = replace(cluster.nodes["n1"], ready=False)
    cluster.round()
    live(cluster, "d1")
    cluster.round()
    cluster.delete_service(WEB)
    cluster.round()
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]


def test_a_disabled_member_leaves_at_once() -> None:
    cluster = small_cluster()
    cluster.settle()
    servers = [{**one, "state": "Disabled"} for one in real_servers(rs1="192.168.4.100")]
    cluster.put(pool(cluster, realServers=[*servers, *real_servers(rs2="192.168.4.200")]))
    cluster.round()
    assert members(cluster)["rs1"].draining_seconds == 0


def test_a_draining_member_that_returns_stays() -> None:
    cluster = small_cluster()
    cluster.settle()
    before = members(cluster)
    cluster.put(pool(cluster, realServers=real_servers(rs2="192.168.4.200")))
    cluster.round()
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100", rs2="192.168.4.200")))
    cluster.round()
    assert members(cluster)["rs1"] == before["rs1"]


def test_a_renamed_member_is_not_drained() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.put(pool(cluster, realServers=real_servers(new="192.168.4.100", rs2="192.168.4.200")))
    cluster.round()
    assert set(members(cluster)) == {"new", "rs2"}
    assert members(cluster)["new"].prepared


@pytest.mark.parametrize(
    "servers",
    [
        [{"name": "new", "address": "192.168.4.100", "port": 80}, {"name": "rs2", "address": "192.168.4.200"}],
        [{"name": "rs2", "address": "192.168.4.100"}],
    ],
    ids=["renamed and its port named", "moved to where another was"],
)
def test_a_destination_that_lives_on_under_another_name_is_not_drained(servers: list[dict[str, object]]) -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.put(pool(cluster, realServers=servers))
    cluster.settle()
    assert set(members(cluster)) == {one["name"] for one in servers}
    assert all(member.prepared and member.draining_seconds is None for member in members(cluster).values())


def test_from_direct_routing_to_masquerade_the_node_keeps_the_vip_until_old_connections_ended() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.put(service(cluster, forwarding={"method": "Masquerade"}))
    cluster.round()
    rs1 = members(cluster)["rs1"]
    assert (rs1.forwarding.method, rs1.prepared) == (ForwardingMethod.MASQUERADE, True)
    assert rs1.former is not None
    assert rs1.former.forwarding.method is ForwardingMethod.DIRECT_ROUTING
    live(cluster, "d1")
    cluster.round()
    cluster.round()
    assert members(cluster)["rs1"].former is not None
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]
    cluster.settle()
    assert members(cluster)["rs1"].former is None
    assert asked(cluster, "n1") == []


def test_from_masquerade_to_direct_routing_the_old_method_goes_on_until_the_node_is_ready() -> None:
    cluster = small_cluster(forwarding={"method": "Masquerade"})
    cluster.settle()
    assert asked(cluster, "n1") == []
    cluster.put(service(cluster, forwarding={"method": "DirectRouting"}))
    cluster.round()
    rs1 = members(cluster)["rs1"]
    assert (rs1.forwarding.method, rs1.prepared) == (ForwardingMethod.MASQUERADE, True)
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]
    live(cluster, "n1")
    cluster.round()
    rs1 = members(cluster)["rs1"]
    assert (rs1.forwarding.method, rs1.prepared) == (ForwardingMethod.DIRECT_ROUTING, True)
    assert rs1.former is not None, "directors forward the answers of its connections still"
    assert rs1.former.forwarding.method is ForwardingMethod.MASQUERADE
    cluster.settle()
    assert members(cluster)["rs1"].former is None


def test_from_direct_routing_to_tunnel_and_back() -> None:
    cluster = small_cluster()
    cluster.settle()
    for method, devices in (("Tunnel", ["192.168.4.15 tunl0"]), ("DirectRouting", ["192.168.4.15 lo"])):
        cluster.put(service(cluster, forwarding={"method": method}))
        cluster.round()
        assert asked(cluster, "n1") == ["192.168.4.15 lo", "192.168.4.15 tunl0"]
        assert members(cluster)["rs1"].forwarding.method != method
        assert members(cluster)["rs1"].prepared
        cluster.settle()
        assert members(cluster)["rs1"].forwarding.method == method
        assert asked(cluster, "n1") == devices


def test_from_ipip_to_gre_the_node_has_both_devices_until_connections_ended() -> None:
    cluster = small_cluster(forwarding={"method": "Tunnel"})
    cluster.settle()
    cluster.put(service(cluster, forwarding={"method": "Tunnel", "tunnel": {"type": "GRE"}}))
    cluster.round()
    assert asked(cluster, "n1") == ["192.168.4.15 gre0", "192.168.4.15 tunl0"]
    one = members(cluster)["rs1"]
    assert (one.forwarding.tunnel, one.prepared) == (Tunnel(), True)
    live(cluster, "n1")
    cluster.round()
    one = members(cluster)["rs1"]
    assert (one.forwarding.tunnel, one.prepared) == (Tunnel(type=TunnelType.GRE), True)
    assert one.former is not None
    assert asked(cluster, "n1") == ["192.168.4.15 gre0", "192.168.4.15 tunl0"]
    cluster.settle()
    assert asked(cluster, "n1") == ["192.168.4.15 gre0"]


def test_a_member_that_leaves_after_an_edit_of_its_method_is_gone_when_it_has_drained() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.put(service(cluster, forwarding={"method": "Masquerade"}))
    cluster.round()
    live(cluster, "d1")
    cluster.put(pool(cluster, realServers=real_servers(rs2="192.168.4.200")))
    cluster.round()
    rs1 = members(cluster)["rs1"]
    assert (rs1.draining_seconds, rs1.former is not None) == (300, True)
    live(cluster, "d1")
    cluster.round()
    assert "rs1" in members(cluster)
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]
    cluster.finish("d1")
    cluster.report("d1")
    cluster.round()
    assert set(members(cluster)) == {"rs2"}
    cluster.settle()
    assert asked(cluster, "n1") == []


def test_a_service_made_and_deleted_before_anything_was_prepared_leaves_nothing() -> None:
    cluster = small_cluster()
    cluster.round()
    cluster.delete_service(WEB)
    cluster.round()
    assert asked(cluster, "n1") == []


def test_everything_goes_when_the_service_goes() -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()
    cluster.delete_service(WEB, collect=False)
    cluster.settle()
    assert cluster.slices == {}
    assert set(cluster.lvs_nodes) == {"d1", "d2"}
    assert not any(machine.bound or machine.entries for machine in cluster.machines.values())


def test_at_rest_nothing_changes() -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()
    first, second = cluster.round(), cluster.round()
    assert first == second


def test_source_nat_is_edited_in_place_while_connections_of_a_former_method_end() -> None:
    """How packets reach the real server is the same: there is nothing to wait for, and nothing to forget."""
    cluster = small_cluster()
    cluster.settle()
    cluster.put(service(cluster, forwarding={"method": "Masquerade"}))
    cluster.round()
    former = members(cluster)["rs1"].former
    assert former is not None
    for wanted in (True, None):
        cluster.put(service(cluster, forwarding={"method": "Masquerade", "sourceNat": wanted or False}))
        cluster.round()
        one = members(cluster)["rs1"]
        assert (one.forwarding.source_nat, one.former, one.prepared) == (wanted, former, True)
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]


def test_a_member_with_a_method_of_its_own_has_not_the_services_source_nat() -> None:
    own = [{**one, "forwarding": {"method": "Masquerade"}} for one in real_servers(rs1="192.168.4.100")]
    cluster = small_cluster(forwarding={"method": "Masquerade", "sourceNat": True})
    cluster.put(pool(cluster, realServers=[*own, *real_servers(rs2="192.168.4.200")]))
    cluster.settle()
    found = {name: member.forwarding.source_nat for name, member in members(cluster).items()}
    assert found == {"rs1": None, "rs2": True}
