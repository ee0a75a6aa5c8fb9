"""A director as a real server of its own service: alone it needs no preparation, beside others it does."""

from dataclasses import replace

import pytest
from core_conditions import brief, condition
from core_objects import DIRECTOR_LABELS, director, pool, real_servers, service, small_cluster
from simulated_cluster import SimulatedCluster

from lvs_api.conditions import ConditionType
from lvs_core.compile import AgentView, compile_plan
from lvs_core.plan import NodePlan


def refused(cluster: SimulatedCluster) -> dict[str, str | None]:
    (one,) = cluster.slices.values()
    return {member.name: member.refused for member in one.content.members}


def plan_of(cluster: SimulatedCluster, name: str) -> NodePlan:
    slices = tuple(cluster.slices.values())
    return compile_plan(AgentView(node=name, lvs_node=cluster.lvs_nodes[name], groups=cluster.groups, slices=slices))


@pytest.mark.parametrize(("method", "device"), [("DirectRouting", "lo"), ("Tunnel", "tunl0")])
def test_one_of_several_directors_is_prepared_as_any_real_server(method: str, device: str) -> None:
    cluster = small_cluster(directors=2, forwarding={"method": method})
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100", both="192.168.4.5")))
    cluster.round()
    bound = [(one.address, one.device.value) for one in cluster.lvs_nodes["d1"].spec.addresses or ()]
    assert bound == [("192.168.4.15", device)]
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"
    (one,) = cluster.slices.values()
    members = [(member.name, member.prepared, member.node) for member in one.content.members]
    assert members == [("both", True, "d1"), ("rs1", True, "n1")]


def test_a_director_asks_no_report_of_itself_and_knows_the_others() -> None:
    cluster = small_cluster(directors=2)
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100", both="192.168.4.5")))
    cluster.settle()
    for name, is_here, node in (("d1", True, None), ("d2", False, "d1")):
        (planned,) = plan_of(cluster, name).services()
        both = next(member for member in planned.members if member.name == "both")
        assert (both.is_here, both.node, both.prepared) == (is_here, node, True)
        assert not planned.has_one_director
    (group,) = plan_of(cluster, "d1").directing
    assert [other.node for other in group.others] == ["d2"]


@pytest.mark.parametrize(
    "way",
    [
        {"addresses": None, "ports": None, "firewallMark": {"value": 7, "families": ["IPv4"]}},
        {"ports": None, "firewallMark": {"value": 7}},
        {"addresses": ["2001:db8:4::15"], "forwarding": {"method": "Tunnel", "tunnel": {"type": "GRE"}}},
    ],
)
def test_where_its_packets_can_not_be_told_apart_a_director_is_no_real_server(way: dict[str, object]) -> None:
    cluster = small_cluster(directors=2, **way)
    cluster.put(
        pool(
            cluster,
            realServers=real_servers(rs1="192.168.4.100", both="192.168.4.5"),
            healthCheck={"port": 80, "tcp": {}},
        )
    )
    cluster.settle()
    assert refused(cluster) == {"both": "DirectorIsRealServer", "rs1": None}
    assert condition(cluster, ConditionType.READY).reason == "DirectorIsRealServer"
    assert cluster.lvs_nodes["d1"].spec.addresses is None
    cluster.put(service(cluster, **{**way, "forwarding": {"method": "Masquerade"}}))
    cluster.settle()
    assert [name for name, why in refused(cluster).items() if why is not None] == []


@pytest.mark.parametrize("method", ["DirectRouting", "Tunnel"])
def test_by_an_address_that_its_node_does_not_have_one_of_several_is_no_real_server(method: str) -> None:
    """Nobody tells it to prepare itself, and the other would send it what it sends back."""
    cluster = small_cluster(directors=2, forwarding={"method": method})
    cluster.unlisted["d1"] = ["192.168.4.55"]
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100", both="192.168.4.55")))
    cluster.settle()
    assert refused(cluster) == {"both": "DirectorIsRealServer", "rs1": None}
    assert condition(cluster, ConditionType.READY).reason == "DirectorIsRealServer"
    assert "an address that its Node does not have: both" in condition(cluster, ConditionType.READY).message
    cluster.put(service(cluster, forwarding={"method": "Masquerade"}))
    cluster.settle()
    assert refused(cluster) == {"both": None, "rs1": None}


def test_the_only_director_may_be_one_by_whatever_address() -> None:
    cluster = small_cluster()
    cluster.unlisted["d1"] = ["192.168.4.55"]
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100", both="192.168.4.55")))
    cluster.settle()
    assert refused(cluster) == {"both": None, "rs1": None}


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
def test_once_there_is_a_second_director_the_first_takes_from_it_only_what_it_is_prepared_for(is_frozen: bool) -> None:
    cluster = small_cluster()
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100", here="192.168.4.5")))
    cluster.settle()
    if is_frozen:
        cluster.pools.clear()
    cluster.add_node(director("d2", "192.168.4.6"))
    cluster.round()
    (one,) = cluster.slices.values()
    here = next(member for member in one.content.members if member.name == "here")
    assert (here.node, here.prepared, here.refused) == ("d1", False, None)
    (planned,) = plan_of(cluster, "d1").services()
    assert [member.may_have_weight for member in planned.members] == [True, True], "to itself it is one as before"
    cluster.settle()
    (one,) = cluster.slices.values()
    assert all(member.prepared for member in one.content.members)
    assert condition(cluster, ConditionType.READY).reason == ("PoolNotFound" if is_frozen else "Ready")


def test_the_last_director_needs_no_preparation_any_more() -> None:
    cluster = small_cluster(directors=2)
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100", both="192.168.4.5")))
    cluster.settle()
    cluster.nodes["d2"] = replace(cluster.nodes["d2"], labels={})
    cluster.settle()
    (one,) = cluster.slices.values()
    assert {member.name: (member.node, member.prepared) for member in one.content.members} == {
        "both": (None, True),
        "rs1": ("n1", True),
    }
    assert cluster.lvs_nodes["d1"].spec.addresses is None


def test_a_real_server_that_becomes_a_director_goes_on_being_one() -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()
    cluster.pools.clear()
    cluster.settle()
    cluster.nodes["n1"] = replace(cluster.nodes["n1"], labels=DIRECTOR_LABELS)
    cluster.settle()
    assert refused(cluster) == {"rs1": None, "rs2": None}
    assert [one.address for one in cluster.lvs_nodes["n1"].spec.addresses or ()] == ["192.168.4.15"]
