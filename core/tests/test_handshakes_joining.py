"""Joining, step by step: who is prepared, by whose word, and when that is withdrawn."""

from dataclasses import replace

import pytest
from core_objects import WEB, service, small_cluster
from handshake_looks import active, asked, live, members

from lvs_core.memory import Memory


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
