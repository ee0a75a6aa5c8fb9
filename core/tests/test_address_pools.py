"""Address pools: what they permit, and whom they withdraw."""

from dataclasses import replace
from typing import Any

import pytest
from core_conditions import brief, condition
from core_objects import WEB, address_pool, node, pool, real_servers, service, small_cluster

from lvs_api import testing
from lvs_api.conditions import ConditionType
from lvs_api.violations import InvalidObject
from lvs_core.cluster_view import Namespace, ObjectKey
from lvs_core.manifests import check_manifest
from lvs_core.permissions import Permissions

REFUSED = {"Accepted": "False NotPermitted"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ranges": ["192.168.5.0/24"]}, "spec.addresses[0]: 192.168.4.15"),
        ({"ranges": ["192.168.4.16-192.168.4.20"]}, "spec.addresses[0]: 192.168.4.15"),
        ({"namespaces": {"names": ["team-a"]}}, "spec.addresses[0]: 192.168.4.15"),
        ({"namespaces": {"selector": {"matchLabels": {"tenant": "a"}}}}, "spec.addresses[0]: 192.168.4.15"),
        ({"realServerRanges": ["192.168.4.100/32"]}, "real server rs2: 192.168.4.200"),
        ({"realServerRanges": ["2001:db8::/32"]}, "real server rs1: 192.168.4.100, real server rs2: 192.168.4.200"),
    ],
)
@pytest.mark.parametrize("running", [False, True], ids=["new", "running"])
def test_what_no_pool_permits_is_refused_and_withdrawn(changes: dict[str, Any], named: str, running: bool) -> None:
    cluster = small_cluster()
    if running:
        cluster.settle()
        assert cluster.slices
    cluster.put(address_pool(cluster, **changes))
    cluster.settle()
    assert cluster.slices == {}
    assert brief(cluster).items() >= REFUSED.items()
    said = condition(cluster, ConditionType.ACCEPTED)
    assert said.message.startswith(named)
    assert said.message.endswith(": no LvsAddressPool permits this to namespace default. The service is withdrawn")
    assert condition(cluster, ConditionType.READY).reason == "NotPermitted"
    cluster.put(address_pool(cluster))
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ranges": ["192.168.4.15/32"], "realServerRanges": ["192.168.4.100-192.168.4.200"]},
        {"namespaces": {"names": ["team-a", "default"]}},
        {"namespaces": {"selector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}},
    ],
)
def test_what_a_pool_permits_runs(changes: dict[str, Any]) -> None:
    cluster = small_cluster()
    cluster.put(address_pool(cluster, **changes))
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"


def test_pools_add_up() -> None:
    cluster = small_cluster()
    cluster.put(address_pool(cluster, "addresses", realServerRanges=["10.0.0.0/8"]))
    cluster.put(address_pool(cluster, "machines", ranges=["10.0.0.0/8"], realServerRanges=["192.168.4.0/24"]))
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"


def test_labels_of_a_namespace_permit() -> None:
    cluster = small_cluster()
    cluster.put(address_pool(cluster, namespaces={"selector": {"matchLabels": {"tenant": "a"}}}))
    cluster.settle()
    assert not cluster.slices
    cluster.namespaces["default"] = Namespace(name="default", labels={"tenant": "a"})
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"
    cluster.namespaces["default"] = Namespace(name="default", labels={"tenant": "b"})
    cluster.settle()
    assert not cluster.slices


@pytest.mark.parametrize("operator", ["NotIn", "DoesNotExist"])
def test_a_namespace_that_has_not_been_seen_is_not_taken_for_one_without_labels(operator: str) -> None:
    values = ["a"] if operator == "NotIn" else None
    expression = {"key": "tenant", "operator": operator, "values": values}
    named = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]}
    cluster = small_cluster()
    cluster.put(address_pool(cluster, namespaces={"selector": {"matchExpressions": [expression, named]}}))
    cluster.settle()
    assert not cluster.slices
    cluster.namespaces["default"] = Namespace(name="default", labels={"kubernetes.io/metadata.name": "default"})
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"
    del cluster.namespaces["default"]
    cluster.put(address_pool(cluster, namespaces={"selector": {"matchExpressions": [named]}}))
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"


@pytest.mark.parametrize(("marks", "reason"), [([10], "Accepted"), ([11], "NotPermitted"), (None, "NotPermitted")])
def test_a_mark_needs_a_permission(marks: list[int] | None, reason: str) -> None:
    mark = {"value": 10, "families": ["IPv4"]}
    cluster = small_cluster(addresses=None, ports=None, firewallMark=mark)
    cluster.put(address_pool(cluster, firewallMarks=marks))
    cluster.round()
    assert condition(cluster, ConditionType.ACCEPTED).reason == reason


def test_the_operators_own_marks_need_none() -> None:
    cluster = small_cluster(portMode="Grouped")
    cluster.put(address_pool(cluster))
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"
    cluster.put(service(cluster, portMode="Grouped", scheduler="best"))
    cluster.round()
    assert condition(cluster, ConditionType.ACCEPTED).reason == "Invalid"
    assert cluster.slices


def test_what_is_frozen_is_withdrawn_when_its_permission_goes() -> None:
    cluster = small_cluster()
    cluster.put(address_pool(cluster))
    cluster.settle()
    cluster.put(service(cluster, scheduler="best"))
    cluster.settle()
    assert condition(cluster, ConditionType.ACCEPTED).reason == "Invalid"
    assert cluster.slices
    cluster.put(address_pool(cluster, ranges=["10.0.0.0/8"]))
    cluster.round()
    assert cluster.slices == {}
    assert condition(cluster, ConditionType.ACCEPTED).message.startswith("what is served: 192.168.4.15: no LvsAddress")
    cluster.settle()
    said = condition(cluster, ConditionType.ACCEPTED)  # directors may ask for it late
    assert (said.status, said.reason) == ("False", "NotPermitted")
    assert said.message.startswith("spec.scheduler")
    assert condition(cluster, ConditionType.RESOLVED_REFS).message == "The service itself is withdrawn"
    cluster.address_pools.clear()
    cluster.put(service(cluster))
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"


def test_the_address_of_a_withdrawn_service_is_another_ones() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.put(address_pool(cluster, namespaces={"names": ["team-a"]}))
    other = service(cluster, "other", realServerPoolRef={"name": "web"})
    cluster.put(replace(other, meta=replace(other.meta, namespace="team-a")))
    behind = pool(cluster)
    cluster.put(replace(behind, meta=replace(behind.meta, namespace="team-a")))
    cluster.round()
    key = ObjectKey("team-a", "other")
    assert brief(cluster, key)["Accepted"] == "Unknown Pending"
    cluster.settle()
    assert brief(cluster, key)["Accepted"] == "True Accepted"
    assert brief(cluster)["Accepted"] == "False NotPermitted"


@pytest.mark.parametrize(
    ("pools", "required", "known", "in_force"),
    [
        (False, False, True, False),
        (False, True, True, True),
        (False, False, False, True),
        (True, False, True, True),
        (True, True, True, True),
    ],
)
def test_when_a_permission_is_needed(pools: bool, required: bool, known: bool, in_force: bool) -> None:
    cluster = small_cluster()
    if pools:
        cluster.put(address_pool(cluster))
    cluster.address_pools_required, cluster.address_pools_known = required, known
    assert Permissions(cluster.view()).in_force is in_force


def test_where_a_pool_is_required_nothing_is_permitted_without_one() -> None:
    cluster = small_cluster()
    cluster.settle()
    assert cluster.slices
    cluster.address_pools_required = True
    cluster.put(service(cluster, "new", addresses=["192.168.4.16"], realServerPoolRef={"name": "web"}))
    cluster.settle()
    assert cluster.slices == {}
    assert not any(one.spec.addresses for one in cluster.lvs_nodes.values())
    for key in (WEB, ObjectKey("default", "new")):
        assert brief(cluster, key).items() >= REFUSED.items()
        said = condition(cluster, ConditionType.ACCEPTED, key).message
        assert "permits this to namespace default; there is none, and the operator requires one" in said
    cluster.put(address_pool(cluster, ranges=["10.0.0.0/8"]))
    cluster.settle()
    assert "there is none" not in condition(cluster, ConditionType.ACCEPTED).message
    cluster.put(address_pool(cluster))
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"
    cluster.address_pools.clear()
    cluster.settle()
    assert cluster.slices == {}


def test_where_a_pool_is_required_an_address_that_was_given_goes_with_the_last_one() -> None:
    cluster = small_cluster(addresses=None, addressPoolRef={"name": "public"})
    cluster.address_pools_required = True
    cluster.put(address_pool(cluster))
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"
    cluster.address_pools.clear()
    cluster.address_pools_known = False
    cluster.settle()
    assert cluster.slices, "the pools may have gone with their CRD"
    cluster.address_pools_known = True
    cluster.settle()
    assert cluster.slices == {}
    assert brief(cluster).items() >= REFUSED.items()


def test_nodes_outside_what_a_pool_permits_get_nothing_to_do() -> None:
    cluster = small_cluster()
    cluster.add_node(node("n3", "192.168.5.7"))
    cluster.put(pool(cluster, realServers=None, nodes={"selector": {}}))
    cluster.settle()
    assert {"n1", "n2", "n3"} <= cluster.lvs_nodes.keys()
    cluster.put(address_pool(cluster, realServerRanges=["192.168.4.0/24"]))
    cluster.settle()
    assert condition(cluster, ConditionType.ACCEPTED).message.startswith("real server node.n3: 192.168.5.7")
    assert cluster.lvs_nodes.keys() == {"d1"}


@pytest.mark.parametrize("known", [True, False], ids=["a pool that cannot be read", "pools that are not known"])
def test_doubt_withdraws_nothing_and_lets_nothing_in(known: bool) -> None:
    cluster = small_cluster()
    cluster.put(address_pool(cluster))
    cluster.settle()
    if known:
        cluster.put(address_pool(cluster, ranges=["192.168.4.0"]))
    else:
        cluster.address_pools.clear()
        cluster.address_pools_known = False
    before = dict(cluster.slices)
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100", rs3="192.168.4.101")))
    cluster.put(service(cluster, "new", addresses=["192.168.4.16"], realServerPoolRef={"name": "web"}))
    cluster.settle()
    assert {key: one.content for key, one in cluster.slices.items()} == {
        key: one.content for key, one in before.items()
    }
    for key in (WEB, ObjectKey("default", "new")):
        said = condition(cluster, ConditionType.ACCEPTED, key)
        assert (said.status, said.reason) == ("False", "Invalid" if known else "CRDMissing")
        assert "is not known" in said.message


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (testing.address_pool(), "kind"),
        (testing.virtual_service(addresses=None, addressPoolRef={"name": "public"}), "spec.addressPoolRef"),
    ],
)
def test_files_have_no_pools(raw: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidObject) as caught:
        check_manifest(raw)
    assert [violation.field for violation in caught.value.violations] == [field]
