"""Nodes that a group names and that are no directors of it: told on the group, which goes on as it was."""

from typing import Any

import pytest
from core_objects import group, small_cluster
from simulated_cluster import SimulatedCluster
from test_vrrp_groups import ONE, ready, says, status, vrrp_cluster

REMEDY = (
    "; what is set there counts for nothing until it names a director of the group: correct the name, or label the Node"
)


def listed(*names: str) -> list[dict[str, Any]]:
    return [{"node": name, "priority": 150 - place} for place, name in enumerate(names)]


def speaking() -> SimulatedCluster:
    """With VRRP; d1 is Master, d2 Backup."""
    cluster = vrrp_cluster()
    says(cluster, "d1", "Master")
    says(cluster, "d2", "Backup")
    cluster.settle()
    return cluster


def edited(cluster: SimulatedCluster, priorities: list[dict[str, Any]], maintenance: list[str] | None = None) -> None:
    vrrp = {**ONE, "priorities": priorities}
    cluster.put(group(cluster, failover="VRRP", vrrp=vrrp, maintenance=maintenance))


def test_a_group_that_names_its_directors_only_says_nothing_more() -> None:
    cluster = speaking()
    edited(cluster, listed("d1", "d2"), ["d2"])
    assert ready(cluster).message == "Master is d1 of virtual router 55"


def test_a_mistyped_name_is_told_with_its_field_and_the_group_stays_ready() -> None:
    cluster = speaking()
    edited(cluster, listed("d1", "d3"), ["dd2"])
    found = ready(cluster)
    assert (found.status, found.reason) == ("True", "Ready")
    assert found.message == (
        "Master is d1 of virtual router 55; spec.vrrp.priorities[1].node: there is no Node d3; "
        f"spec.maintenance[0]: there is no Node dd2{REMEDY}"
    )
    edited(cluster, listed("d1", "d2"))
    assert ready(cluster).message == "Master is d1 of virtual router 55"


def test_a_node_that_is_no_director_is_told_apart_from_one_that_is_not_there() -> None:
    cluster = speaking()
    edited(cluster, listed("d1", "d2"), ["n1"])
    assert f"; spec.maintenance[0]: spec.nodes.selector does not find Node n1{REMEDY}" in ready(cluster).message


def test_without_vrrp_it_is_told_too() -> None:
    cluster = small_cluster()
    cluster.put(group(cluster, maintenance=["d9"]))
    cluster.settle()
    found = ready(cluster)
    assert (found.status, found.message) == (
        "True",
        f"d1 is the active director; spec.maintenance[0]: there is no Node d9{REMEDY}",
    )


def test_a_director_whose_node_is_gone_for_a_while_breaks_nothing() -> None:
    """The others' priorities stay, and it has its own again when it is back."""
    cluster = speaking()
    before = status(cluster).virtual_routers
    gone = cluster.nodes.pop("d2")
    found = ready(cluster)
    assert (found.status, found.reason) == ("True", "Ready")
    assert f"; spec.vrrp.priorities[1].node: there is no Node d2{REMEDY}" in found.message
    (router,) = status(cluster).virtual_routers or ()
    assert [(one.node, one.priority) for one in router.priorities or ()] == [("d1", 150)]
    cluster.nodes["d2"] = gone
    assert status(cluster).virtual_routers == before
    assert "there is no Node" not in ready(cluster).message


@pytest.mark.parametrize(("strangers", "more"), [(4, ""), (5, "; and 1 more"), (7, "; and 3 more")])
def test_of_many_the_first_few_are_named(strangers: int, more: str) -> None:
    cluster = speaking()
    edited(cluster, listed("d1", "d2"), [f"x{number}" for number in range(strangers)])
    message = ready(cluster).message
    assert message.endswith(f"; spec.maintenance[3]: there is no Node x3{more}{REMEDY}")
    assert message.count("there is no Node") == 4


def test_where_no_node_is_a_director_only_that_is_told() -> None:
    cluster = vrrp_cluster(directors=0)
    found = ready(cluster)
    assert found.reason == "NoDirectors"
    assert "priorities" not in found.message
