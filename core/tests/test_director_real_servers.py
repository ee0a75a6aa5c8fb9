"""A director as a real server of its own service: the only one may be, of several none by DirectRouting or Tunnel."""

from dataclasses import replace

import pytest
from core_conditions import brief, condition
from core_objects import DIRECTOR_LABELS, director, pool, real_servers, service, small_cluster

from lvs_api.conditions import ConditionType
from lvs_core.compile import AgentView, compile_plan


def test_a_director_is_no_real_server_of_its_own_group_beside_another() -> None:
    cluster = small_cluster(directors=2)
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100", bad="192.168.4.5")))
    cluster.settle()
    ready = condition(cluster, ConditionType.READY)
    assert (ready.status, ready.reason) == ("True", "DirectorIsRealServer")
    assert "1 of 2 real servers take connections" in ready.message
    (one,) = cluster.slices.values()
    assert {member.name: member.refused for member in one.content.members} == {
        "bad": "DirectorIsRealServer",
        "rs1": None,
    }
    assert cluster.lvs_nodes["d1"].spec.addresses is None
    cluster.put(service(cluster, forwarding={"method": "Masquerade"}))
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"


@pytest.mark.parametrize("method", ["DirectRouting", "Tunnel"])
def test_the_only_director_may_be_a_real_server_of_its_own(method: str) -> None:
    cluster = small_cluster(forwarding={"method": method})
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100", here="192.168.4.5")))
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"
    assert cluster.lvs_nodes["d1"].spec.addresses is None, "it carries the VIP as a director"
    (one,) = cluster.slices.values()
    assert [(member.name, member.prepared, member.node) for member in one.content.members] == [
        ("here", True, None),
        ("rs1", True, "n1"),
    ]
    view = AgentView(node="d1", lvs_node=cluster.lvs_nodes["d1"], groups=cluster.groups, slices=(one,))
    assert [service.has_one_director for service in compile_plan(view).services()] == [True]


@pytest.mark.parametrize("is_frozen", [False, True])
def test_it_is_none_any_more_once_there_is_a_second_director(is_frozen: bool) -> None:
    cluster = small_cluster()
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100", here="192.168.4.5")))
    cluster.settle()
    if is_frozen:
        cluster.pools.clear()
    cluster.add_node(director("d2", "192.168.4.6"))
    cluster.settle()
    (one,) = cluster.slices.values()
    assert {member.name: member.refused for member in one.content.members} == {
        "here": "DirectorIsRealServer",
        "rs1": None,
    }
    assert condition(cluster, ConditionType.READY).reason == ("PoolNotFound" if is_frozen else "DirectorIsRealServer")
    view = AgentView(node="d1", lvs_node=cluster.lvs_nodes["d1"], groups=cluster.groups, slices=(one,))
    assert [service.has_one_director for service in compile_plan(view).services()] == [False]


def test_a_director_is_no_real_server_of_a_frozen_service_either() -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()
    cluster.pools.clear()
    cluster.settle()
    cluster.nodes["n1"] = replace(cluster.nodes["n1"], labels=DIRECTOR_LABELS)
    cluster.settle()
    (one,) = cluster.slices.values()
    refused = {member.name: member.refused for member in one.content.members}
    assert refused == {"rs1": "DirectorIsRealServer", "rs2": None}
    assert cluster.lvs_nodes["n1"].spec.addresses is None
