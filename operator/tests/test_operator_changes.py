"""From a view and a decision to writes, as tables."""

from dataclasses import replace
from typing import Any

import pytest

from lvs_api.bind_device import BindDevice
from lvs_api.conditions import Condition, ConditionStatus, ConditionType, Reason
from lvs_api.lvs_node import LvsNodeSpec, NodeAddress
from lvs_api.network_types import ForwardingMethod
from lvs_api.objects import ObjectMeta, OwnerReference, to_raw
from lvs_api.testing import virtual_service
from lvs_api.virtual_service import LvsVirtualServiceStatus, RealServerCounts
from lvs_core.cluster_view import (
    ClusterNode,
    ClusterView,
    LvsNode,
    Member,
    ObjectKey,
    Slice,
    SliceContent,
    VirtualService,
    make_view,
)
from lvs_core.decision import Decision
from lvs_core.forwarding import forwarding_of
from lvs_core.memory import Memory
from lvs_core.view_objects import service_from_raw
from lvs_operator.changes import Changes, find_changes, only_counts_differ
from lvs_operator.crd_outdated import mark_outdated
from lvs_operator.writer import Create, Delete, MendMetadata, ReplacePart, SetLabel, WriteKey, missing_fields

WEB = ObjectKey("default", "web")
SLICE = ObjectKey("default", "web-0")
NOW = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T00:10:00Z"


def meta(name: str, namespace: str | None = None) -> ObjectMeta:
    return ObjectMeta(name=name, namespace=namespace, uid=f"uid-{name}", generation=1, resource_version="7")


def content(weight: int = 1) -> SliceContent:
    member = Member(
        name="a",
        address="192.0.2.1",
        port=None,
        weight=weight,
        forwarding=forwarding_of(ForwardingMethod.MASQUERADE, None),
        upper_threshold=0,
        lower_threshold=0,
        node=None,
        prepared=True,
        boot_id=None,
        refused=None,
        former=None,
        draining_seconds=None,
    )
    return SliceContent(service_name="web", service_uid="uid-web", director_group="default", index=1, members=(member,))


def a_slice(weight: int = 1) -> Slice:
    owner = OwnerReference(api_version="lvs-operator.io/v1alpha1", kind="LvsVirtualService", name="web", uid="uid-web")
    labels = {"lvs-operator.io/director-group": "default"}
    known = replace(meta("web-0", "default"), labels=labels, owner_references=(owner,))
    return Slice(meta=known, content=content(weight))


def node_spec(*addresses: str, groups: tuple[str, ...] = ()) -> LvsNodeSpec:
    return LvsNodeSpec(
        director_groups=list(groups) or None,
        addresses=[NodeAddress(address=address, device=BindDevice.LO) for address in addresses] or None,
    )


def lvs_node(*addresses: str, groups: tuple[str, ...] = ()) -> LvsNode:
    return LvsNode(meta=meta("n1"), spec=node_spec(*addresses, groups=groups))


def service(status: LvsVirtualServiceStatus | None = None) -> VirtualService:
    return replace(service_from_raw(virtual_service("web")), status=status)


def decision(**parts: Any) -> Decision:
    nothing: dict[str, Any] = {
        "slices": {},
        "delete_slices": (),
        "lvs_nodes": {},
        "delete_lvs_nodes": (),
        "agent_nodes": frozenset(),
        "services": {},
        "pools": {},
        "groups": {},
        "address_pools": {},
        "memory": Memory(),
    }
    return Decision(**(nothing | parts))


def changes(view: ClusterView, decided: Decision) -> Changes:
    return find_changes(view, decided, {node.uid: 3 for node in view.nodes.values()})


def condition(reason: Reason) -> Condition:
    return Condition(
        type=ConditionType.ACCEPTED, status=ConditionStatus.FALSE, reason=reason, message="m", last_transition_time=NOW
    )


def test_no_difference_no_write() -> None:
    status = LvsVirtualServiceStatus(conditions=[condition(Reason.CONFLICT)])
    view = make_view(
        services=[service(status)],
        slices=[a_slice()],
        lvs_nodes=[lvs_node("192.0.2.9")],
        nodes=[ClusterNode(name="n1", uid="u", labels={"lvs-operator.io/node-agent": "wanted"})],
    )
    decided = decision(
        slices={SLICE: content()},
        lvs_nodes={"n1": node_spec("192.0.2.9")},
        agent_nodes=frozenset({"n1"}),
        services={WEB: status},
    )
    assert changes(view, decided) == Changes(growth=(), statuses=(), losses=(), new_conflicts=())


def test_a_slice_is_made_changed_and_deleted() -> None:
    (made,) = changes(make_view(), decision(slices={SLICE: content()})).growth
    assert isinstance(made, Create)
    assert made.body["metadata"]["labels"]["lvs-operator.io/director-group"] == "default"
    (owner,) = made.body["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("LvsVirtualService", "uid-web")

    view = make_view(slices=[a_slice()])
    (changed,) = changes(view, decision(slices={SLICE: content(weight=2)})).growth
    assert isinstance(changed, ReplacePart)
    assert (changed.part, changed.value["members"][0]["weight"]) == ("spec", 2)

    (deleted,) = changes(view, decision(delete_slices=(SLICE,))).losses
    assert isinstance(deleted, Delete)
    assert (deleted.meta.uid, deleted.meta.version) == ("uid-web-0", 7)


@pytest.mark.parametrize("lost", [{"labels": {}}, {"owner_references": ()}])
def test_a_slice_gets_its_label_and_owner_back(lost: dict[str, Any]) -> None:
    whole = a_slice()
    view = make_view(slices=[replace(whole, meta=replace(whole.meta, **lost))])
    (mended,) = changes(view, decision(slices={SLICE: content()})).growth
    assert isinstance(mended, MendMetadata)
    assert mended.value["labels"]["lvs-operator.io/director-group"] == "default"
    assert [owner["uid"] for owner in mended.value["ownerReferences"]] == ["uid-web"]


def test_a_slice_that_is_not_mentioned_stays() -> None:
    assert changes(make_view(slices=[a_slice()]), decision()).losses == ()


@pytest.mark.parametrize(
    ("before", "after", "is_loss"),
    [
        (lvs_node("192.0.2.9"), node_spec("192.0.2.9", "192.0.2.10"), False),
        (lvs_node("192.0.2.9", groups=("a",)), node_spec("192.0.2.10"), True),
        (lvs_node("192.0.2.9"), node_spec(), True),
        (lvs_node(groups=("a",)), node_spec(groups=("a", "b")), False),
        (lvs_node(groups=("a", "b")), node_spec(groups=("a",)), True),
    ],
)
def test_what_takes_from_a_node_is_a_loss(before: LvsNode, after: LvsNodeSpec, *, is_loss: bool) -> None:
    found = changes(make_view(lvs_nodes=[before]), decision(lvs_nodes={"n1": after}))
    assert (len(found.growth), len(found.losses)) == ((0, 1) if is_loss else (1, 0))


def test_what_comes_to_a_node_does_not_wait_for_what_goes() -> None:
    before, after = (
        lvs_node("192.0.2.1", "192.0.2.2", groups=("a",)),
        node_spec("192.0.2.0", "192.0.2.2", groups=("a",)),
    )
    grown = node_spec("192.0.2.0", "192.0.2.1", "192.0.2.2", groups=("a",))
    found = changes(make_view(lvs_nodes=[before]), decision(lvs_nodes={"n1": after}))
    assert [write.value for write in found.growth if isinstance(write, ReplacePart)] == [to_raw(grown)]
    assert found.losses == (), "one write onto each state"
    found = changes(make_view(lvs_nodes=[replace(before, spec=grown)]), decision(lvs_nodes={"n1": after}))
    assert found.growth == ()
    assert [write.value for write in found.losses if isinstance(write, ReplacePart)] == [to_raw(after)]


def test_where_a_node_has_no_room_for_both_the_new_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lvs_operator.changes.MAX_NODE_ADDRESSES", 1)
    found = changes(make_view(lvs_nodes=[lvs_node("192.0.2.1")]), decision(lvs_nodes={"n1": node_spec("192.0.2.2")}))
    assert (len(found.growth), len(found.losses)) == (0, 1)


@pytest.mark.parametrize(("senders", "at_once"), [(None, None), (["192.0.2.8"], ["192.0.2.7", "192.0.2.8"])])
def test_a_director_that_joins_does_not_wait_for_what_goes(
    senders: list[str] | None, at_once: list[str] | None
) -> None:
    tunnel = [NodeAddress(address="192.0.2.1", device=BindDevice.TUNL0)]
    was = LvsNodeSpec(director_groups=["a"], addresses=tunnel, director_addresses=["192.0.2.7"])
    shall = LvsNodeSpec(addresses=tunnel, director_addresses=senders)
    before = replace(lvs_node(), spec=was)
    found = changes(make_view(lvs_nodes=[before]), decision(lvs_nodes={"n1": shall}))
    grown = was.model_copy(update={"director_addresses": at_once})
    assert [write.value for write in found.growth if isinstance(write, ReplacePart)] == [to_raw(grown)]
    assert found.losses == (), "one write onto each state"
    found = changes(make_view(lvs_nodes=[replace(before, spec=grown)]), decision(lvs_nodes={"n1": shall}))
    assert found.growth == ()
    assert [write.value for write in found.losses if isinstance(write, ReplacePart)] == [to_raw(shall)]


@pytest.mark.parametrize(
    ("groups", "shall", "at_once"),
    [
        (["a", "b"], ["a"], ["a"]),
        (["a", "b"], None, None),
        (["b"], ["b"], ["a", "b"]),
    ],
    ids=["told", "told no more", "but of a group that it loses"],
)
def test_giving_way_waits_for_nothing(groups: list[str], shall: list[str] | None, at_once: list[str] | None) -> None:
    was = LvsNodeSpec(director_groups=["a", "b"], gives_way=["a"] if groups == ["b"] or shall is None else None)
    after = LvsNodeSpec(director_groups=groups, gives_way=shall)
    found = changes(make_view(lvs_nodes=[replace(lvs_node(), spec=was)]), decision(lvs_nodes={"n1": after}))
    assert [write.value for write in found.growth if isinstance(write, ReplacePart)] == [
        to_raw(was.model_copy(update={"gives_way": at_once}))
    ]


def test_nodes_are_labelled_and_unlabelled() -> None:
    nodes = [
        ClusterNode(name="new", uid="u1"),
        ClusterNode(name="old", uid="u2", labels={"lvs-operator.io/node-agent": "wanted"}),
    ]
    found = changes(make_view(nodes=nodes), decision(agent_nodes=frozenset({"new"})))
    assert [(write.meta.name, write.value) for write in found.growth if isinstance(write, SetLabel)] == [
        ("new", "wanted")
    ]
    assert [(write.meta.name, write.value) for write in found.losses if isinstance(write, SetLabel)] == [("old", None)]


def test_a_conflict_is_new_once() -> None:
    told = LvsVirtualServiceStatus(conditions=[condition(Reason.CONFLICT)])
    decided = decision(services={WEB: told})
    assert changes(make_view(services=[service()]), decided).new_conflicts == (WEB,)
    assert changes(make_view(services=[service(told)]), decided).new_conflicts == ()


def test_counts_alone_can_be_told() -> None:
    old = LvsVirtualServiceStatus(real_servers=RealServerCounts(total=2, ready=1))
    counts = old.model_copy(update={"real_servers": RealServerCounts(total=2, ready=2)})
    more = counts.model_copy(update={"conditions": [condition(Reason.CONFLICT)]})
    assert only_counts_differ(old, counts)
    assert not only_counts_differ(old, more)
    told = more.conditions or []
    reworded = [one.model_copy(update={"message": "1 of 2", "reason": Reason.MEMBERS_NOT_READY}) for one in told]
    assert only_counts_differ(more, more.model_copy(update={"conditions": reworded}))
    turned = [one.model_copy(update={"status": ConditionStatus.TRUE}) for one in told]
    assert not only_counts_differ(more, more.model_copy(update={"conditions": turned}))
    assert not only_counts_differ(old, old)
    assert not only_counts_differ(None, counts)


@pytest.mark.parametrize(
    ("sent", "stored", "missing"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1]}}, ["spec.a.b[1]"]),
        ({"a": {"b": 1}}, {}, ["spec.a.b"]),
        ({"a": {"b": 1}}, None, ["spec.a.b"]),
        ({"a": 1, "b": {"c": 2}}, {"a": "1", "b": 2}, ["spec.b.c"]),
        ({"a": [1, 2]}, {"a": [2, 1]}, []),
        ({"a": {}, "b": []}, {}, []),
    ],
)
def test_missing_fields(sent: object, stored: object, missing: list[str]) -> None:
    assert list(missing_fields(sent, stored, "spec")) == missing


def test_dropped_fields_become_a_condition_that_keeps_its_time() -> None:
    decided = decision(slices={SLICE: content()}, services={WEB: LvsVirtualServiceStatus()})
    dropped = {WriteKey("LvsServiceSlice", "default", "web-0", "spec"): ("spec.service.novelty",)}
    first = mark_outdated(make_view(services=[service()]), decided, dropped, NOW).services[WEB]
    (said,) = first.conditions or ()
    assert (said.type, said.status, said.reason) == ("CRDOutdated", "True", "CRDOutdated")
    assert "spec.service.novelty" in said.message

    again = mark_outdated(make_view(services=[service(first)]), decided, dropped, LATER).services[WEB]
    assert again == first
    healed = mark_outdated(make_view(services=[service(first)]), replace(decided, services={WEB: first}), {}, LATER)
    assert healed.services[WEB].conditions is None
