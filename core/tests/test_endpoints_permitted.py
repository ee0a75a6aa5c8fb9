"""Pods as real servers where LvsAddressPools say which machines may stand behind whose addresses."""

from typing import Any

import pytest
from core_conditions import brief as said
from core_conditions import condition
from core_objects import WEB, address_pool, pool, real_servers
from endpoint_objects import HTTP, NOT_READY, TERMINATING, Raw, brief, core_service, endpoint_slice, pods_cluster, tell
from simulated_cluster import SimulatedCluster

from lvs_api.conditions import ConditionType
from lvs_core.endpoints import core_service_from_raw

INSIDE, OUTSIDE = "10.1.0.1", "10.9.0.1"
PODS = {"serviceRef": {"name": "pods"}}
SERVED = {INSIDE: "8080 1"}


def guarded(**endpoints: Raw | None) -> SimulatedCluster:
    """A cluster that permits pods of 10.1.0.0/16, where the Service has a selector."""
    cluster: SimulatedCluster = pods_cluster()
    cluster.core_services = [core_service_from_raw(core_service(HTTP, selector={"app": "web"}))]
    cluster.put(address_pool(cluster, realServerRanges=["10.1.0.0/16"]))
    tell(cluster, endpoint_slice(endpoints or {INSIDE: None}, HTTP))
    cluster.settle()
    return cluster


def refusal(cluster: SimulatedCluster) -> tuple[str, str]:
    one = condition(cluster, ConditionType.ACCEPTED)
    return one.reason, one.message.partition(":")[0]


def test_a_pod_that_no_pool_permits_withdraws_the_service() -> None:
    cluster = guarded()
    assert brief(cluster) == SERVED
    tell(cluster, endpoint_slice({INSIDE: None, OUTSIDE: None}, HTTP))
    cluster.settle()
    assert cluster.slices == {}
    assert refusal(cluster) == ("NotPermitted", "real server endpoint.10-9-0-1.8080")
    tell(cluster, endpoint_slice({INSIDE: None}, HTTP))
    cluster.settle()
    assert brief(cluster) == SERVED


def test_a_pod_that_terminates_needs_no_permission() -> None:
    cluster = guarded()
    tell(cluster, endpoint_slice({INSIDE: None, OUTSIDE: TERMINATING}, HTTP))
    cluster.settle()
    assert brief(cluster) == SERVED


def test_one_that_terminates_is_nobodys_last_without_a_permission() -> None:
    cluster = guarded(**{INSIDE: None, "10.1.0.2": None})
    tell(cluster, endpoint_slice({INSIDE: NOT_READY, "10.1.0.2": TERMINATING, OUTSIDE: TERMINATING}, HTTP))
    cluster.settle()
    assert brief(cluster) == {INSIDE: "8080 0", "10.1.0.2": "8080 1"}
    assert said(cluster)["Accepted"] == "True Accepted"


@pytest.mark.parametrize("on_failure", ["ZeroWeight", "Remove"])
def test_one_that_is_not_ready_does_for_it_may_be_ready_in_a_moment(on_failure: str) -> None:
    cluster = guarded()
    cluster.put(pool(cluster, realServers=None, endpoints=PODS, onFailure=on_failure))
    tell(cluster, endpoint_slice({INSIDE: None, OUTSIDE: NOT_READY}, HTTP))
    cluster.settle()
    assert cluster.slices == {}
    assert refusal(cluster) == ("NotPermitted", "real server endpoint.10-9-0-1.8080")


@pytest.mark.parametrize(
    ("state", "reason"), [("Active", "NotPermitted"), ("Draining", "Accepted"), ("Disabled", "Accepted")]
)
def test_a_machine_that_leaves_needs_none(state: str, reason: str) -> None:
    cluster = guarded()
    (machine,) = real_servers(old=OUTSIDE)
    fields: dict[str, Any] = {
        "endpoints": {"serviceRef": {"name": "pods"}},
        "realServers": [{**machine, "state": state}],
    }
    cluster.put(pool(cluster, **fields))
    cluster.settle()
    assert condition(cluster, ConditionType.ACCEPTED).reason == reason


@pytest.mark.parametrize("gone", ["slices", "Service"])
def test_a_permission_is_taken_back_while_endpoints_are_unknown(gone: str) -> None:
    cluster = guarded()
    tell(cluster)
    cluster.core_services = cluster.core_services if gone == "slices" else []
    cluster.settle()
    assert brief(cluster) == SERVED
    assert said(cluster)["ResolvedRefs"] == f"False {'EndpointsUnknown' if gone == 'slices' else 'ServiceNotFound'}"
    cluster.put(address_pool(cluster, realServerRanges=["10.2.0.0/16"]))
    cluster.settle()
    assert cluster.slices == {}
    assert said(cluster)["Accepted"] == "False NotPermitted"
    assert said(cluster)["ResolvedRefs"] == "Unknown Pending"


@pytest.mark.parametrize(("taken", "given"), [("192.168.4.64", "192.168.4.65"), ("192.168.4.65", "192.168.4.64")])
def test_an_address_that_an_endpoint_has_is_not_given_out(taken: str, given: str) -> None:
    """Machines in slices that somebody wrote by hand may stand in the networks of VIPs."""
    cluster: SimulatedCluster = pods_cluster(addresses=None, addressPoolRef={"name": "public"})
    cluster.put(address_pool(cluster, ranges=["192.168.4.64-192.168.4.65"]))
    tell(cluster, endpoint_slice({taken: None}, HTTP))
    cluster.settle()
    assert said(cluster)["Accepted"] == "True Accepted"
    status = cluster.services[WEB].status
    assert status is not None
    assert status.addresses == [given]
