"""Raw objects become typed values, or an error that names every field at fault."""

from typing import Any

import pytest

from lvs_api.kinds import NODE, REAL_SERVER_POOL, SERVICE_SLICE, VIRTUAL_SERVICE
from lvs_api.network_types import Protocol, Scheduler
from lvs_api.objects import ObjectMeta, OwnerReference, find_violations, parse_metadata, parse_object, to_raw
from lvs_api.real_server_pool import RealServerState
from lvs_api.testing import director_group, lvs_node, real_server, real_server_pool, service_slice, virtual_service
from lvs_api.violations import InvalidObject, field_path
from support.api_cases import ApiCase, all_cases, changed, python_says


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_the_table_of_the_api(case: ApiCase) -> None:
    """The same table runs against a real API server in e2e/api."""
    violations = python_says(case.raw)
    assert (case.refused is None) == (violations == ())
    if case.refused is not None:
        assert any(case.refused == said.field and case.saying in said.message for said in violations), violations


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (52, "must be a string: in YAML put it in quotes"),
        (True, "must be a string: in YAML put it in quotes"),
        (None, "must be a string"),
        ({"a": "b"}, "must be a string"),
        (["a"], "must be a string"),
    ],
)
def test_quotes_are_asked_for_where_they_would_help(wrong: object, said: str) -> None:
    (violation,) = python_says(director_group(ignoreAnswersFrom=[wrong]))
    assert (violation.field, violation.message) == ("spec.ignoreAnswersFrom[0]", said)


def test_a_whole_object() -> None:
    raw = virtual_service("web", namespace="shop")
    raw["metadata"] |= {
        "labels": {"a": "b"},
        "deletionTimestamp": "2025-01-02T00:00:00Z",
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": True}],
        "managedFields": [{"manager": "kubectl"}],
    }
    read = parse_object(VIRTUAL_SERVICE, raw)
    assert read.metadata == ObjectMeta(
        name="web",
        namespace="shop",
        uid="lvsvirtualservice-web",
        generation=1,
        resource_version="1",
        labels={"a": "b"},
        creation_timestamp="2025-01-01T00:00:00Z",
        deletion_timestamp="2025-01-02T00:00:00Z",
        owner_references=(OwnerReference(api_version="v1", kind="Node", name="n", uid="u", controller=True),),
    )
    assert read.metadata.qualified_name == "shop/web"
    assert read.status is None
    assert (read.spec.scheduler, read.spec.ports[0].protocol) == (Scheduler.WLC, Protocol.TCP)


def test_absent_below_an_array_is_the_default() -> None:
    raw = real_server_pool(realServers=[real_server("a", "10.0.0.1")])
    server = (parse_object(REAL_SERVER_POOL, raw).spec.real_servers or [])[0]
    assert (server.state, server.upper_threshold, server.lower_threshold) == (RealServerState.ACTIVE, 0, 0)
    assert (server.weight, server.port, server.forwarding) == (None, None, None)


def test_what_is_written_reads_back_the_same() -> None:
    spec = parse_object(REAL_SERVER_POOL, real_server_pool()).spec
    raw = real_server_pool() | {"spec": to_raw(spec)}
    assert parse_object(REAL_SERVER_POOL, raw).spec == spec
    assert to_raw(parse_object(REAL_SERVER_POOL, raw).spec) == to_raw(spec)


@pytest.mark.parametrize(
    ("path", "value", "fields"),
    [
        (("kind",), "Service", ["kind"]),
        (("apiVersion",), "v1", ["kind"]),
        (("extra",), 1, ["extra"]),
        (("metadata",), None, ["metadata.name"]),
        (("metadata", "name"), 5, ["metadata.name"]),
        (("metadata", "name"), "A_b", ["metadata.name"]),
        (("metadata", "namespace"), "A.b", ["metadata.namespace"]),
        (("metadata", "labels"), {"a": 1}, ["metadata.labels.a"]),
        (("spec",), None, ["spec"]),
        (("spec",), [], ["spec"]),
        (("spec", "when"), pytest, ["spec"]),
        (("spec", "paused"), "yes", ["spec.paused"]),
        (("spec", "one_packet_scheduling"), True, ["spec.one_packet_scheduling"]),
        (("spec", "ports"), [{"name": "a", "port": True}], ["spec.ports[0].port"]),
        (
            ("spec", "ports"),
            [{"name": "a", "port": "80"}, {"port": 70000}],
            ["spec.ports[0].port", "spec.ports[1].name", "spec.ports[1].port"],
        ),
        (("status",), {"observedGeneration": "1"}, ["status.observedGeneration"]),
    ],
    ids=str,
)
def test_every_fault_is_named(path: tuple[str, ...], value: object, fields: list[str]) -> None:
    with pytest.raises(InvalidObject) as refused:
        parse_object(VIRTUAL_SERVICE, changed(virtual_service(), path, value))
    assert [violation.field for violation in refused.value.violations] == fields
    assert all(field in str(refused.value) for field in fields)


def test_faults_of_metadata_and_spec_are_told_together() -> None:
    raw = changed(changed(virtual_service(), ("metadata", "name"), ""), ("spec", "scheduler"), "x")
    with pytest.raises(InvalidObject) as refused:
        parse_object(VIRTUAL_SERVICE, raw)
    assert [violation.field for violation in refused.value.violations] == ["metadata.name", "spec.scheduler"]


def test_a_newer_agents_report_is_read() -> None:
    raw = lvs_node() | {"status": {"bootId": "b", "fromTheFuture": {"a": 1}, "addresses": []}}
    status = parse_object(NODE, raw).status
    assert status is not None
    assert status.boot_id == "b"


def test_a_word_of_a_newer_agent_costs_its_item_only() -> None:
    newer = {"address": "192.168.4.15", "device": "lo", "state": "FromTheFuture"}
    known = {"address": "192.168.4.16", "device": "lo", "state": "Bound"}
    raw = lvs_node() | {"status": {"bootId": "b", "addresses": [newer, known]}}
    status = parse_object(NODE, raw).status
    assert status is not None
    assert [one.address for one in status.addresses or ()] == ["192.168.4.16"]
    raw["status"]["addresses"][1]["state"] = 5
    raw["status"]["observedGeneration"] = "1"
    with pytest.raises(InvalidObject) as refused:
        parse_object(NODE, raw)
    assert "status.observedGeneration" in [violation.field for violation in refused.value.violations]


def test_only_generated_objects_may_have_fields_of_a_newer_operator() -> None:
    raw = changed(service_slice(), ("spec", "fromTheFuture"), {"a": 1})
    assert parse_object(SERVICE_SLICE, raw, generated=True) == parse_object(SERVICE_SLICE, service_slice())
    with pytest.raises(InvalidObject, match=r"spec\.fromTheFuture"):
        parse_object(SERVICE_SLICE, raw)


def test_namespaces() -> None:
    raw: dict[str, Any] = {"kind": "Node", "metadata": {"name": "n1"}}
    assert parse_metadata(raw, namespaced=False).namespace is None
    assert parse_metadata(raw, namespaced=True).namespace == "default"
    raw["metadata"]["namespace"] = "shop"
    with pytest.raises(InvalidObject, match=r"metadata\.namespace: Node is cluster-scoped"):
        parse_metadata(raw, namespaced=False)


def test_rules_name_the_item() -> None:
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 0, "realServerPort": 1}]
    raw = virtual_service(ports=ports, persistence={}, forwarding={"method": "Masquerade"})
    (violation,) = find_violations(parse_object(VIRTUAL_SERVICE, raw))
    expected = "spec.ports[1].realServerPort: realServerPort is not for port 0: every port stays as it is"
    assert str(violation) == expected


def test_field_paths() -> None:
    assert field_path("spec", ("ports", 1, "realServerPort")) == "spec.ports[1].realServerPort"
    assert field_path("", ("metadata", "name")) == "metadata.name"
