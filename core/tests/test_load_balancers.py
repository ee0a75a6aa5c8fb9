"""Services of type LoadBalancer: which are ours, what is made of them, and what is said of what cannot be."""

from typing import Any

import pytest

from lvs_api.kinds import REAL_SERVER_POOL, VIRTUAL_SERVICE
from lvs_api.objects import parse_object
from lvs_core.load_balancers import LoadBalancer, load_balancer_from_raw

PREFIX = "lvs-operator.io"
Json = dict[str, Any]


def a_service(annotations: dict[str, str] | None = None, **spec: object) -> Json:
    ports = [{"name": "a-name-longer-than-ours", "protocol": "TCP", "port": 80, "nodePort": 30080, "targetPort": 8080}]
    base: Json = {
        "type": "LoadBalancer",
        "loadBalancerClass": "lvs-operator.io/lvs",
        "ports": ports,
        "ipFamilies": ["IPv4"],
        "externalTrafficPolicy": "Cluster",
        "sessionAffinity": "None",
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u", "annotations": annotations or {}},
        "spec": {name: value for name, value in {**base, **spec}.items() if value is not None},
    }


def read(raw: Json) -> LoadBalancer:
    found = load_balancer_from_raw(raw)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "spec",
    [{"loadBalancerClass": None}, {"loadBalancerClass": "example.org/other"}, {"type": "NodePort"}, {"type": None}],
)
def test_services_of_others_are_none_of_ours(spec: Json) -> None:
    assert load_balancer_from_raw(a_service(**spec)) is None


def test_what_is_made() -> None:
    made = read(a_service())
    assert made.faults == ()
    assert made.service == {
        "ports": [{"name": "80-tcp", "protocol": "TCP", "port": 80, "realServerPort": 30080}],
        "forwarding": {"method": "Masquerade", "sourceNat": True},
        "realServerPoolRef": {"name": "web"},
        "addressPoolRef": {"name": "default", "families": ["IPv4"]},
    }
    assert made.pool["healthCheck"] == {"port": 10256, "http": {"path": "/healthz"}}
    for kind, spec in ((VIRTUAL_SERVICE, made.service), (REAL_SERVER_POOL, made.pool)):
        raw = {"apiVersion": "lvs-operator.io/v1alpha1", "kind": kind.name, "metadata": {"name": "web"}, "spec": spec}
        assert parse_object(kind, raw).spec is not None


def test_local_is_asked_of_the_nodes() -> None:
    made = read(a_service(externalTrafficPolicy="Local", healthCheckNodePort=31000))
    assert made.faults == ()
    assert made.pool["healthCheck"] == {"port": 31000, "http": {"path": "/healthz"}}


@pytest.mark.parametrize(
    ("annotation", "value", "field", "expected"),
    [
        ("address-pool", "public", "addressPoolRef", {"name": "public", "families": ["IPv4"]}),
        ("addresses", "192.168.4.15, 2001:db8::15", "addresses", ["192.168.4.15", "2001:db8::15"]),
        ("director-group", "edge", "directorGroupRef", {"name": "edge"}),
        ("scheduler", "sh", "scheduler", "sh"),
        ("source-nat", "false", "forwarding", {"method": "Masquerade", "sourceNat": False}),
    ],
)
def test_annotations(annotation: str, value: str, field: str, expected: object) -> None:
    made = read(a_service({f"{PREFIX}/{annotation}": value}))
    assert made.faults == ()
    assert made.service[field] == expected


@pytest.mark.parametrize(("config", "seconds"), [(None, 10800), ({"clientIP": {"timeoutSeconds": 60}}, 60)])
def test_affinity_is_persistence(config: Json | None, seconds: int) -> None:
    made = read(a_service(sessionAffinity="ClientIP", sessionAffinityConfig=config))
    assert made.service["persistence"] == {"timeoutSeconds": seconds}


@pytest.mark.parametrize(
    ("annotations", "spec", "field"),
    [
        ({f"{PREFIX}/adresses": "192.168.4.15"}, {}, f"metadata.annotations[{PREFIX}/adresses]"),
        ({f"{PREFIX}/addresses": "192.168.4"}, {}, f"metadata.annotations[{PREFIX}/addresses]"),
        ({f"{PREFIX}/addresses": "192.168.4.1,192.168.4.2"}, {}, f"metadata.annotations[{PREFIX}/addresses]"),
        ({f"{PREFIX}/scheduler": "best"}, {}, f"metadata.annotations[{PREFIX}/scheduler]"),
        ({f"{PREFIX}/director-group": "No One"}, {}, f"metadata.annotations[{PREFIX}/director-group]"),
        ({f"{PREFIX}/address-pool": "No One"}, {}, f"metadata.annotations[{PREFIX}/address-pool]"),
        ({f"{PREFIX}/source-nat": "no"}, {}, f"metadata.annotations[{PREFIX}/source-nat]"),
        ({f"{PREFIX}/health-check-port": "0"}, {}, f"metadata.annotations[{PREFIX}/health-check-port]"),
        ({f"{PREFIX}/health-check-port": "http"}, {}, f"metadata.annotations[{PREFIX}/health-check-port]"),
        (
            {f"{PREFIX}/addresses": "192.168.4.15", f"{PREFIX}/address-pool": "public"},
            {},
            f"metadata.annotations[{PREFIX}/addresses]",
        ),
        ({}, {"loadBalancerSourceRanges": ["10.0.0.0/8"]}, "spec.loadBalancerSourceRanges"),
        ({}, {"loadBalancerIP": "192.168.4.15"}, "spec.loadBalancerIP"),
        ({}, {"ports": [{"port": 80}]}, "spec.allocateLoadBalancerNodePorts"),
        ({}, {"ports": [{"port": one, "nodePort": 30000 + one} for one in range(1, 34)]}, "spec.ports"),
    ],
)
def test_what_cannot_be_is_named(annotations: dict[str, str], spec: Json, field: str) -> None:
    made = read(a_service(annotations, **spec))
    assert [one.field for one in made.faults] == [field]


def test_annotations_of_others_are_none_of_ours() -> None:
    assert read(a_service({"example.org/addresses": "x", "lvs-operator.io.example/x": "y"})).faults == ()


def test_addresses_that_its_status_tells() -> None:
    raw = a_service() | {"status": {"loadBalancer": {"ingress": [{"ip": "192.168.4.15"}, {"hostname": "x"}]}}}
    assert read(raw).ingress == ("192.168.4.15",)
