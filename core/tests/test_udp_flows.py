"""Real servers that fail or leave under virtual services of UDP, where the pool does not say what becomes of them."""

from typing import Any

import pytest
from core_objects import pool, real_servers, service, small_cluster
from endpoint_objects import NOT_READY, TERMINATING, endpoint_slice, members, pods_cluster, tell
from simulated_cluster import SimulatedCluster

from lvs_core.compile import AgentView, compile_plan
from lvs_core.plan import PlannedService

ONE, TWO = "10.1.0.1", "10.1.0.2"
TCP, UDP, SCTP = (
    {"name": f"{protocol.lower()}-53", "protocol": protocol, "port": 53} for protocol in ("TCP", "UDP", "SCTP")
)
DNS = {"name": "udp-53", "port": 5353, "protocol": "UDP"}
DNS_TCP = {"name": "tcp-53", "port": 5353, "protocol": "TCP"}
BOTH: dict[str, Any] = {"ports": [TCP, UDP]}


def told(cluster: SimulatedCluster) -> dict[str, PlannedService]:
    """What a director is told, by the protocol of the virtual service."""
    slices = tuple(cluster.slices.values())
    plan = compile_plan(AgentView(node="d1", lvs_node=cluster.lvs_nodes["d1"], slices=slices))
    return {(one.port_name or "mark").partition("-")[0]: one for one in plan.directing[0].services}


def of_a_service(of_service: dict[str, Any], of_pool: dict[str, Any]) -> dict[str, tuple[str, int]]:
    cluster = small_cluster(**of_service)
    cluster.put(pool(cluster, **of_pool))
    cluster.settle()
    return {name: (str(one.on_failure), one.drain_seconds) for name, one in told(cluster).items()}


@pytest.mark.parametrize(
    ("of_pool", "tcp", "udp"),
    [
        ({}, ("ZeroWeight", 300), ("Remove", 0)),
        ({"onFailure": "ZeroWeight"}, ("ZeroWeight", 300), ("ZeroWeight", 0)),
        ({"onFailure": "Remove"}, ("Remove", 300), ("Remove", 0)),
        ({"drain": {"timeoutSeconds": 30}}, ("ZeroWeight", 30), ("Remove", 30)),
        ({"drain": {"timeoutSeconds": 300}}, ("ZeroWeight", 300), ("Remove", 300)),
        ({"drain": {"timeoutSeconds": 0}}, ("ZeroWeight", 0), ("Remove", 0)),
    ],
)
def test_what_a_pool_names_counts_else_what_the_protocol_needs(
    of_pool: dict[str, Any], tcp: tuple[str, int], udp: tuple[str, int]
) -> None:
    assert of_a_service({"ports": [TCP, UDP, SCTP]}, of_pool) == {"tcp": tcp, "sctp": tcp, "udp": udp}


@pytest.mark.parametrize(
    ("of_service", "failing"),
    [
        ({"ports": [UDP], "onePacketScheduling": True}, {"udp": ("ZeroWeight", 300)}),
        ({"ports": [UDP], "portMode": "Grouped"}, {"mark": ("Remove", 0)}),
        ({"ports": [TCP, UDP], "portMode": "Grouped"}, {"mark": ("ZeroWeight", 300)}),
        (
            {"ports": None, "addresses": None, "firewallMark": {"value": 5, "families": ["IPv4"]}},
            {"mark": ("ZeroWeight", 300)},
        ),
    ],
    ids=["each packet by itself", "a mark for UDP alone", "a mark for both", "a mark that others set"],
)
def test_where_connections_have_an_end_or_may_have_one_they_may_wait_for_it(
    of_service: dict[str, Any], failing: dict[str, tuple[str, int]]
) -> None:
    assert of_a_service(of_service, {}) == failing


def draining(cluster: SimulatedCluster, name: str) -> dict[str, int | None]:
    return {
        protocol: member.draining_seconds
        for protocol, one in told(cluster).items()
        for member in one.members
        if member.name == name
    }


@pytest.mark.parametrize(
    ("drain", "seconds"),
    [(None, {"tcp": 300, "udp": 0}), ({"timeoutSeconds": 30}, {"tcp": 30, "udp": 30})],
)
def test_one_that_is_taken_out_of_the_pool_keeps_its_clients_over_udp_only_on_demand(
    drain: dict[str, int] | None, seconds: dict[str, int]
) -> None:
    cluster = small_cluster(**BOTH)
    cluster.settle()
    assert draining(cluster, "rs1") == {"tcp": None, "udp": None}
    cluster.put(pool(cluster, realServers=real_servers(rs2="192.168.4.200"), drain=drain))
    cluster.round()
    assert draining(cluster, "rs1") == seconds
    cluster.settle()
    assert draining(cluster, "rs1") == {}


def test_one_that_is_disabled_has_no_time_by_either_protocol() -> None:
    cluster = small_cluster(**BOTH)
    cluster.settle()
    servers = [{**one, "state": "Disabled"} for one in real_servers(rs1="192.168.4.100")]
    cluster.put(pool(cluster, realServers=[*servers, *real_servers(rs2="192.168.4.200")], drain={"timeoutSeconds": 30}))
    cluster.round()
    assert draining(cluster, "rs1") == {"tcp": 0, "udp": 0}


def pods(**of_pool: Any) -> SimulatedCluster:
    cluster: SimulatedCluster = pods_cluster(DNS, DNS_TCP, pool_fields=of_pool, **BOTH)
    tell(cluster, endpoint_slice({ONE: None, TWO: None}, DNS, DNS_TCP))
    cluster.settle()
    return cluster


def test_a_pod_that_is_gone_keeps_no_clients_over_udp_whatever_the_pool_says() -> None:
    """While it terminates it may still serve: then the pool's word counts."""
    cluster = pods(drain={"timeoutSeconds": 30})
    name = members(cluster)[ONE].name
    tell(cluster, endpoint_slice({ONE: TERMINATING, TWO: None}, DNS, DNS_TCP))
    cluster.round()
    assert draining(cluster, name) == {"tcp": 30, "udp": 30}
    tell(cluster, endpoint_slice({TWO: None}, DNS, DNS_TCP))
    cluster.round()
    assert draining(cluster, name) == {"tcp": 30, "udp": 0}
    tell(cluster, endpoint_slice({ONE: None, TWO: None}, DNS, DNS_TCP))
    cluster.round()
    assert draining(cluster, name) == {"tcp": None, "udp": None}
    assert not members(cluster)[ONE].unready


def test_a_pod_that_is_not_ready_is_told_as_such_also_while_its_service_can_not_be_followed() -> None:
    cluster = pods()
    tell(cluster, endpoint_slice({ONE: NOT_READY, TWO: None}, DNS, DNS_TCP))
    cluster.round()

    def unready() -> set[tuple[str, bool, int | None]]:
        return {
            (str(member.address), member.unready, member.draining_seconds)
            for one in told(cluster).values()
            for member in one.members
        }

    wanted = {(ONE, True, None), (TWO, False, None)}
    assert unready() == wanted
    cluster.put(service(cluster, forwarding={"method": "DirectRouting"}, **BOTH))
    cluster.round()
    assert unready() == wanted
