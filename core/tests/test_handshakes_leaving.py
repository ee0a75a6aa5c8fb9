"""Leaving, step by step: what drains, what is removed, and when an address is given up."""

from dataclasses import replace

import pytest
from core_objects import WEB, pool, real_servers, service, small_cluster
from handshake_looks import asked, live, members

from lvs_core.memory import Memory


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
