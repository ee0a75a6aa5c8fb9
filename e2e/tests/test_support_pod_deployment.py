"""The topology of scenarios whose agents are pods."""

from ipaddress import IPv4Address

from lvs_lab.kubelet_node import pod_routes
from lvs_lab.lab import standard_topology
from lvs_lab.topology import merge_topologies, parse_topology
from support.pod_deployment import OPERATOR_NODE, OPERATOR_TOPOLOGY, with_kubelets


def test_nodes_have_kubelets_and_machines_outside_the_cluster_have_none() -> None:
    text = """
segments: [lan]
nodes:
  inside: {interfaces: {eth0: {segment: lan, addresses: [192.168.4.5/24]}}}
  outside: {inCluster: false, interfaces: {eth0: {segment: lan, addresses: [192.168.4.6/24]}}}
"""
    nodes = {node.name: node for node in parse_topology(with_kubelets(text)).nodes}
    assert {name: node.kubelet for name, node in nodes.items()} == {"inside": True, "outside": False}


def test_the_operator_has_a_node_of_its_own_beside_those_of_a_scenario() -> None:
    both = parse_topology(merge_topologies([with_kubelets(standard_topology("failover")), OPERATOR_TOPOLOGY]))
    (operator,) = (node for node in both.nodes if node.name == OPERATOR_NODE)
    assert operator.kubelet
    assert operator.node_addresses == (IPv4Address("192.168.250.10"),)


def test_a_node_without_a_gateway_reaches_services_over_the_management_network() -> None:
    topology = parse_topology(with_kubelets(standard_topology("failover")))
    assert not topology.nodes[0].gateways
    assert pod_routes(topology, topology.nodes[0])[-1] == "route add 10.96.0.0/16 dev ctl0"
