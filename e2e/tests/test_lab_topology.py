"""What a topology file may say, and how a mistake in it is told."""

import pytest

from lvs_lab.artifacts import PACKAGE
from lvs_lab.errors import TopologyError
from lvs_lab.lab import standard_topology
from lvs_lab.topology import Kind, Part, Topology, merge_topologies, parse_topology

SMALL = """
segments: [lan]
nodes:
  d1:
    interfaces: {eth0: {segment: lan, addresses: [192.168.4.5/24, "fd00:4::5/64"]}}
"""


def small(node: str = "", top: str = "") -> str:
    """The smallest topology with one more field of its node, and one more on top."""
    return SMALL + (f"    {node}\n" if node else "") + (f"{top}\n" if top else "")


def test_defaults() -> None:
    (node,) = parse_topology(SMALL).nodes
    assert (node.kind, node.kubelet, node.in_cluster, node.memory_mib) == (Kind.GUEST, False, True, 512)
    assert node.interfaces[0].carrier
    assert [str(address) for address in node.node_addresses] == ["192.168.4.5", "fd00:4::5"]


def test_everything_that_can_be_said() -> None:
    topology = parse_topology(
        """
        segments: [lan, far]
        controlPlane: {network: 10.99.0.0/24}
        nodes:
          d1:
            role: director
            kubelet: true
            kubeProxy: ipvs
            memoryMiB: 800
            carrier: false
            labels: {a/b: "c"}
            sysctls: {net.ipv4.ip_forward: "1"}
            modules: [ip_vs]
            gateways: [192.168.4.1]
            routes: [{to: 10.9.0.0/16, via: 192.168.4.2}]
            interfaces: {eth0: {segment: lan, addresses: [192.168.4.5/24]}, eth1: {segment: far}}
        routers: {gw: {kind: guest, interfaces: {eth0: {segment: lan, addresses: [192.168.4.1/24]}}}}
        clients: {c: {interfaces: {eth0: {segment: far, addresses: [172.16.24.9/24]}}}}
        """
    )
    node, router, client = topology.machines
    assert (node.role, node.kube_proxy, node.memory_mib, node.modules) == ("director", "ipvs", 800, ("ip_vs",))
    assert (router.part, router.kind, client.kind) == (Part.ROUTER, Kind.GUEST, Kind.NAMESPACE)
    assert str(topology.control_address(node)) == "10.99.0.11/24"
    assert [machine.index for machine in topology.machines] == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nodes: [", "topology: while parsing"),
        ("segments: [lan]", "topology.nodes: a lab needs at least one node"),
        (small(top="colour: red"), "topology: unknown field colour"),
        (small(node="memory: 512"), "topology.nodes.d1: unknown field memory"),
        (small(node="memoryMiB: 64"), "topology.nodes.d1.memoryMiB: a whole number from 128 is wanted, not 64"),
        (small(node="kubelet: Maybe"), "topology.nodes.d1.kubelet: true or false is wanted, not 'Maybe'"),
        (small(node="kind: namespace"), "topology.nodes.d1.kind: a node needs a kernel of its own"),
        (small(node="kind: box"), "topology.nodes.d1.kind: 'box' is none of guest, namespace"),
        (small(node="sysctls: {a: 1}"), "topology.nodes.d1.sysctls: a mapping of texts"),
        (small(node="gateways: [192.168.4]"), "topology.nodes.d1.gateways: '192.168.4' does not appear to be"),
        (small(node="routes: [{to: 10.0.0.1/8, via: 192.168.4.1}]"), "topology.nodes.d1.routes[0].to: 10.0.0.1/8 has"),
        (small(node="routes: [{to: 10.0.0.0/8}]"), "topology.nodes.d1.routes[0].via: is missing"),
        (
            small(node="routes: [{to: 10.0.0.0/8, via: 10.9.0.1}]"),
            "topology.nodes.d1.routes[0].via: 10.9.0.1 is in no network of the machine's cards",
        ),
        (small(node="routes: [{to: 10.0.0.0/8, via: 'fd00:4::1'}]"), "d1.routes[0]: 10.0.0.0/8 and fd00:4::1 are of"),
        (small(node="gateways: [10.9.0.1]"), "topology.nodes.d1.gateways: 10.9.0.1 is in no network of the machine's"),
        (small(node="gateways: [192.168.4.1, 192.168.4.2]"), "d1.gateways: one of each family, not two of IPv4"),
        (small(top="controlPlane: {network: 10.99.0.0/29}"), "controlPlane.network: 10.99.0.0/29 has too few"),
        (SMALL.replace("[lan]", "[lan, lan]"), "topology.segments: lan is there twice"),
        (SMALL.replace("d1", "net"), "topology.nodes.net: the name 'net' is the lab's own"),
        (SMALL.replace("d1", "D1"), "topology.nodes.D1: 'D1' is not a name"),
        (SMALL.replace("eth0", "tunl0"), "topology.nodes.d1.interfaces.tunl0: 'tunl0' can not be the name of a card"),
        (SMALL.replace("lan,", "wan,"), "topology.nodes.d1.interfaces.eth0.segment: 'wan' is not in segments (lan)"),
        (SMALL.replace(".5/24", ".5"), "interfaces.eth0.addresses[0]: '192.168.4.5' lacks a prefix length"),
        (SMALL.replace("192.168.4.5/24", "10.77.0.5/24"), "controlPlane.network: 10.77.0.0/24 overlaps 10.77.0.5/24"),
        (small(node="kubelet: true", top="controlPlane: {enabled: false}"), "controlPlane.enabled: kubelets need"),
        (small(node="kubelet: true\n    inCluster: false"), "topology.nodes.d1.inCluster: a kubelet makes its own"),
        (
            small(top="clients: {c: {interfaces: {eth0: {segment: lan, addresses: [192.168.4.5/24]}}}}"),
            "d1 and c both have 192.168.4.5 on lan",
        ),
        (small(top="clients: {d1: {interfaces: {eth0: {segment: lan}}}}"), "two machines are called 'd1'"),
        (small(top="clients: {c: {}}"), "topology.clients.c.interfaces: a machine needs at least one card"),
    ],
)
def test_mistakes_name_the_field(text: str, told: str) -> None:
    with pytest.raises(TopologyError) as caught:
        parse_topology(text)
    assert told in str(caught.value)


@pytest.mark.parametrize(("name", "kubelet"), [("plain", False), ("kubelet", True)])
def test_standard_topologies_are_two_directors_three_servers_and_a_client(name: str, *, kubelet: bool) -> None:
    topology = parse_topology(standard_topology(name))
    assert [node.role for node in topology.nodes] == ["director"] * 2 + ["server"] * 3
    assert {node.kubelet for node in topology.nodes} == {kubelet}
    assert [m.name for m in topology.machines if m.part is Part.CLIENT] == ["client"]


@pytest.mark.parametrize("name", sorted(path.stem for path in (PACKAGE / "topologies").glob("*.yaml")))
def test_every_standard_topology_can_be_read(name: str) -> None:
    assert parse_topology(standard_topology(name)).nodes


def names(topology: Topology) -> list[str]:
    return [machine.name for machine in topology.machines]


def test_merging_puts_machines_side_by_side() -> None:
    other = SMALL.replace("d1", "d2").replace("lan", "far")
    merged = parse_topology(merge_topologies([SMALL, other]))
    assert (names(merged), merged.segments) == (["d1", "d2"], ("lan", "far"))


def test_merging_refuses_one_name_for_two_machines() -> None:
    with pytest.raises(TopologyError, match=r"topology 2\.nodes"):
        merge_topologies([SMALL, SMALL.replace("192.168.4.5", "192.168.4.6")])
