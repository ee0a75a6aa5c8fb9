"""The examples are read as an agent or the operator reads them, and fit the topologies that are named after them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lvs_api.api_group import API_VERSION
from lvs_api.kinds import ADDRESS_POOL, ALL_KINDS, DIRECTOR_GROUP, REAL_SERVER_POOL, VIRTUAL_SERVICE
from lvs_api.objects import ApiObject, find_violations, parse_object
from lvs_core.address_ranges import read_range
from lvs_core.load_balancers import LoadBalancer, load_balancer_from_raw
from lvs_lab.topology import Topology, parse_topology

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir())
TOPOLOGIES = ROOT / "e2e" / "lvs_lab" / "topologies"
KIND_NAMES = (REAL_SERVER_POOL.name, DIRECTOR_GROUP.name, VIRTUAL_SERVICE.name)
TOPOLOGY_OF = {
    "quick-start": "plain",
    "address-pool": "plain",
    "pods": "kubelet",
    "load-balancer": "kubelet",
    "s7-connection-sync": "plain",
    "s8-sctp": "s8",
    "s8-firewall-mark": "s8",
    "sip-calls": "plain",
    "s8-udp": "plain",
    "s9-hash": "plain",
    "s11-mixed-methods": "plain",
    "s12-thresholds": "plain",
    "s10-pcc": "s10",
    "s10-ppc": "s10",
    "s10-pfmc": "s10",
    "s13-nat": "s13",
    "s13-nat-failover": "s13-failover",
    "s14a-dr": "s14a",
    "s14b-dr-port-10000": "s14b",
    "s14c-dr-weighted": "s14c",
    "s14d-dr-persistent": "s14d",
    "s14e-dr-classic-scripts": "s14e",
    "s15-tunnel": "s15",
    "s15-tunnel-routed": "s15-routed",
    "s20-vrrp": "s20",
    "s21-double-master": "s21",
    "s24-source-nat": "s24",
    "quorum": "failover",
    "directors-as-real-servers": "both",
    "forward-cache": "cache",
    "ftp-nat": "ftp",
    "ftp-dr": "ftp",
    "ipv6-dr": "ipv6-dr",
    "ipv6-nat": "ipv6-nat",
    "gue-tunnel": "tunnels",
    "ipv6-tunnel": "tunnels",
    "other-family-tunnel": "tunnels",
}


def documents(directory: Path) -> list[dict[str, Any]]:
    return [raw for path in sorted(directory.glob("*.yaml")) for raw in yaml.safe_load_all(path.read_text())]


def read_objects(directory: Path) -> list[ApiObject[Any, Any]]:
    """Those of our kinds."""
    kinds = {kind.name: kind for kind in ALL_KINDS}
    return [parse_object(kinds[raw["kind"]], raw) for raw in documents(directory) if raw["apiVersion"] == API_VERSION]


def topology_of(directory: Path) -> Topology:
    return parse_topology((TOPOLOGIES / f"{TOPOLOGY_OF[directory.name]}.yaml").read_text())


def test_every_example_is_known() -> None:
    assert {path.name for path in EXAMPLES} == set(TOPOLOGY_OF)


@pytest.mark.parametrize("directory", EXAMPLES, ids=lambda path: path.name)
def test_example_is_valid(directory: Path) -> None:
    objects = read_objects(directory)
    assert [str(violation) for obj in objects for violation in find_violations(obj)] == []
    more = {ADDRESS_POOL.name} if directory.name in {"address-pool", "load-balancer"} else set()
    made = {REAL_SERVER_POOL.name, VIRTUAL_SERVICE.name} if directory.name == "load-balancer" else set()
    assert {obj.kind.name for obj in objects} == {*KIND_NAMES, *more} - made


def test_the_service_of_type_load_balancer_has_no_fault() -> None:
    (raw,) = (one for one in documents(ROOT / "examples" / "load-balancer") if one["kind"] == "Service")
    asked = load_balancer_from_raw(raw)
    assert isinstance(asked, LoadBalancer)
    assert asked.faults == ()


@pytest.mark.parametrize("directory", EXAMPLES, ids=lambda path: path.name)
def test_references_lead_somewhere(directory: Path) -> None:
    objects = read_objects(directory)
    named = {kind: {obj.metadata.name for obj in objects if obj.kind.name == kind} for kind in KIND_NAMES}
    for obj in objects:
        if obj.kind.name == VIRTUAL_SERVICE.name:
            assert obj.spec.real_server_pool_ref.name in named[REAL_SERVER_POOL.name]
            assert obj.spec.director_group_ref.name in named[DIRECTOR_GROUP.name]
            if obj.spec.address_pool_ref is not None:
                pools = {pool.metadata.name for pool in objects if pool.kind is ADDRESS_POOL}
                assert obj.spec.address_pool_ref.name in pools
        if obj.kind.name == REAL_SERVER_POOL.name and obj.spec.endpoints is not None:
            services = {raw["metadata"]["name"] for raw in documents(directory) if raw["kind"] == "Service"}
            assert obj.spec.endpoints.service_ref.name in services


@pytest.mark.parametrize("directory", EXAMPLES, ids=lambda path: path.name)
def test_topology_has_the_directors_and_real_servers(directory: Path) -> None:
    topology = topology_of(directory)
    addresses = {
        str(address.ip)
        for machine in topology.machines
        for interface in machine.interfaces
        for address in interface.addresses
    }
    for obj in read_objects(directory):
        if obj.kind.name == REAL_SERVER_POOL.name:
            assert {server.address for server in obj.spec.real_servers or ()} <= addresses
        if obj.kind.name == DIRECTOR_GROUP.name:
            wanted = obj.spec.nodes.selector.match_labels.items()
            assert any(wanted <= dict(node.labels).items() for node in topology.nodes)
        if obj.kind.name == VIRTUAL_SERVICE.name:
            assert not set(obj.spec.addresses or ()) & addresses
        if obj.kind is ADDRESS_POOL:
            ranges = [read_range(one) for one in obj.spec.ranges]
            assert not [address for address in addresses if any(address in one for one in ranges)]
