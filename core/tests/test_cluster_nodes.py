"""What is made of Nodes, whose addresses nobody has checked."""

from typing import Any

import pytest
from core_objects import group, node, pool, service
from simulated_cluster import SimulatedCluster

from lvs_api.violations import InvalidObject
from lvs_core.cluster_view import ClusterNode
from lvs_core.view_objects import node_from_raw, slice_to_raw


def a_node(**parts: object) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "uid": "u"}, **parts}


def addressed(*addresses: str) -> ClusterNode:
    return node_from_raw(a_node(status={"addresses": [{"type": "InternalIP", "address": one} for one in addresses]}))


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("192.168.4.100", ("192.168.4.100",)),
        ("fd00::0001", ("fd00::1",)),
        ("FD00::ab", ("fd00::ab",)),
        ("fe80::1%eth0", ()),
        ("::ffff:10.0.0.1", ()),
        ("127.0.0.1", ()),
        ("host-1", ()),
    ],
)
def test_addresses_are_canonical_and_those_of_hosts(said: str, kept: tuple[str, ...]) -> None:
    assert addressed(said).internal_addresses == kept


def test_a_node_with_odd_addresses_ends_nothing() -> None:
    cluster = SimulatedCluster()
    cluster.add_node(node("d1", "fd00::5", labels={"lvs-director": "true"}))
    odd = addressed("fe80::1%eth0", "FD00::0100")
    cluster.add_node(node("n1", odd.internal_addresses[0], labels={"pool": "web"}))
    cluster.put(group(cluster))
    cluster.put(pool(cluster, realServers=None, nodes={"selector": {"matchLabels": {"pool": "web"}}}))
    cluster.put(service(cluster, addresses=["fd00::15"]))
    cluster.settle()
    written = [slice_to_raw(one.content) for one in cluster.slices.values()]
    assert [member["address"] for one in written for member in one["members"]] == ["fd00::100"]


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"status": 5}, "status"),
        ({"spec": [1]}, "spec"),
        ({"spec": {"taints": ["x"]}}, "spec.taints"),
        ({"status": {"addresses": ["192.168.4.1"]}}, "status.addresses"),
        ({"status": {"addresses": {"a": 1}}}, "status.addresses"),
        ({"status": {"conditions": 1}}, "status.conditions"),
        ({"status": {"nodeInfo": "x"}}, "status.nodeInfo"),
    ],
)
def test_a_part_of_another_shape_is_named(parts: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidObject, match=field):
        node_from_raw(a_node(**parts))
