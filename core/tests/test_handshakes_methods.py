"""Edits of the method of forwarding, step by step; and what is there at rest, and in the end."""

from dataclasses import replace
from typing import Any

from core_objects import WEB, pool, real_servers, service, small_cluster
from handshake_looks import asked, live, members
from simulated_cluster import SimulatedCluster

from lvs_api.bind_device import MAX_GUE_PORTS
from lvs_api.network_types import ForwardingMethod, Tunnel, TunnelChecksum, TunnelType
from lvs_core.cluster_view import Member


def test_from_direct_routing_to_masquerade_the_node_keeps_the_vip_until_old_connections_ended() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.put(service(cluster, forwarding={"method": "Masquerade"}))
    cluster.round()
    rs1 = members(cluster)["rs1"]
    assert (rs1.forwarding.method, rs1.prepared) == (ForwardingMethod.MASQUERADE, True)
    assert rs1.former is not None
    assert rs1.former.forwarding.method is ForwardingMethod.DIRECT_ROUTING
    live(cluster, "d1")
    cluster.round()
    cluster.round()
    assert members(cluster)["rs1"].former is not None
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]
    cluster.settle()
    assert members(cluster)["rs1"].former is None
    assert asked(cluster, "n1") == []


def test_from_masquerade_to_direct_routing_the_old_method_goes_on_until_the_node_is_ready() -> None:
    cluster = small_cluster(forwarding={"method": "Masquerade"})
    cluster.settle()
    assert asked(cluster, "n1") == []
    cluster.put(service(cluster, forwarding={"method": "DirectRouting"}))
    cluster.round()
    rs1 = members(cluster)["rs1"]
    assert (rs1.forwarding.method, rs1.prepared) == (ForwardingMethod.MASQUERADE, True)
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]
    live(cluster, "n1")
    cluster.round()
    rs1 = members(cluster)["rs1"]
    assert (rs1.forwarding.method, rs1.prepared) == (ForwardingMethod.DIRECT_ROUTING, True)
    assert rs1.former is not None, "directors forward the answers of its connections still"
    assert rs1.former.forwarding.method is ForwardingMethod.MASQUERADE
    cluster.settle()
    assert members(cluster)["rs1"].former is None


def test_from_direct_routing_to_tunnel_and_back() -> None:
    cluster = small_cluster()
    cluster.settle()
    for method, devices in (("Tunnel", ["192.168.4.15 tunl0"]), ("DirectRouting", ["192.168.4.15 lo"])):
        cluster.put(service(cluster, forwarding={"method": method}))
        cluster.round()
        assert asked(cluster, "n1") == ["192.168.4.15 lo", "192.168.4.15 tunl0"]
        assert members(cluster)["rs1"].forwarding.method != method
        assert members(cluster)["rs1"].prepared
        cluster.settle()
        assert members(cluster)["rs1"].forwarding.method == method
        assert asked(cluster, "n1") == devices


def test_from_ipip_to_gre_the_node_has_both_devices_until_connections_ended() -> None:
    cluster = small_cluster(forwarding={"method": "Tunnel"})
    cluster.settle()
    cluster.put(service(cluster, forwarding={"method": "Tunnel", "tunnel": {"type": "GRE"}}))
    cluster.round()
    assert asked(cluster, "n1") == ["192.168.4.15 gre0", "192.168.4.15 tunl0"]
    one = members(cluster)["rs1"]
    assert (one.forwarding.tunnel, one.prepared) == (Tunnel(), True)
    live(cluster, "n1")
    cluster.round()
    one = members(cluster)["rs1"]
    assert (one.forwarding.tunnel, one.prepared) == (Tunnel(type=TunnelType.GRE), True)
    assert one.former is not None
    assert asked(cluster, "n1") == ["192.168.4.15 gre0", "192.168.4.15 tunl0"]
    cluster.settle()
    assert asked(cluster, "n1") == ["192.168.4.15 gre0"]


def test_from_ipip_to_gue_the_port_is_open_before_anything_comes_to_it() -> None:
    cluster = small_cluster(forwarding={"method": "Tunnel"})
    cluster.settle()
    cluster.put(service(cluster, forwarding=by_gue(6080)))
    cluster.round()
    assert asked(cluster, "n1") == ["192.168.4.15 tunl0 6080"]
    one = members(cluster)["rs1"]
    assert (one.forwarding.tunnel, one.prepared) == (Tunnel(), True)
    live(cluster, "n1")
    cluster.round()
    one = members(cluster)["rs1"]
    assert (one.forwarding.tunnel, one.prepared) == (Tunnel(type=TunnelType.GUE, port=6080), True)
    assert one.former is not None
    cluster.settle()
    assert asked(cluster, "n1") == ["192.168.4.15 tunl0 6080"]


def test_a_port_stays_open_until_connections_that_came_by_it_ended() -> None:
    cluster = small_cluster(forwarding=by_gue(6080))
    cluster.settle()
    for forwarding, ports in ((by_gue(6081), " 6081"), ({"method": "Tunnel"}, "")):
        before = asked(cluster, "n1")
        cluster.put(service(cluster, forwarding=forwarding))
        cluster.round()
        live(cluster, "n1")
        cluster.round()
        assert members(cluster)["rs1"].former is not None
        assert set(before) <= set(asked(cluster, "n1")) or asked(cluster, "n1") == ["192.168.4.15 tunl0 6080,6081"]
        cluster.settle()
        assert asked(cluster, "n1") == [f"192.168.4.15 tunl0{ports}"]


def test_a_port_that_can_not_be_opened_is_not_switched_to_and_harms_nobody() -> None:
    """Of two services at one VIP each has a port of its own."""
    cluster = small_cluster(forwarding=by_gue(6080))
    other = [{"name": "other", "protocol": "TCP", "port": 81}]
    cluster.put(pool(cluster, "other", realServers=real_servers(rs1="192.168.4.100")))
    cluster.put(service(cluster, "other", ports=other, forwarding=by_gue(6082)))
    cluster.settle()
    assert ports_prepared(cluster) == {6080: True, 6082: True}
    cluster.machines["n1"].taken = {6081}
    cluster.put(service(cluster, forwarding=by_gue(6081)))
    cluster.settle()
    assert asked(cluster, "n1") == ["192.168.4.15 tunl0 6080,6081,6082"]
    assert ports_prepared(cluster) == {6080: True, 6082: True}
    cluster.machines["n1"].taken = {6081, 6082}
    cluster.settle()
    assert ports_prepared(cluster) == {6080: True, 6082: False}
    cluster.machines["n1"].taken = set()
    cluster.settle()
    assert ports_prepared(cluster) == {6081: True, 6082: True}


def test_the_port_that_is_one_too_many_takes_no_other_one_s_place() -> None:
    """An LvsNode names so many of one VIP; what is there stays, whatever comes before it by number."""
    cluster = small_cluster(forwarding=by_gue(7000))
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100")))
    for number in range(1, MAX_GUE_PORTS):
        name, listened = f"web{number}", [{"name": "http", "protocol": "TCP", "port": 8000 + number}]
        more = {"ports": listened, "realServerPoolRef": {"name": "web"}}
        cluster.put(service(cluster, name, forwarding=by_gue(7000 + number), **more))
    cluster.settle()
    before = asked(cluster, "n1")
    assert before == ["192.168.4.15 tunl0 " + ",".join(str(7000 + number) for number in range(MAX_GUE_PORTS))]
    more = {"ports": [{"name": "http", "protocol": "TCP", "port": 9000}], "realServerPoolRef": {"name": "web"}}
    cluster.put(service(cluster, "late", forwarding=by_gue(6000), **more))
    cluster.settle()
    assert asked(cluster, "n1") == before
    found = {one.forwarding.tunnel.port: one.prepared for one in every_member(cluster) if one.forwarding.tunnel}
    assert found == {**dict.fromkeys(range(7000, 7000 + MAX_GUE_PORTS), True), 6000: False}


def ports_prepared(cluster: SimulatedCluster) -> dict[int | None, bool]:
    """Whether the real server is prepared, by the port by which packets come to it."""
    found = [one.forwarding.tunnel.port for one in every_member(cluster) if one.forwarding.tunnel is not None]
    assert len(found) == len(set(found)) == 2
    return {one.forwarding.tunnel.port: one.prepared for one in every_member(cluster) if one.forwarding.tunnel}


def every_member(cluster: SimulatedCluster) -> list[Member]:
    return [member for one in cluster.slices.values() for member in one.content.members if member.node == "n1"]


def test_another_checksum_is_no_other_way() -> None:
    cluster = small_cluster(forwarding=by_gue(6080))
    cluster.settle()
    cluster.put(service(cluster, forwarding=by_gue(6080, checksum="UDP")))
    cluster.round()
    one = members(cluster)["rs1"]
    assert (one.forwarding.tunnel, one.prepared, one.former) == (
        Tunnel(type=TunnelType.GUE, port=6080, checksum=TunnelChecksum.UDP),
        True,
        None,
    )


def by_gue(port: int, **options: str) -> dict[str, Any]:
    return {"method": "Tunnel", "tunnel": {"type": "GUE", "port": port, **options}}


def test_a_member_that_leaves_after_an_edit_of_its_method_is_gone_when_it_has_drained() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.put(service(cluster, forwarding={"method": "Masquerade"}))
    cluster.round()
    live(cluster, "d1")
    cluster.put(pool(cluster, realServers=real_servers(rs2="192.168.4.200")))
    cluster.round()
    rs1 = members(cluster)["rs1"]
    assert (rs1.draining_seconds, rs1.former is not None) == (300, True)
    live(cluster, "d1")
    cluster.round()
    assert "rs1" in members(cluster)
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]
    cluster.finish("d1")
    cluster.report("d1")
    cluster.round()
    assert set(members(cluster)) == {"rs2"}
    cluster.settle()
    assert asked(cluster, "n1") == []


def test_a_service_made_and_deleted_before_anything_was_prepared_leaves_nothing() -> None:
    cluster = small_cluster()
    cluster.round()
    cluster.delete_service(WEB)
    cluster.round()
    assert asked(cluster, "n1") == []


def test_everything_goes_when_the_service_goes() -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()
    cluster.delete_service(WEB, collect=False)
    cluster.settle()
    assert cluster.slices == {}
    assert set(cluster.lvs_nodes) == {"d1", "d2"}
    assert not any(machine.bound or machine.entries for machine in cluster.machines.values())


def test_at_rest_nothing_changes() -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()
    first, second = cluster.round(), cluster.round()
    assert first == second


def test_source_nat_is_edited_in_place_while_connections_of_a_former_method_end() -> None:
    """How packets reach the real server is the same: there is nothing to wait for, and nothing to forget."""
    cluster = small_cluster()
    cluster.settle()
    cluster.put(service(cluster, forwarding={"method": "Masquerade"}))
    cluster.round()
    former = members(cluster)["rs1"].former
    assert former is not None
    for wanted in (True, None):
        cluster.put(service(cluster, forwarding={"method": "Masquerade", "sourceNat": wanted or False}))
        cluster.round()
        one = members(cluster)["rs1"]
        assert (one.forwarding.source_nat, one.former, one.prepared) == (wanted, former, True)
    assert asked(cluster, "n1") == ["192.168.4.15 lo"]


def test_a_member_with_a_method_of_its_own_has_not_the_services_source_nat() -> None:
    own = [{**one, "forwarding": {"method": "Masquerade"}} for one in real_servers(rs1="192.168.4.100")]
    cluster = small_cluster(forwarding={"method": "Masquerade", "sourceNat": True})
    cluster.put(pool(cluster, realServers=[*own, *real_servers(rs2="192.168.4.200")]))
    cluster.settle()
    found = {name: member.forwarding.source_nat for name, member in members(cluster).items()}
    assert found == {"rs1": None, "rs2": True}


def test_a_director_that_nobody_waited_for_is_waited_for_when_it_is_back() -> None:
    """It was called gone when the others had finished; connections of the former method may live on it."""
    cluster = small_cluster(directors=2)
    cluster.settle()
    cluster.put(service(cluster, forwarding={"method": "Masquerade"}))
    cluster.round()
    cluster.nodes["d1"] = replace(cluster.nodes["d1"], ready=False)
    for _ in range(3):
        for name in ("d2", "n1", "n2"):
            cluster.act(name)
            cluster.finish(name)
            cluster.report(name)
        cluster.round()
    members = [one for part in cluster.slices.values() for one in part.content.members]
    assert [one.former for one in members] == [None, None]
    cluster.nodes["d1"] = replace(cluster.nodes["d1"], ready=True)
    cluster.act("d1")
    cluster.report("d1")
    cluster.round()
    assert list(cluster.forwarded_without_address()) == []
    assert cluster.lvs_nodes["n1"].spec.addresses
    cluster.settle()
    assert "n1" not in cluster.lvs_nodes
