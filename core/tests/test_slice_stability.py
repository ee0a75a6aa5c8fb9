"""Slices under any edit of the pool: members stay where they are, and nothing is lost or doubled."""

import hashlib
from random import Random

import pytest
from core_objects import WEB, pool, service, small_cluster
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_cluster import SimulatedCluster

from lvs_api import testing
from lvs_api.network_types import LabelSelector, LabelSelectorRequirement
from lvs_api.service_slice import MEMBERS_PER_SLICE, AcceptedService
from lvs_core.cluster_view import ClusterNode
from lvs_core.digest import SliceVersion, view_digest
from lvs_core.selectors import selects

MASQUERADE = {"method": "Masquerade"}


def servers(numbers: set[int]) -> list[dict[str, object]]:
    return [testing.real_server(f"rs{n}", f"10.0.{n // 200}.{n % 200 + 1}") for n in sorted(numbers)]


def places(cluster: SimulatedCluster) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in cluster.slices.values():
        for member in one.content.members:
            assert member.name not in found, "a member stands twice"
            found[member.name] = one.content.index
    return found


def test_256_members_take_three_slices() -> None:
    cluster = small_cluster(forwarding=MASQUERADE)
    cluster.put(pool(cluster, realServers=servers(set(range(256)))))
    cluster.settle()
    sizes = {one.content.index: len(one.content.members) for one in cluster.slices.values()}
    assert sizes == {0: 100, 1: 100, 2: 56}
    assert [one.content.index for one in cluster.slices.values() if one.content.service is not None] == [0]
    before = places(cluster)
    staying = {name for name, index in before.items() if index != 0}
    cluster.put(pool(cluster, realServers=servers({int(name.removeprefix("rs")) for name in staying})))
    cluster.settle()
    after = places(cluster)
    assert set(after) == staying
    assert all(before[name] == index for name, index in after.items())
    assert {one.content.index for one in cluster.slices.values()} == {0, 1, 2}, "the first carries the settings"


def test_members_of_more_than_256_come_from_a_selector() -> None:
    cluster = small_cluster(forwarding=MASQUERADE)
    for number in range(300):
        address = f"10.1.{number // 200}.{number % 200 + 1}"
        cluster.nodes[f"w{number}"] = ClusterNode(
            name=f"w{number}", labels={"app": "web"}, internal_addresses=(address,)
        )
    cluster.put(pool(cluster, realServers=None, nodes={"selector": {"matchLabels": {"app": "web"}}}))
    cluster.settle()
    assert len(places(cluster)) == 300
    assert sorted(len(one.content.members) for one in cluster.slices.values()) == [100, 100, 100]


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sets(st.integers(0, 255), min_size=1), min_size=2, max_size=6), st.integers(0, 2))
def test_members_never_move(pools: list[set[int]], finished: int) -> None:
    cluster = small_cluster(forwarding=MASQUERADE)
    cluster.settle()
    before: dict[str, int] = {}
    for step, numbers in enumerate(pools):
        cluster.put(pool(cluster, realServers=servers(numbers)))
        cluster.round()
        after = places(cluster)
        assert {f"rs{n}" for n in numbers} <= set(after)
        assert {name: after.get(name, index) for name, index in before.items()} == before
        assert all(len(one.content.members) <= MEMBERS_PER_SLICE for one in cluster.slices.values())
        assert cluster.services[WEB].status is not None
        cluster.act("d1")
        if step >= finished:
            cluster.finish("d1")
        cluster.report("d1")
        before = after
    cluster.settle()
    assert set(places(cluster)) == {f"rs{n}" for n in pools[-1]}


VERSIONS = st.sets(st.tuples(st.uuids().map(str), st.integers(1, 2**62)), max_size=20)


@given(VERSIONS, st.randoms(use_true_random=False))
def test_a_digest_depends_on_the_set_alone(versions: set[tuple[str, int]], random: Random) -> None:
    ordered = [SliceVersion(*one) for one in sorted(versions)]
    shuffled = list(ordered)
    random.shuffle(shuffled)
    assert view_digest(shuffled) == view_digest(ordered)


@given(VERSIONS, VERSIONS)
def test_other_slices_have_another_digest(one: set[tuple[str, int]], two: set[tuple[str, int]]) -> None:
    digests = [view_digest(SliceVersion(*version) for version in versions) for versions in (one, two)]
    assert (digests[0] == digests[1]) == (one == two)


def test_the_digest_of_nothing_and_of_one() -> None:
    """The bytes are part of the contract between operators and agents of different versions."""
    assert view_digest([]) == hashlib.sha256(b"").hexdigest()
    assert view_digest([SliceVersion("b", 2), SliceVersion("a", 10)]) == hashlib.sha256(b"a 10\nb 2\n").hexdigest()


@pytest.mark.parametrize(
    ("operator", "values", "labels", "expected"),
    [
        ("In", ["a", "b"], {"k": "a"}, True),
        ("In", ["a"], {"k": "c"}, False),
        ("In", ["a"], {}, False),
        ("NotIn", ["a"], {"k": "a"}, False),
        ("NotIn", ["a"], {"k": "b"}, True),
        ("NotIn", ["a"], {}, True),
        ("Exists", None, {"k": ""}, True),
        ("Exists", None, {}, False),
        ("DoesNotExist", None, {}, True),
        ("DoesNotExist", None, {"k": "a"}, False),
    ],
)
def test_selectors(operator: str, values: list[str] | None, labels: dict[str, str], *, expected: bool) -> None:
    requirement = LabelSelectorRequirement.model_validate({"key": "k", "operator": operator, "values": values})
    assert selects(LabelSelector(match_expressions=[requirement]), labels) is expected
    assert selects(LabelSelector(match_labels={"x": "y"}, match_expressions=[requirement]), labels) is False
    assert selects(LabelSelector(), labels) is True


def test_a_paused_service_keeps_its_addresses_and_ports_in_the_slices() -> None:
    cluster = small_cluster()
    cluster.settle()
    ports = [{"name": "https", "port": 443}]
    cluster.put(service(cluster, addresses=["192.168.4.16"], ports=ports, scheduler="wlc", paused=True))
    cluster.settle()
    assert (accepted(cluster).addresses, accepted(cluster).ports[0].port) == ([testing.VIP], 80)
    assert (accepted(cluster).paused, accepted(cluster).scheduler) == (True, "wlc")
    named = {one.address for node in ("n1", "n2") for one in cluster.lvs_nodes[node].spec.addresses or ()}
    assert named == {testing.VIP}
    cluster.put(service(cluster, addresses=["192.168.4.16"], ports=ports, scheduler="wlc"))
    cluster.settle()
    assert (accepted(cluster).addresses, accepted(cluster).ports[0].port) == (["192.168.4.16"], 443)


def accepted(cluster: SimulatedCluster) -> AcceptedService:
    (found,) = [one.content.service for one in cluster.slices.values() if one.content.service is not None]
    return found
