"""What is found once and used again: only while everything that it follows from is the same.

That it changes no decision is asserted in each round of every simulated cluster.
"""

from core_objects import WEB, node, pool, service, small_cluster
from endpoint_objects import HTTP, endpoint_slice, pods_cluster, tell
from simulated_cluster import SimulatedCluster

from lvs_api import testing
from lvs_core.findings import Finding, Rest


def finding(cluster: SimulatedCluster) -> Finding:
    return cluster.memory.findings.members[WEB]


def rest(cluster: SimulatedCluster) -> Rest | None:
    return cluster.memory.findings.rests.get(WEB)


def test_a_service_at_rest_is_not_found_out_again() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.round()
    found, rested = finding(cluster), rest(cluster)
    assert rested is not None
    cluster.round()
    assert finding(cluster) is found
    assert rest(cluster) is rested


def test_an_edit_is_found_out_and_ends_the_rest_until_it_is_carried_out() -> None:
    cluster = small_cluster()
    cluster.settle()
    before = finding(cluster)
    cluster.put(pool(cluster, realServers=[testing.real_server("rs1", "192.168.4.100", weight=9)]))
    cluster.round()
    assert finding(cluster) is not before
    assert rest(cluster) is None
    cluster.settle()
    cluster.round()
    assert rest(cluster) is not None


def test_what_a_node_reports_ends_the_rest_of_services_that_it_is_in() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.round()
    rested = rest(cluster)
    cluster.reboot("n1")
    cluster.report("n1")
    cluster.round()
    assert rest(cluster) is not rested


def test_another_node_makes_everything_be_found_out() -> None:
    cluster = small_cluster()
    cluster.settle()
    before = finding(cluster)
    cluster.add_node(node("stranger", "192.168.4.77"))
    cluster.round()
    assert finding(cluster) is not before


def test_who_leaves_is_no_rest() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.put(service(cluster, scheduler="rr"))
    cluster.put(pool(cluster, realServers=[testing.real_server("rs1", "192.168.4.100")]))
    cluster.round()
    cluster.round()
    (slice_,) = cluster.slices.values()
    assert any(one.draining_seconds is not None for one in slice_.content.members)
    assert rest(cluster) is None


def test_endpoints_count_for_who_names_their_service() -> None:
    cluster = pods_cluster()
    tell(cluster, endpoint_slice({"10.9.0.1": None}, HTTP))
    cluster.settle()
    before = finding(cluster)
    other = endpoint_slice({"10.9.0.7": None}, HTTP, name="other-1", service="other")
    tell(cluster, endpoint_slice({"10.9.0.1": None}, HTTP), other)
    cluster.round()
    assert finding(cluster) is before
    tell(cluster, endpoint_slice({"10.9.0.1": None, "10.9.0.2": None}, HTTP), other)
    cluster.round()
    assert finding(cluster) is not before
