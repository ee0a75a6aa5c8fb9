"""From Services of type LoadBalancer to virtual services that are served: what is made, kept and taken away."""

from dataclasses import replace
from typing import Any

import pytest
from core_conditions import brief
from core_objects import group, pool, service
from endpoint_objects import HTTP, endpoint_slice, tell
from load_balancer_objects import HOSTNAME, PREFIX, READY, WEB, BalancedCluster, balanced, made, serving

from lvs_api.conditions import ConditionStatus
from lvs_api.virtual_service import DirectorGroupReference, DirectorState, DirectorStatus, RealServerCounts
from lvs_core.cluster_view import ObjectKey
from lvs_core.load_balancer_status import load_balancer_statuses
from lvs_core.owned_objects import OwnedObjects, owner_of

Json = dict[str, Any]
LATER = "2026-01-01T00:00:00Z"
EDGE = {"nodes": {"selector": {"matchLabels": {"edge": "true"}}}}


@pytest.fixture
def cluster() -> BalancedCluster:
    return BalancedCluster()


def members(cluster: BalancedCluster) -> dict[str, str]:
    return {
        one.name: "leaves" if one.draining_seconds is not None else one.address
        for each in cluster.slices.values()
        for one in each.content.members
    }


def test_a_service_is_served_by_its_pods_at_an_address_of_the_pool(cluster: BalancedCluster) -> None:
    address = serving(cluster)
    assert address.startswith("192.168.4.")
    assert members(cluster) == {"endpoint.10-1-0-1.8080": "10.1.0.1", "endpoint.10-1-0-2.8080": "10.1.0.2"}
    status = made(cluster).status
    assert status is not None
    assert status.addresses == [address]
    assert brief(cluster)["Ready"] == "True Ready"
    owner = owner_of(made(cluster).meta)
    assert owner is not None
    assert (owner.name, owner.uid) == ("web", "u")


def test_no_address_is_told_before_directors_serve_it(cluster: BalancedCluster) -> None:
    cluster.say(balanced())
    for _ in range(3):  # made, accepted, told to directors that do nothing
        cluster.round()
    assert brief(cluster)["Accepted"] == "True Accepted"
    assert cluster.ingress() == []
    assert cluster.says() == {"Accepted": "True Accepted", "Ready": "Unknown Pending"}


def test_the_address_is_withdrawn_while_nobody_serves_it(cluster: BalancedCluster) -> None:
    address = serving(cluster)
    tell(cluster, endpoint_slice({}, HTTP, service="web"))
    cluster.settle()
    assert cluster.ingress() == []
    assert cluster.says()["Ready"].startswith("False ")
    tell(cluster, endpoint_slice({"10.1.0.9": None}, HTTP, service="web"))
    cluster.settle()
    assert cluster.ingress() == [f"{address} Proxy"]


def test_what_is_not_known_withdraws_nothing(cluster: BalancedCluster) -> None:
    serving(cluster)
    status = made(cluster).status
    assert status is not None
    doubt = {"status": ConditionStatus.UNKNOWN}
    conditions = [one.model_copy(update=doubt) if one.type == "Ready" else one for one in status.conditions or ()]
    unknown = status.model_copy(update={"conditions": conditions})
    said = load_balancer_statuses(cluster.view(), OwnedObjects(), {WEB: unknown}, LATER)[WEB]
    assert said.raw["loadBalancer"] == cluster.status()["loadBalancer"]
    moved = unknown.model_copy(update={"addresses": ["192.168.4.99"]})
    said = load_balancer_statuses(cluster.view(), OwnedObjects(), {WEB: moved}, LATER)[WEB]
    assert said.raw["loadBalancer"] == {}


def test_a_frozen_service_keeps_its_address_while_real_servers_take_connections(cluster: BalancedCluster) -> None:
    address = serving(cluster, selector={"app": "web"})
    tell(cluster)  # no EndpointSlice at all is no news of pods
    cluster.settle()
    assert cluster.says()["Ready"] == "False EndpointsUnknown"
    assert cluster.ingress() == [f"{address} Proxy"]
    status = made(cluster).status
    assert status is not None
    deserted = status.model_copy(update={"real_servers": RealServerCounts(total=2)})
    said = load_balancer_statuses(cluster.view(), OwnedObjects(), {WEB: deserted}, LATER)[WEB]
    assert said.raw["loadBalancer"] == {}


@pytest.mark.parametrize(
    ("states", "ready", "told"),
    [
        (["Active", "Standby"], 2, True),
        (["Active", "Failed"], 2, True),  # one that stands by is no reason to send clients away
        (["Active", "Failed"], 0, False),
        (["Standby", "Pending"], 0, True),  # addresses move
        (["Failed", "Pending"], 2, False),
        (["Failed", "Failed"], 2, False),
        (["Standby", "Standby"], 2, False),
        ([], 2, False),
    ],
)
def test_what_is_not_ready_keeps_its_address_while_it_is_served(
    cluster: BalancedCluster, states: list[str], ready: int, told: bool
) -> None:
    serving(cluster)
    status = made(cluster).status
    assert status is not None
    change = {"status": ConditionStatus.FALSE, "reason": "NotProgrammed"}
    conditions = [one.model_copy(update=change) if one.type == "Ready" else one for one in status.conditions or ()]
    directors = [DirectorStatus(node=f"d{place}", state=DirectorState(one)) for place, one in enumerate(states)]
    counts = RealServerCounts(total=2, ready=ready)
    changed = status.model_copy(update={"conditions": conditions, "directors": directors, "real_servers": counts})
    said = load_balancer_statuses(cluster.view(), OwnedObjects(), {WEB: changed}, LATER)[WEB]
    assert (said.raw["loadBalancer"] == cluster.status()["loadBalancer"]) is told
    assert (said.raw["loadBalancer"] == {}) is not told


def test_objects_that_vanished_are_made_anew_and_the_address_stays(cluster: BalancedCluster) -> None:
    address = serving(cluster)
    del cluster.services[WEB], cluster.pools[WEB]
    for _ in range(6):
        cluster.round()
        assert cluster.ingress() == [f"{address} Proxy"]
        for name in cluster.machines:
            cluster.act(name)
            cluster.report(name)
    cluster.settle()
    assert (cluster.says(), cluster.ingress()) == (READY, [f"{address} Proxy"])


def test_a_round_without_news_says_the_same(cluster: BalancedCluster) -> None:
    serving(cluster)
    before, cluster.now = cluster.status(), LATER
    decision = cluster.round()
    assert decision.load_balancers[WEB].raw == before
    assert decision.owned.made[WEB].service == made(cluster).spec


def test_an_edit_is_carried_out_in_place(cluster: BalancedCluster) -> None:
    address, uid = serving(cluster), made(cluster).meta.uid
    cluster.say(balanced({"scheduler": "sh"}, sessionAffinity="ClientIP"))
    cluster.settle()
    spec = made(cluster).spec
    assert spec is not None
    assert (spec.scheduler, spec.persistence is not None) == ("sh", True)
    assert (made(cluster).meta.uid, cluster.ingress()) == (uid, [f"{address} Proxy"])


def test_another_address_is_told_when_directors_have_it(cluster: BalancedCluster) -> None:
    serving(cluster, {"addresses": "192.168.4.70"})
    cluster.say(balanced({"addresses": "192.168.4.71"}))
    for _ in range(3):  # into the object, accepted, told to directors that do nothing
        cluster.round()
    status = made(cluster).status
    assert status is not None
    assert status.addresses == ["192.168.4.71"]
    assert cluster.ingress() == []
    cluster.settle()
    assert cluster.ingress() == ["192.168.4.71 Proxy"]


def test_who_edits_what_was_made_is_overruled(cluster: BalancedCluster) -> None:
    serving(cluster)
    spec = made(cluster).spec
    assert spec is not None
    cluster.services[WEB] = replace(made(cluster), spec=spec.model_copy(update={"paused": True}))
    cluster.pools[WEB] = replace(cluster.pools[WEB], spec=None, spec_error="broken")
    cluster.settle()
    after = made(cluster).spec
    assert after is not None
    assert not after.paused
    assert cluster.pools[WEB].spec is not None


def test_a_fault_leaves_what_runs_as_it_is(cluster: BalancedCluster) -> None:
    address = serving(cluster)
    cluster.say(balanced({"scheduler": "best"}))
    cluster.settle()
    assert cluster.says() == {"Accepted": "False Invalid", "Ready": "True Ready"}
    assert f"metadata.annotations[{PREFIX}/scheduler]" in cluster.message()
    assert "goes on unchanged" in cluster.message()
    assert cluster.ingress() == [f"{address} Proxy"]
    cluster.say(balanced({"scheduler": "sh"}))
    cluster.round()
    assert cluster.says()["Accepted"] == "False Invalid", "until it is in the objects"
    cluster.settle()
    assert cluster.says() == READY


def test_of_a_faulty_service_nothing_is_made(cluster: BalancedCluster) -> None:
    cluster.say(balanced(loadBalancerIP="192.168.4.70"))
    cluster.settle()
    assert (cluster.services, cluster.pools, cluster.ingress()) == ({}, {}, [])
    assert cluster.says() == {"Accepted": "False Invalid", "Ready": "False Invalid"}


# --- going -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["deleted", "deleting", "another type", "another class"])
def test_all_goes_with_what_asked_for_it(cluster: BalancedCluster, change: str) -> None:
    serving(cluster)
    gone = balanced()
    match change:
        case "deleted":
            cluster.unsay()
        case "deleting":  # somebody else's finalizer keeps it
            gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            cluster.say(gone)
        case "another type":
            cluster.say(balanced(type="ClusterIP", loadBalancerClass=None))
        case "another class":
            cluster.say(balanced(loadBalancerClass="example.org/other"))
    cluster.settle()
    assert (cluster.services, cluster.pools, cluster.slices) == ({}, {}, {})
    if change != "deleted":
        assert cluster.status() == {"loadBalancer": {}}


def test_what_its_next_balancer_said_stays(cluster: BalancedCluster) -> None:
    serving(cluster)
    theirs = {"ip": "203.0.113.9", "ipMode": "VIP"}
    condition = {"type": "example.org/Ready", "status": "True"}
    status = cluster.status()
    status["loadBalancer"]["ingress"].append(theirs)
    status["conditions"].append(condition)
    cluster.say(balanced(loadBalancerClass="example.org/other"))
    cluster.settle()
    assert cluster.status() == {"loadBalancer": {"ingress": [theirs]}, "conditions": [condition]}


def test_one_of_another_type_tells_no_address_at_all(cluster: BalancedCluster) -> None:
    """The API server refuses a status with addresses on it."""
    serving(cluster)
    cluster.status()["loadBalancer"]["ingress"].append({"ip": "203.0.113.9", "ipMode": "VIP"})
    cluster.say(balanced(type="NodePort", loadBalancerClass=None))
    cluster.settle()
    assert cluster.status() == {"loadBalancer": {}}


def test_a_service_made_anew_under_its_name_has_objects_of_its_own(cluster: BalancedCluster) -> None:
    address, uid = serving(cluster), made(cluster).meta.uid
    cluster.say(balanced(uid="another"))
    cluster.round()
    assert cluster.says()["Accepted"] == "Unknown Pending"
    cluster.settle()
    owner = owner_of(made(cluster).meta)
    assert owner is not None
    assert (owner.uid, made(cluster).meta.uid == uid) == ("another", False)
    assert cluster.says() == READY
    assert len(cluster.ingress()) == len([address])


def test_another_director_group_has_it_made_anew(cluster: BalancedCluster) -> None:
    serving(cluster)
    uid = made(cluster).meta.uid
    cluster.put(group(cluster, "edge", **EDGE))
    edge = cluster.nodes["n1"]
    cluster.add_node(replace(edge, labels={"edge": "true"}))
    cluster.say(balanced({"director-group": "edge"}))
    cluster.round()
    assert cluster.says()["Accepted"] == "Unknown Pending"
    cluster.settle()
    assert made(cluster).meta.uid != uid
    assert cluster.says() == READY
    assert {one.content.director_group for one in cluster.slices.values()} == {"edge"}


def test_a_policy_that_sets_another_director_group_has_nothing_made_anew(cluster: BalancedCluster) -> None:
    cluster.put(group(cluster, "edge", **EDGE))
    cluster.add_node(replace(cluster.nodes["n1"], labels={"edge": "true"}))
    to_edge = {"director_group_ref": DirectorGroupReference(name="edge")}
    cluster.keeps = lambda spec: spec.model_copy(update=to_edge)
    cluster.say(balanced())
    cluster.settle()
    uid = made(cluster).meta.uid
    assert cluster.says() == {"Accepted": "False WriteRefused", "Ready": "True Ready"}
    assert cluster.message().startswith("spec.directorGroupRef: the LvsVirtualService was written for LvsDirectorGroup")
    cluster.say(balanced({"director-group": "edge"}))
    cluster.settle()
    assert (made(cluster).meta.uid, cluster.says()) == (uid, READY)


def test_a_service_that_was_moved_may_move_back(cluster: BalancedCluster) -> None:
    serving(cluster)
    cluster.put(group(cluster, "edge", **EDGE))
    cluster.add_node(replace(cluster.nodes["n1"], labels={"edge": "true"}))
    for annotations, name in (({"director-group": "edge"}, "edge"), ({}, "default")):
        cluster.say(balanced(annotations))
        cluster.settle()
        assert cluster.says() == READY
        assert {one.content.director_group for one in cluster.slices.values()} == {name}


def test_what_runs_does_not_go_for_a_director_group_that_is_not_there(cluster: BalancedCluster) -> None:
    address, uid = serving(cluster), made(cluster).meta.uid
    cluster.say(balanced({"director-group": "defualt"}))
    cluster.settle()
    assert made(cluster).meta.uid == uid
    assert cluster.says() == {"Accepted": "False DirectorGroupNotFound", "Ready": "True Ready"}
    assert f"metadata.annotations[{PREFIX}/director-group]: LvsDirectorGroup defualt" in cluster.message()
    assert cluster.ingress() == [f"{address} Proxy"]
    cluster.say(balanced())
    cluster.settle()
    assert (made(cluster).meta.uid, cluster.says()) == (uid, READY)


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["LvsVirtualService", "LvsRealServerPool"])
def test_what_a_user_wrote_is_never_overwritten(cluster: BalancedCluster, kind: str) -> None:
    theirs = service(cluster) if kind == "LvsVirtualService" else pool(cluster)
    cluster.put(theirs)
    cluster.say(balanced())
    cluster.settle()
    assert cluster.says() == {"Accepted": "False NameTaken", "Ready": "False NameTaken"}
    assert f"{kind} default/web" in cluster.message()
    kept = cluster.services if kind == "LvsVirtualService" else cluster.pools
    assert kept[WEB].spec == theirs.spec
    assert len(cluster.services) + len(cluster.pools) == 1
    del kept[WEB]
    cluster.settle()
    assert cluster.says() == READY


def test_what_is_not_wholly_ours_is_a_users(cluster: BalancedCluster) -> None:
    serving(cluster)
    (owner,) = made(cluster).meta.owner_references
    other = replace(service(cluster, "other"), spec=None, spec_error="x")
    other = replace(other, meta=replace(other.meta, owner_references=(owner,)))
    assert owner_of(other.meta) is None
    assert owner_of(replace(made(cluster).meta, owner_references=(replace(owner, controller=False),))) is None
    assert owner_of(replace(made(cluster).meta, labels={"app.kubernetes.io/managed-by": "another"})) is None
    assert owner_of(replace(made(cluster).meta, owner_references=(replace(owner, kind="Deployment"),))) is None
    cluster.put(other)
    cluster.unsay()
    cluster.settle()
    assert set(cluster.services) == {ObjectKey("default", "other")}


# --- addresses -------------------------------------------------------------------------------------------------------


# --- nodes -----------------------------------------------------------------------------------------------------------


def test_node_ports_without_the_directors(cluster: BalancedCluster) -> None:
    serving(cluster, {"real-servers": "Nodes"})
    assert set(members(cluster)) == {"node.n1", "node.n2"}
    cluster.add_node(replace(cluster.nodes["n1"], labels={"lvs-director": "true", HOSTNAME: "host-n1"}))
    nodes = cluster.round().owned.made[WEB].pool.nodes
    assert nodes is not None
    left_out = [one for one in nodes.selector.match_expressions or () if one.key == HOSTNAME]
    assert [one.values for one in left_out] == [["host-d1", "host-d2", "host-n1"]], "before it is a director at all"
    cluster.settle()
    assert set(members(cluster)) == {"node.n2"}
    excluded = {"node.kubernetes.io/exclude-from-external-load-balancers": ""}
    cluster.add_node(replace(cluster.nodes["n2"], labels=excluded))
    cluster.settle()
    assert members(cluster) == {}


def test_from_pods_to_nodes_in_place(cluster: BalancedCluster) -> None:
    address = serving(cluster)
    assert serving(cluster, {"real-servers": "Nodes"}) == address
    assert set(members(cluster)) == {"node.n1", "node.n2"}
