"""Services of type LoadBalancer: which are ours, what they ask for, and what is said of what cannot be."""

import re
from pathlib import Path
from typing import Any

import pytest
from load_balancer_objects import PREFIX, balanced, read, read_former

from lvs_api.objects import to_raw
from lvs_core.load_balancers import KNOWN, SOURCE_RANGES, load_balancer_from_raw

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "use-services-of-type-loadbalancer.md"
Json = dict[str, Any]
OWN = {
    "type": f"{PREFIX}/Ready",
    "status": "True",
    "reason": "Ready",
    "message": "m",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
TWO_PORTS = [{"name": "http", "port": 80, "nodePort": 30080}, {"name": "https", "port": 443, "nodePort": 30443}]


def service(raw: Json) -> Json:
    made = read(raw)
    assert made.service is not None, made.faults
    return to_raw(made.service)


def pool(raw: Json) -> Json:
    made = read(raw)
    assert made.pool is not None, made.faults
    return to_raw(made.pool)


@pytest.mark.parametrize(
    "spec",
    [{"loadBalancerClass": None}, {"loadBalancerClass": "example.org/other"}, {"type": "NodePort"}, {"type": None}],
)
def test_services_of_others_are_none_of_ours(spec: Json) -> None:
    assert load_balancer_from_raw(balanced(**spec)) is None
    foreign = {**OWN, "type": "example.org/Ready"}
    assert load_balancer_from_raw(balanced(**spec) | {"status": {"conditions": [foreign]}}) is None


@pytest.mark.parametrize(("spec", "balancer"), [({"loadBalancerClass": "a.b/c"}, True), ({"type": "NodePort"}, False)])
def test_one_that_was_ours_is_known_by_what_it_says(spec: Json, balancer: bool) -> None:
    former = read_former(balanced(**spec) | {"status": {"conditions": [OWN]}})
    assert former.is_load_balancer is balancer
    assert [one.type for one in former.status.conditions] == ["Ready"]


def test_a_condition_that_cannot_be_read_is_none() -> None:
    raw = balanced() | {"status": {"conditions": [{**OWN, "status": "Perhaps"}]}}
    assert read(raw).status.conditions == ()


def test_pods_are_the_real_servers() -> None:
    made = service(balanced())
    assert made["ports"] == [{"name": "80-tcp", "protocol": "TCP", "port": 80}]
    assert made["forwarding"] == {"method": "Masquerade", "sourceNat": True}
    assert made["realServerPoolRef"] == {"name": "web"}
    assert made["addressPoolRef"]["families"] == ["IPv4"]
    assert pool(balanced())["endpoints"] == {"serviceRef": {"name": "web"}}
    assert "healthCheck" not in pool(balanced())


def test_several_ports_have_the_names_by_which_pods_are_found() -> None:
    ports = [(one["name"], one["port"]) for one in service(balanced(ports=TWO_PORTS))["ports"]]
    assert ports == [("http", 80), ("https", 443)]


def test_nodes_are_the_real_servers_where_asked_for() -> None:
    raw = balanced({"real-servers": "Nodes"}, ports=TWO_PORTS)
    ports = [(one["name"], one["port"], one["realServerPort"]) for one in service(raw)["ports"]]
    assert ports == [("80-tcp", 80, 30080), ("443-tcp", 443, 30443)]
    made = pool(raw)
    (excluded,) = made["nodes"]["selector"]["matchExpressions"]
    assert excluded == {"key": "node.kubernetes.io/exclude-from-external-load-balancers", "operator": "DoesNotExist"}
    assert (made["healthCheck"]["port"], made["healthCheck"]["http"]["path"]) == (10256, "/healthz")


def test_local_nodes_say_at_the_port_of_kubernetes_whether_they_have_a_pod() -> None:
    raw = balanced({"real-servers": "Nodes"}, externalTrafficPolicy="Local", healthCheckNodePort=31000)
    assert pool(raw)["healthCheck"]["port"] == 31000


@pytest.mark.parametrize(
    ("policy", "said", "source_nat"),
    [
        ("Cluster", None, True),
        ("Local", None, False),
        ("Cluster", "false", False),
        ("Local", "true", True),
    ],
)
def test_local_keeps_clients_addresses(policy: str, said: str | None, source_nat: bool) -> None:
    annotations = {} if said is None else {"source-nat": said}
    assert service(balanced(annotations, externalTrafficPolicy=policy))["forwarding"]["sourceNat"] is source_nat


@pytest.mark.parametrize(
    ("annotation", "value", "field", "expected"),
    [
        ("address-pool", "public", "addressPoolRef", {"name": "public", "families": ["IPv4"]}),
        ("addresses", "192.168.4.15, 2001:db8::15", "addresses", ["192.168.4.15", "2001:db8::15"]),
        ("director-group", "edge", "directorGroupRef", {"name": "edge"}),
        ("scheduler", "sh", "scheduler", "sh"),
    ],
)
def test_annotations(annotation: str, value: str, field: str, expected: object) -> None:
    assert service(balanced({annotation: value}))[field] == expected


def test_one_that_is_being_deleted_asks_for_nothing() -> None:
    raw = balanced()
    raw["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert load_balancer_from_raw(raw) is None
    assert read_former(raw | {"status": {"conditions": [OWN]}}).is_load_balancer


def test_pods_are_checked_where_asked_for() -> None:
    check = pool(balanced({"health-check": "TCP"}))["healthCheck"]
    assert check["tcp"] == {}
    assert "port" not in check


def test_a_check_port_of_nodes() -> None:
    assert pool(balanced({"real-servers": "Nodes", "health-check-port": "8080"}))["healthCheck"]["port"] == 8080


@pytest.mark.parametrize(("config", "seconds"), [(None, 10800), ({"clientIP": {"timeoutSeconds": 60}}, 60)])
def test_affinity_is_persistence(config: Json | None, seconds: int) -> None:
    raw = balanced(sessionAffinity="ClientIP", sessionAffinityConfig=config)
    assert service(raw)["persistence"]["timeoutSeconds"] == seconds


@pytest.mark.parametrize(
    ("annotations", "spec", "field"),
    [
        ({"adresses": "192.168.4.15"}, {}, f"metadata.annotations[{PREFIX}/adresses]"),
        ({"addresses": "192.168.4"}, {}, f"metadata.annotations[{PREFIX}/addresses]"),
        ({"addresses": "192.168.4.1,192.168.4.2"}, {}, f"metadata.annotations[{PREFIX}/addresses]"),
        ({"scheduler": "best"}, {}, f"metadata.annotations[{PREFIX}/scheduler]"),
        ({"director-group": "No One"}, {}, f"metadata.annotations[{PREFIX}/director-group]"),
        ({"address-pool": "No One"}, {}, f"metadata.annotations[{PREFIX}/address-pool]"),
        ({"source-nat": "no"}, {}, f"metadata.annotations[{PREFIX}/source-nat]"),
        ({"real-servers": "nodes"}, {}, f"metadata.annotations[{PREFIX}/real-servers]"),
        (
            {"real-servers": "Nodes", "health-check-port": "0"},
            {},
            f"metadata.annotations[{PREFIX}/health-check-port]",
        ),
        (
            {"real-servers": "Nodes", "health-check-port": "http"},
            {},
            f"metadata.annotations[{PREFIX}/health-check-port]",
        ),
        (
            {"real-servers": "Nodes", "health-check-port": "9" * 5000},
            {},
            f"metadata.annotations[{PREFIX}/health-check-port]",
        ),
        ({"health-check-port": "80"}, {}, f"metadata.annotations[{PREFIX}/health-check-port]"),
        ({"health-check": "HTTP"}, {}, f"metadata.annotations[{PREFIX}/health-check]"),
        ({"health-check": "TCP", "real-servers": "Nodes"}, {}, f"metadata.annotations[{PREFIX}/health-check]"),
        (
            {"health-check": "TCP"},
            {"ports": [*TWO_PORTS, {"name": "dns", "port": 53, "protocol": "UDP"}]},
            f"metadata.annotations[{PREFIX}/health-check]",
        ),
        (
            {"real-servers": "Nodes", "health-check-port": "80"},
            {"externalTrafficPolicy": "Local", "healthCheckNodePort": 31000},
            f"metadata.annotations[{PREFIX}/health-check-port]",
        ),
        (
            {"addresses": "192.168.4.15", "address-pool": "public"},
            {},
            f"metadata.annotations[{PREFIX}/addresses]",
        ),
        ({}, {"loadBalancerSourceRanges": ["10.0.0.0/8"]}, "spec.loadBalancerSourceRanges"),
        ({}, {"loadBalancerIP": "192.168.4.15"}, "spec.loadBalancerIP"),
        ({"real-servers": "Nodes"}, {"ports": [{"port": 80}]}, "spec.allocateLoadBalancerNodePorts"),
        ({}, {"ports": [*TWO_PORTS, {"name": "a-name-longer-than-ours", "port": 81}]}, "spec.ports[2].name"),
        ({}, {"ports": [{"name": f"p{one}", "port": one} for one in range(1, 34)]}, "spec.ports"),
    ],
)
def test_what_cannot_be_is_named(annotations: dict[str, str], spec: Json, field: str) -> None:
    made = read(balanced(annotations, **spec))
    assert [one.field for one in made.faults] == [field]
    assert (made.pool, made.service) == (None, None)


def test_source_ranges_are_refused_by_their_older_name_too() -> None:
    raw = balanced()
    raw["metadata"]["annotations"][SOURCE_RANGES] = "10.0.0.0/8"
    assert [one.field for one in read(raw).faults] == [f"metadata.annotations[{SOURCE_RANGES}]"]
    raw["metadata"]["annotations"][SOURCE_RANGES] = ""
    assert read(raw).faults == ()


def test_one_port_number_of_two_protocols_and_a_port_without_a_name() -> None:
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    made = service(balanced(ports=[*ports, {"name": "5060", "port": 5060, "protocol": "SCTP"}]))
    assert [(one["name"], one["protocol"], one["port"]) for one in made["ports"]] == [
        ("dns", "UDP", 53),
        ("dns-tcp", "TCP", 53),
        ("5060", "SCTP", 5060),
    ]
    assert service(balanced(ports=[{"port": 53, "protocol": "UDP"}]))["ports"] == [
        {"name": "53-udp", "protocol": "UDP", "port": 53}
    ]


def test_the_longest_name_of_a_service_is_one_of_ours() -> None:
    assert read(balanced(name="a" * 63)).faults == ()


def test_names_that_are_too_long_for_pods_do_for_nodes_and_for_one_port() -> None:
    long = {"name": "a-name-longer-than-ours", "port": 81, "nodePort": 30081}
    assert read(balanced({"real-servers": "Nodes"}, ports=[*TWO_PORTS, long])).faults == ()
    assert read(balanced(ports=[long])).faults == ()


def test_annotations_of_others_are_none_of_ours() -> None:
    raw = balanced()
    raw["metadata"]["annotations"] = {"example.org/addresses": "x", "lvs-operator.io.example/x": "y"}
    assert read(raw).faults == ()


def test_every_annotation_is_documented_and_no_other() -> None:
    told = re.findall(r"^\| `(\S+/\S+)` \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    conditions = {f"{PREFIX}/Accepted", f"{PREFIX}/Ready"}
    assert sorted(set(told) - conditions) == sorted(KNOWN)
