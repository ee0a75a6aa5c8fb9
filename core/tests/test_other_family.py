"""Real servers of another family than the service's addresses: by Tunnel with GRE, and by nothing else."""

from typing import Any

import pytest
from core_objects import WEB, group, node, pool, real_servers, service, small_cluster
from handshake_looks import asked, live, members
from simulated_cluster import SimulatedCluster

from lvs_api import testing
from lvs_api.network_types import Family, Forwarding, ForwardingMethod, Tunnel, TunnelType
from lvs_core.compile import AgentView, compile_plan
from lvs_core.crossing import served_families

GRE = {"method": "Tunnel", "tunnel": {"type": "GRE"}}
SIX = "2001:db8:4::6"
BOTH = frozenset(Family)
SYNC = {"interface": "eth1", "syncId": 7}
BY_GRE = Forwarding(method=ForwardingMethod.TUNNEL, tunnel=Tunnel(type=TunnelType.GRE))


def crossed(addresses: list[str], server: str, **changes: Any) -> SimulatedCluster:
    """A service at these addresses, with one node as its real server."""
    cluster = small_cluster()
    cluster.add_node(node("n6", server))
    cluster.put(pool(cluster, realServers=real_servers(rs6=server)))
    cluster.put(service(cluster, addresses=addresses, **{"forwarding": GRE, **changes}))
    return cluster


def table(cluster: SimulatedCluster) -> dict[str, list[str]]:
    """What the director is told: real servers by virtual service."""
    view = AgentView(
        node="d1", lvs_node=cluster.lvs_nodes["d1"], groups=dict(cluster.groups), slices=tuple(cluster.slices.values())
    )
    return {str(one.key): [str(member.address) for member in one.members] for one in compile_plan(view).services()}


def said(cluster: SimulatedCluster, kind: str) -> tuple[str, str, str]:
    status = cluster.services[WEB].status
    (found,) = (one for one in (status.conditions if status else None) or () if one.type == kind)
    return found.status, found.reason, found.message


@pytest.mark.parametrize(
    ("vip", "server", "device"), [(testing.VIP, SIX, "ip6gre0"), (testing.VIP6, "192.168.4.66", "gre0")]
)
def test_it_joins_by_the_device_of_its_own_family_with_the_vip_of_the_other(vip: str, server: str, device: str) -> None:
    cluster = crossed([vip], server)
    cluster.round()
    assert asked(cluster, "n6") == [f"{vip} {device}"]
    assert not members(cluster)["rs6"].prepared
    live(cluster, "n6")
    cluster.round()
    assert members(cluster)["rs6"].prepared
    cluster.settle()
    host = vip if ":" not in vip else f"[{vip}]"
    assert table(cluster) == {f"TCP {host}:80": [server]}
    assert said(cluster, "ResolvedRefs")[0] == "True"


def test_where_the_service_has_an_address_of_its_family_it_serves_that_alone() -> None:
    cluster = crossed([testing.VIP, testing.VIP6], SIX)
    cluster.settle()
    assert asked(cluster, "n6") == [f"{testing.VIP6} ip6gre0"]
    assert table(cluster) == {f"TCP {testing.VIP}:80": [], f"TCP [{testing.VIP6}]:80": [SIX]}
    assert said(cluster, "ResolvedRefs")[1] == "FamilyMismatch"


@pytest.mark.parametrize(
    "forwarding",
    [
        {"method": "DirectRouting"},
        {"method": "Masquerade"},
        {"method": "Tunnel"},
        {"method": "Tunnel", "tunnel": {"type": "GUE", "port": 6080}},
    ],
)
def test_no_other_way_crosses(forwarding: dict[str, Any]) -> None:
    cluster = crossed([testing.VIP], SIX, forwarding=forwarding)
    cluster.settle()
    assert members(cluster) == {}
    assert asked(cluster, "n6") == []
    status, reason, message = said(cluster, "ResolvedRefs")
    assert (status, reason) == ("False", "FamilyMismatch")
    assert "Tunnel by GRE" in message


def test_one_real_server_may_cross_beside_others_that_do_not() -> None:
    cluster = crossed([testing.VIP], SIX, forwarding={"method": "DirectRouting"})
    crossing = {**testing.real_server("rs6", SIX), "forwarding": GRE}
    cluster.put(pool(cluster, realServers=[*real_servers(rs1="192.168.4.100"), crossing]))
    cluster.settle()
    assert table(cluster) == {f"TCP {testing.VIP}:80": ["192.168.4.100", SIX]}
    assert said(cluster, "Ready")[0] == "True"


def test_with_sync_daemons_it_is_refused_and_the_reason_named() -> None:
    cluster = crossed([testing.VIP], SIX)
    cluster.settle()
    assert members(cluster)["rs6"].refused is None
    cluster.put(group(cluster, connectionSync=SYNC))
    cluster.settle()
    assert members(cluster)["rs6"].refused == "OtherFamilyWithSync"
    status, reason, message = said(cluster, "Ready")
    assert (status, reason) == ("False", "OtherFamilyWithSync")
    assert "rs6" in message
    assert asked(cluster, "n6") == []
    cluster.put(group(cluster))
    cluster.settle()
    assert members(cluster)["rs6"].prepared
    assert said(cluster, "Ready")[0] == "True"


def test_when_an_address_of_its_own_family_comes_it_moves_to_that() -> None:
    cluster = crossed([testing.VIP], SIX)
    cluster.settle()
    cluster.put(service(cluster, addresses=[testing.VIP, testing.VIP6], forwarding=GRE))
    cluster.round()
    assert asked(cluster, "n6") == [f"{testing.VIP} ip6gre0", f"{testing.VIP6} ip6gre0"]
    cluster.settle()
    assert asked(cluster, "n6") == [f"{testing.VIP6} ip6gre0"]


@pytest.mark.parametrize(
    ("address", "wanted", "served"),
    [
        ("192.168.4.9", BOTH, {Family.IPV4}),
        (SIX, BOTH, {Family.IPV6}),
        ("192.168.4.9", {Family.IPV6}, {Family.IPV6}),
        (SIX, {Family.IPV4}, {Family.IPV4}),
        (SIX, frozenset(), frozenset()),
    ],
)
def test_which_families_come_to_a_real_server_by_gre(address: str, wanted: set[Family], served: set[Family]) -> None:
    assert served_families(address, BY_GRE, frozenset(wanted)) == served
