"""Endpoints of a Service as real servers: who is one, at which port, and how they come and go."""

from typing import Any

import pytest
from core_conditions import condition
from core_objects import WEB, pool, service
from endpoint_objects import (
    GOING_DEAF,
    HTTP,
    HTTPS,
    NOT_READY,
    PUBLISHED,
    TERMINATING,
    UNREADY_BUT_SERVING,
    Raw,
    brief,
    core_service,
    endpoint_slice,
    members,
    pods_cluster,
    tell,
)
from simulated_cluster import SimulatedCluster

from lvs_api import testing
from lvs_api.conditions import ConditionType, find_condition
from lvs_core.compile import AgentView, compile_plan
from lvs_core.endpoints import core_service_from_raw
from lvs_core.members import PoolFinder

ONE, TWO, THREE = "10.1.0.1", "10.1.0.2", "10.1.0.3"
TWO_PORTS = [{"name": "http", "protocol": "TCP", "port": 80}, {"name": "https", "protocol": "TCP", "port": 443}]


def served(cluster: SimulatedCluster) -> dict[str, list[str]]:
    """What directors are told, by the service's port."""
    slices = tuple(cluster.slices.values())
    plan = compile_plan(AgentView(node="d1", lvs_node=cluster.lvs_nodes["d1"], slices=slices))
    return {
        one.port_name or "": sorted(f"{member.address}:{member.port}" for member in one.members)
        for one in plan.directing[0].services
    }


def cluster_names(cluster: SimulatedCluster) -> dict[str, str]:
    """The ports of all members, those that leave too, by name."""
    return {
        member.name: " ".join(f"{name}:{number}" for name, number in member.ports) or str(member.port)
        for one in cluster.slices.values()
        for member in one.content.members
    }


def test_a_ready_endpoint_gets_the_pools_weight_at_its_own_port() -> None:
    cluster = pods_cluster(pool_fields={"weight": 7})
    tell(cluster, endpoint_slice({ONE: {"ready": True}, TWO: None}, HTTP))
    cluster.settle()
    assert brief(cluster) == {ONE: "8080 7", TWO: "8080 7"}
    assert served(cluster) == {"http": [f"{ONE}:8080", f"{TWO}:8080"]}
    told = members(cluster)[ONE]
    assert (told.name, told.prepared, told.node) == ("endpoint.10-1-0-1.8080", True, None)
    assert condition(cluster, ConditionType.RESOLVED_REFS).status == "True"


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (NOT_READY, "8080 0"),
        (UNREADY_BUT_SERVING, "8080 0"),
        (TERMINATING, "8080 leaves in 300"),
        (GOING_DEAF, "8080 leaves in 300"),
        (PUBLISHED, "8080 1"),
        ({}, "8080 1"),
        ({"ready": None}, "8080 1"),
    ],
)
def test_what_becomes_of_a_real_server(conditions: Raw, expected: str) -> None:
    cluster = pods_cluster()
    tell(cluster, endpoint_slice({ONE: None, TWO: None}, HTTP))
    cluster.settle()
    tell(cluster, endpoint_slice({ONE: conditions, TWO: None}, HTTP))
    cluster.round()
    assert brief(cluster) == {ONE: expected, TWO: "8080 1"}
    tell(cluster, endpoint_slice({ONE: None, TWO: None}, HTTP))
    cluster.round()
    assert brief(cluster) == {ONE: "8080 1", TWO: "8080 1"}


def test_one_that_is_not_ready_goes_where_failed_real_servers_do() -> None:
    cluster = pods_cluster(pool_fields={"onFailure": "Remove"})
    tell(cluster, endpoint_slice({ONE: None, TWO: None}, HTTP))
    cluster.settle()
    tell(cluster, endpoint_slice({ONE: NOT_READY, TWO: None}, HTTP))
    cluster.round()
    assert brief(cluster)[ONE] == "8080 leaves in 0"
    cluster.settle()
    assert brief(cluster) == {TWO: "8080 1"}
    tell(cluster, endpoint_slice({ONE: None, TWO: None}, HTTP))
    cluster.settle()
    assert brief(cluster) == {ONE: "8080 1", TWO: "8080 1"}


@pytest.mark.parametrize("on_failure", ["ZeroWeight", "Remove"])
@pytest.mark.parametrize(
    ("others", "expected"),
    [
        (GOING_DEAF, {ONE: "8080 1", TWO: "8080 leaves in 300"}),
        (TERMINATING, {ONE: "8080 1", TWO: "8080 1"}),
        ({"ready": False, "terminating": True}, {ONE: "8080 1", TWO: "8080 1"}),
        (PUBLISHED, {ONE: "8080 leaves in 300", TWO: "8080 1"}),
    ],
)
def test_where_none_is_ready_those_that_terminate_and_serve_take_connections(
    others: Raw, expected: dict[str, str], on_failure: str
) -> None:
    cluster = pods_cluster(pool_fields={"onFailure": on_failure})
    tell(cluster, endpoint_slice({ONE: None, TWO: None}, HTTP))
    cluster.settle()
    tell(cluster, endpoint_slice({ONE: TERMINATING, TWO: others}, HTTP))
    cluster.round()
    assert brief(cluster) == expected
    tell(cluster, endpoint_slice({ONE: TERMINATING, TWO: others}, HTTP), endpoint_slice({THREE: None}, HTTP, name="2"))
    cluster.round()
    assert brief(cluster)[ONE] == "8080 leaves in 300"
    assert brief(cluster)[THREE] == "8080 1"


@pytest.mark.parametrize("others", [NOT_READY, UNREADY_BUT_SERVING, GOING_DEAF])
def test_who_is_not_ready_takes_none_because_others_terminate(others: Raw) -> None:
    cluster = pods_cluster()
    tell(cluster, endpoint_slice({ONE: None, TWO: None}, HTTP))
    cluster.settle()
    tell(cluster, endpoint_slice({ONE: TERMINATING, TWO: others}, HTTP))
    cluster.round()
    assert brief(cluster)[ONE] == "8080 1"
    assert brief(cluster)[TWO] in {"8080 0", "8080 leaves in 300"}


def test_one_that_drains_takes_connections_again_when_the_last_ready_one_goes() -> None:
    cluster = pods_cluster()
    tell(cluster, endpoint_slice({ONE: None, TWO: None}, HTTP))
    cluster.settle()
    tell(cluster, endpoint_slice({ONE: TERMINATING, TWO: None}, HTTP))
    cluster.round()
    assert brief(cluster) == {ONE: "8080 leaves in 300", TWO: "8080 1"}
    tell(cluster, endpoint_slice({ONE: TERMINATING, TWO: NOT_READY}, HTTP))
    cluster.settle()
    assert brief(cluster) == {ONE: "8080 1", TWO: "8080 0"}
    tell(cluster, endpoint_slice({ONE: GOING_DEAF, TWO: NOT_READY}, HTTP))
    cluster.round()
    assert brief(cluster) == {ONE: "8080 leaves in 300", TWO: "8080 0"}


def test_that_only_terminating_ones_are_left_is_said() -> None:
    cluster = pods_cluster()
    tell(cluster, endpoint_slice({ONE: None, TWO: None}, HTTP))
    cluster.settle()
    tell(cluster, endpoint_slice({ONE: TERMINATING, TWO: NOT_READY}, HTTP))
    cluster.settle()
    assert condition(cluster, ConditionType.READY).status == "True"
    told = cluster.pools[WEB].status
    assert told is not None
    assert told.members == 2
    ready = find_condition(told.conditions, ConditionType.READY)
    assert ready is not None
    assert ready.message == "2 real servers, 1 of them terminating: no endpoint of Service pods is ready"
    tell(cluster, endpoint_slice({ONE: GOING_DEAF, TWO: NOT_READY}, HTTP))
    cluster.settle()
    told = cluster.pools[WEB].status
    assert told is not None
    assert told.members == 1
    assert condition(cluster, ConditionType.READY).status == "False"


def test_who_is_left_is_asked_for_each_port_and_family_by_itself() -> None:
    six = "2001:db8::1"
    cluster = pods_cluster(HTTP, HTTPS, ports=TWO_PORTS, addresses=["192.168.4.15", "2001:db8:4::15"])
    slices = (
        endpoint_slice({ONE: TERMINATING}, HTTP, HTTPS),
        endpoint_slice({TWO: TERMINATING, THREE: None}, HTTPS, name="pods-2"),
        endpoint_slice({six: TERMINATING}, HTTPS, name="pods-6"),
    )
    tell(cluster, *slices)
    cluster.settle()
    assert brief(cluster) == {ONE: "http:8080 https:8443 1", THREE: "https:8443 1", six: "https:8443 1"}


@pytest.mark.parametrize("conditions", [NOT_READY, TERMINATING, GOING_DEAF])
def test_one_that_is_not_ready_does_not_join(conditions: Raw) -> None:
    cluster = pods_cluster()
    tell(cluster, endpoint_slice({ONE: None, TWO: conditions}, HTTP))
    cluster.settle()
    assert brief(cluster) == {ONE: "8080 1"}


def test_one_that_vanishes_drains_and_goes() -> None:
    cluster = pods_cluster(pool_fields={"drain": {"timeoutSeconds": 30}})
    tell(cluster, endpoint_slice({ONE: None, TWO: None}, HTTP))
    cluster.settle()
    tell(cluster, endpoint_slice({ONE: TERMINATING, TWO: None}, HTTP))
    cluster.round()
    tell(cluster, endpoint_slice({TWO: None}, HTTP))
    cluster.round()
    assert brief(cluster)[ONE] == "8080 leaves in 30"
    cluster.settle()
    assert brief(cluster) == {TWO: "8080 1"}


def test_an_address_that_returns_while_it_drains_stays() -> None:
    cluster = pods_cluster()
    tell(cluster, endpoint_slice({ONE: None}, HTTP))
    cluster.settle()
    tell(cluster)
    cluster.round()
    assert brief(cluster) == {ONE: "8080 leaves in 300"}
    tell(cluster, endpoint_slice({ONE: None}, HTTP, name="pods-2"))
    cluster.settle()
    assert brief(cluster) == {ONE: "8080 1"}


def test_an_address_in_several_slices_counts_once() -> None:
    cluster = pods_cluster()
    old, new = endpoint_slice({ONE: NOT_READY, TWO: None}, HTTP), endpoint_slice({ONE: None}, HTTP, name="pods-0")
    for slices in ((old, new), (new, old)):
        tell(cluster, *slices)
        cluster.settle()
        assert brief(cluster) == {ONE: "8080 1", TWO: "8080 1"}
    told = cluster.pools[WEB].status
    assert told is not None
    assert told.members == 2


def test_pods_of_one_service_may_have_different_ports() -> None:
    cluster = pods_cluster()
    other = {**HTTP, "port": 9090}
    tell(cluster, endpoint_slice({ONE: None}, HTTP), endpoint_slice({ONE: None, TWO: None}, other, name="pods-2"))
    cluster.settle()
    assert served(cluster) == {"http": [f"{ONE}:8080", f"{ONE}:9090", f"{TWO}:9090"]}


def test_every_port_of_a_service_has_its_own() -> None:
    cluster = pods_cluster(HTTP, HTTPS, ports=TWO_PORTS)
    tell(
        cluster,
        endpoint_slice({ONE: None, TWO: None}, HTTPS, HTTP),
        endpoint_slice({THREE: None}, {**HTTPS, "port": 9443}, name="pods-2"),
    )
    cluster.settle()
    assert brief(cluster) == {
        ONE: "http:8080 https:8443 1",
        TWO: "http:8080 https:8443 1",
        THREE: "https:9443 1",
    }
    assert served(cluster) == {
        "http": [f"{ONE}:8080", f"{TWO}:8080"],
        "https": [f"{ONE}:8443", f"{TWO}:8443", f"{THREE}:9443"],
    }
    tell(cluster, endpoint_slice({ONE: None}, {**HTTPS, "port": 7443}, HTTP))
    cluster.settle()
    assert served(cluster) == {"http": [f"{ONE}:8080"], "https": [f"{ONE}:7443"]}


def test_what_no_director_has_in_its_table_does_not_wait_for_its_drain() -> None:
    cluster = pods_cluster(HTTP, HTTPS, ports=TWO_PORTS)
    tell(cluster, endpoint_slice({ONE: None}, HTTPS))
    cluster.settle()
    assert set(cluster_names(cluster)) == {"endpoint.10-1-0-1.8443"}
    tell(cluster, endpoint_slice({ONE: None}, HTTPS, HTTP))
    cluster.round()
    assert cluster_names(cluster) == {"endpoint.10-1-0-1.8080": "http:8080 https:8443"}
    cluster.put(service(cluster, forwarding={"method": "Masquerade"}, ports=TWO_PORTS[1:]))
    cluster.round()
    assert cluster_names(cluster) == {"endpoint.10-1-0-1.8443": "8443"}


def test_a_port_that_one_loses_drains() -> None:
    cluster = pods_cluster(HTTP, HTTPS, ports=TWO_PORTS)
    tell(cluster, endpoint_slice({ONE: None}, HTTPS, HTTP))
    cluster.settle()
    tell(cluster, endpoint_slice({ONE: None}, HTTPS))
    cluster.round()
    assert set(cluster_names(cluster)) == {"endpoint.10-1-0-1.8080", "endpoint.10-1-0-1.8443"}
    assert served(cluster) == {"http": [f"{ONE}:8080"], "https": [f"{ONE}:8443"]}
    cluster.settle()
    assert served(cluster) == {"http": [], "https": [f"{ONE}:8443"]}


@pytest.mark.parametrize(
    ("ports", "endpoints"),
    [
        ([{"port": 8080, "protocol": "TCP"}], {}),
        ([{"name": "", "port": 8080}], {}),
        ([{"name": "web", "port": 8080}], {}),
        ([{"name": "metrics", "port": 9000}, {"name": "http", "port": 8080}], {}),
        ([{"name": "http", "port": 9000}, {"name": "public", "port": 8080}], {"portName": "public"}),
        ([{"name": "http", "port": 9000, "protocol": "UDP"}, {"name": "http", "port": 8080, "protocol": "TCP"}], {}),
    ],
)
def test_the_port_is_found_by_its_name(ports: list[Raw], endpoints: Raw) -> None:
    cluster = pods_cluster(*ports, endpoints=endpoints)
    tell(cluster, endpoint_slice({ONE: None}, *ports))
    cluster.settle()
    assert brief(cluster) == {ONE: "8080 1"}


def test_both_families_and_names_of_addresses() -> None:
    cluster = pods_cluster(addresses=["192.168.4.15", "2001:db8:4::15"])
    six = {"2001:db8::": None, "::2:1": None, "2001:db8::a:1": None}
    tell(cluster, endpoint_slice({ONE: None}, HTTP), endpoint_slice(six, HTTP, name="pods-6"))
    cluster.settle()
    assert {one.name for one in members(cluster).values()} == {
        "endpoint.10-1-0-1.8080",
        "endpoint.2001-db8--0.8080",
        "endpoint.0--2-1.8080",
        "endpoint.2001-db8--a-1.8080",
    }
    assert condition(cluster, ConditionType.RESOLVED_REFS).status == "True"


def test_entries_and_nodes_go_before_endpoints() -> None:
    named = [testing.real_server("rs1", ONE, port=80, weight=5)]
    nodes = {"selector": {"matchExpressions": [{"key": "lvs-director", "operator": "DoesNotExist"}]}}
    cluster = pods_cluster(pool_fields={"nodes": nodes})
    cluster.put(pool(cluster, realServers=named, nodes=nodes, endpoints={"serviceRef": {"name": "pods"}}))
    tell(cluster, endpoint_slice({ONE: None, TWO: None, "192.168.4.100": None}, HTTP))
    cluster.settle()
    assert {one.name for one in members(cluster).values()} == {"rs1", "node.n1", "node.n2", "endpoint.10-1-0-2.8080"}
    finder = PoolFinder(view=cluster.view())
    spec = cluster.pools[WEB].spec
    assert spec is not None
    assert finder.count(WEB, spec) == 4


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"forwarding": {"method": "DirectRouting"}}, "NeedsMasquerade", "spec.forwarding.method: DirectRouting"),
        ({"forwarding": {"method": "Tunnel"}}, "NeedsMasquerade", "spec.forwarding.method: Tunnel"),
        ({"ports": TWO_PORTS, "portMode": "Grouped"}, "PortMismatch", "spec.endpoints: under portMode Grouped"),
        (
            {"ports": [{"name": "all", "port": 0, "protocol": "TCP"}], "persistence": {"timeoutSeconds": 9}},
            "PortMismatch",
            "spec.endpoints: under port 0",
        ),
        (
            {"addresses": None, "ports": None, "firewallMark": {"value": 1, "families": ["IPv4"]}},
            "PortMismatch",
            "spec.endpoints: under a firewall mark",
        ),
    ],
)
def test_what_can_not_be_is_refused(changes: dict[str, Any], reason: str, field: str) -> None:
    cluster = pods_cluster(**changes)
    tell(cluster, endpoint_slice({ONE: None}, HTTP))
    cluster.settle()
    said = condition(cluster, ConditionType.ACCEPTED)
    assert (said.status, said.reason) == ("False", reason)
    assert field in said.message
    assert members(cluster) == {}


def test_one_name_is_not_for_several_ports() -> None:
    cluster = pods_cluster(HTTP, HTTPS, endpoints={"portName": "http"}, ports=TWO_PORTS)
    cluster.settle()
    said = condition(cluster, ConditionType.ACCEPTED)
    assert (said.status, said.reason) == ("False", "PortMismatch")
    assert "LvsRealServerPool default/web spec.endpoints.portName: http" in said.message


@pytest.mark.parametrize(
    ("core", "endpoints", "reason", "told"),
    [
        (None, {}, "ServiceNotFound", "spec.endpoints.serviceRef.name: Service default/pods does not exist"),
        (core_service(HTTP, type="ExternalName"), {}, "ServiceNotFound", "of type ExternalName"),
        (
            core_service(HTTPS, {**HTTP, "name": "x"}),
            {},
            "PortNotFound",
            "spec.ports[http]: Service default/pods has no",
        ),
        (core_service(), {}, "PortNotFound", "it has none"),
        (
            core_service({**HTTP, "protocol": "UDP"}),
            {},
            "PortNotFound",
            "no TCP port of the name http; it has http/UDP",
        ),
        (
            core_service(HTTP),
            {"portName": "x"},
            "PortNotFound",
            "LvsRealServerPool default/web spec.endpoints.portName",
        ),
    ],
)
def test_what_is_missing_is_told(core: Raw | None, endpoints: Raw, reason: str, told: str) -> None:
    cluster = pods_cluster(endpoints=endpoints)
    cluster.core_services = [] if core is None else [core_service_from_raw(core)]
    tell(cluster, endpoint_slice({ONE: None}, HTTP))
    cluster.settle()
    said = condition(cluster, ConditionType.RESOLVED_REFS)
    assert (said.status, said.reason) == ("False", reason)
    assert told in said.message
    assert members(cluster) == {}


def test_a_deleted_service_freezes_what_runs() -> None:
    cluster = pods_cluster()
    tell(cluster, endpoint_slice({ONE: None, TWO: NOT_READY}, HTTP))
    cluster.settle()
    before, services = brief(cluster), cluster.core_services
    cluster.core_services = []
    tell(cluster)
    cluster.settle()
    assert brief(cluster) == before == {ONE: "8080 1"}
    assert condition(cluster, ConditionType.READY).reason == "ServiceNotFound"
    status = cluster.pools[WEB].status
    assert status is not None
    assert {one.type: one.reason for one in status.conditions or ()}["Ready"] == "ServiceNotFound"
    cluster.core_services = services
    cluster.settle()
    assert brief(cluster) == {}


def test_no_slice_of_a_service_with_a_selector_is_no_news_of_its_pods() -> None:
    cluster = pods_cluster()
    cluster.core_services = [core_service_from_raw(core_service(HTTP, selector={"app": "web"}))]
    tell(cluster, endpoint_slice({ONE: None}, HTTP))
    cluster.settle()
    tell(cluster)
    cluster.settle()
    said = condition(cluster, ConditionType.RESOLVED_REFS)
    assert (said.status, said.reason) == ("False", "EndpointsUnknown")
    assert brief(cluster) == {ONE: "8080 1"}
    tell(cluster, endpoint_slice({}, HTTP))
    cluster.settle()
    assert brief(cluster) == {}


def test_a_slice_that_names_the_vip_is_refused() -> None:
    cluster = pods_cluster()
    tell(cluster, endpoint_slice({ONE: None, "192.168.4.15": None}, HTTP))
    cluster.settle()
    said = condition(cluster, ConditionType.ACCEPTED)
    assert (said.status, said.reason) == ("False", "Invalid")
    assert "EndpointSlice of Service default/pods names 192.168.4.15" in said.message


def test_slices_of_others_and_of_names_are_none_of_ours() -> None:
    cluster = pods_cluster()
    tell(
        cluster,
        endpoint_slice({ONE: None}, HTTP, service="others"),
        endpoint_slice({TWO: None}, HTTP, name="pods-2", addressType="FQDN"),
        endpoint_slice({THREE: None}, {"name": "http", "protocol": "TCP"}, name="pods-3"),
        {**endpoint_slice({THREE: None}, HTTP), "metadata": {"name": "nobodys", "namespace": "default"}},
    )
    cluster.settle()
    assert brief(cluster) == {}
    assert condition(cluster, ConditionType.READY).reason == "NoMembers"


def test_an_edited_method_is_refused_and_what_runs_goes_on() -> None:
    cluster = pods_cluster()
    tell(cluster, endpoint_slice({ONE: None}, HTTP))
    cluster.settle()
    cluster.put(service(cluster, forwarding={"method": "DirectRouting"}))
    cluster.settle()
    assert condition(cluster, ConditionType.ACCEPTED).reason == "NeedsMasquerade"
    assert brief(cluster) == {ONE: "8080 1"}
