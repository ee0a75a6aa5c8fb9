"""What a real server with a tunnel device is told of the directors' addresses."""

from dataclasses import replace

import pytest
from core_objects import director, pool, real_servers, small_cluster
from simulated_cluster import SimulatedCluster

from lvs_api.bind_device import BindDevice
from lvs_api.lvs_node import MAX_DIRECTOR_ADDRESSES, LvsNodeSpec, LvsNodeStatus, NodeAddress
from lvs_core.compile import AgentView, compile_plan
from lvs_core.director_addresses import merged

TUNNEL = {"forwarding": {"method": "Tunnel"}}


def told(cluster: SimulatedCluster, name: str = "n1") -> list[str] | None:
    return cluster.lvs_nodes[name].spec.director_addresses


def live(cluster: SimulatedCluster, *names: str) -> None:
    for name in names:
        cluster.act(name)
        cluster.report(name)


def test_they_are_told_when_every_director_has_named_its_own() -> None:
    cluster = small_cluster(directors=2, **TUNNEL)
    cluster.round()
    assert told(cluster) is None
    live(cluster, "d1")
    cluster.round()
    assert told(cluster) is None, "d2 may send from anywhere"
    live(cluster, "d2")
    cluster.round()
    assert told(cluster) == ["192.168.4.5", "192.168.4.6"]
    node = cluster.lvs_nodes["n1"]
    plan = compile_plan(AgentView(node="n1", lvs_node=node))
    assert [str(one) for one in plan.director_addresses] == told(cluster)


def test_a_director_that_joins_opens_the_real_servers_until_it_has_named_its_own() -> None:
    cluster = small_cluster(**TUNNEL)
    cluster.settle()
    assert told(cluster) == ["192.168.4.5"]
    cluster.add_node(director("d2", "192.168.4.6"))
    cluster.round()
    assert told(cluster) is None
    cluster.settle()
    assert told(cluster) == ["192.168.4.5", "192.168.4.6"]


def test_one_that_is_out_of_service_is_let_in_when_it_returns() -> None:
    """By VRRP it is Master before the operator has looked again."""
    cluster = small_cluster(directors=2, **TUNNEL)
    cluster.settle()
    cluster.reboot("d2")
    cluster.nodes["d2"] = replace(cluster.nodes["d2"], out_of_service=True, ready=False)
    cluster.settle()
    assert told(cluster) == ["192.168.4.5", "192.168.4.6"]
    cluster.nodes["d2"] = replace(cluster.nodes["d2"], out_of_service=False, ready=True)
    live(cluster, "d2")
    assert any(entry.needs for entry in cluster.machines["d2"].entries.values())
    assert list(cluster.kept_out()) == []


def test_one_that_was_out_of_service_before_it_named_any_may_return_with_any() -> None:
    cluster = small_cluster(directors=1, **TUNNEL)
    cluster.add_node(replace(director("d2", "192.168.4.6"), out_of_service=True))
    cluster.settle()
    assert told(cluster) is None
    cluster.nodes["d2"] = replace(cluster.nodes["d2"], labels={})
    cluster.settle()
    assert told(cluster) == ["192.168.4.5"], "no longer selected, it is no director when it returns"


def test_a_former_director_counts_until_it_has_let_go() -> None:
    cluster = small_cluster(directors=2, **TUNNEL)
    cluster.settle()
    cluster.nodes["d2"] = replace(cluster.nodes["d2"], labels={})
    cluster.round()
    assert told(cluster) == ["192.168.4.5", "192.168.4.6"]
    cluster.settle()
    assert told(cluster) == ["192.168.4.5"]


def test_as_many_as_a_status_can_name_may_not_be_all() -> None:
    cluster = small_cluster(**TUNNEL)
    cluster.settle()
    node = cluster.lvs_nodes["d1"]
    assert isinstance(node.status, LvsNodeStatus)
    many = [f"10.0.0.{number}" for number in range(1, 33)]
    cluster.lvs_nodes["d1"] = replace(node, status=node.status.model_copy(update={"own_addresses": many}))
    cluster.round()
    assert told(cluster) is None


def test_nobody_is_told_without_a_tunnel() -> None:
    cluster = small_cluster()
    cluster.settle()
    assert told(cluster) is None
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100")))
    cluster.settle()
    assert told(cluster) is None


def spec(device: BindDevice | None, *directors: str) -> LvsNodeSpec:
    addresses = [NodeAddress(address="192.168.4.15", device=device)] if device is not None else None
    return LvsNodeSpec(addresses=addresses, director_addresses=list(directors) or None)


TUNL0, LO = BindDevice.TUNL0, BindDevice.LO
MANY = [f"10.1.{number // 250}.{number % 250 + 1}" for number in range(MAX_DIRECTOR_ADDRESSES)]


@pytest.mark.parametrize(
    ("old", "new", "both"),
    [
        (spec(TUNL0), spec(TUNL0, "10.0.0.2"), ["10.0.0.2"]),
        (spec(TUNL0, "10.0.0.10"), spec(TUNL0, "10.0.0.2"), ["10.0.0.2", "10.0.0.10"]),
        (spec(TUNL0, "10.0.0.1"), spec(TUNL0), None),
        (spec(TUNL0, "10.0.0.1"), spec(LO), ["10.0.0.1"]),
        (spec(TUNL0, "10.0.0.1"), spec(None), ["10.0.0.1"]),
        (spec(TUNL0, "10.0.0.1"), spec(TUNL0, *MANY), MANY),
        (spec(LO), spec(LO), None),
    ],
)
def test_while_one_spec_takes_the_place_of_another(old: LvsNodeSpec, new: LvsNodeSpec, both: list[str] | None) -> None:
    assert merged(old, new) == both
