"""Pure: what is, what was decided, hence what to write. No difference, no write."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lvs_api.api_group import API_VERSION, LABEL_DIRECTOR_GROUP, LABEL_MANAGED_BY, LABEL_NODE_AGENT, NODE_AGENT_WANTED
from lvs_api.base import ApiModel
from lvs_api.bind_device import MAX_NODE_ADDRESSES
from lvs_api.conditions import Condition, Reason
from lvs_api.kinds import NODE, SERVICE_SLICE, VIRTUAL_SERVICE
from lvs_api.lvs_node import LvsNodeSpec
from lvs_api.objects import ObjectMeta, to_raw
from lvs_api.virtual_service import LvsVirtualServiceStatus
from lvs_core.cluster_view import ClusterNode, ClusterView, ObjectKey, SliceContent
from lvs_core.decision import Decision
from lvs_core.director_addresses import merged
from lvs_core.view_objects import slice_to_raw
from lvs_operator.owned_changes import load_balancer_losses, load_balancer_writes, meta_of, owned_growth, owned_losses
from lvs_operator.watched_kinds import (
    ADDRESS_POOLS,
    DIRECTOR_GROUPS,
    LVS_NODES,
    NODES,
    POOLS,
    SLICES,
    VIRTUAL_SERVICES,
    Meta,
)
from lvs_operator.writer import Create, Delete, MendMetadata, ReplacePart, SetLabel, Write

MANAGER: Final = "lvs-operator"


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What to write, in the order of the fields."""

    growth: tuple[Write, ...]
    """Creations and changes that take nothing away."""
    statuses: tuple[ReplacePart, ...]
    losses: tuple[Write, ...]
    """Deletions, addresses and parts taken from LvsNodes, labels taken from Nodes, addresses that Services tell and no
    virtual service is there for: only on complete knowledge."""
    new_conflicts: tuple[ObjectKey, ...]
    """Services about to be told of a conflict, or that they are not permitted, for the first time."""


def find_changes(view: ClusterView, decision: Decision, versions: Mapping[str, int]) -> Changes:
    """Compare. `versions` has the resourceVersion of each Node by uid, which the view does not keep."""
    growth: list[Write] = [
        *_lvs_node_growth(view, decision),
        *_slice_growth(view, decision),
        *owned_growth(view, decision),
    ]
    growth.sort(key=lambda write: isinstance(write, Create))  # what serves already comes before what is new
    losses: list[Write] = [
        *_slice_losses(view, decision),
        *_lvs_node_losses(view, decision),
        *owned_losses(view, decision),
        *load_balancer_losses(view, decision),
    ]
    for write in _labels(view, decision, versions):
        (growth if write.value else losses).append(write)
    return Changes(
        growth=tuple(growth),
        statuses=(*_statuses(view, decision), *load_balancer_writes(view, decision)),
        losses=tuple(losses),
        new_conflicts=tuple(_new_conflicts(view, decision)),
    )


def _slice_growth(view: ClusterView, decision: Decision) -> Iterator[Write]:
    for key, content in decision.slices.items():
        existing = view.slices.get(key)
        if existing is None:
            yield Create(kind=SLICES, namespace=key.namespace, body=_slice_body(key, content))
        elif not _is_known_by(existing.meta, content):
            yield MendMetadata(kind=SLICES, meta=meta_of(existing.meta), value=_slice_metadata(content))
        elif existing.content is not content and existing.content != content:
            yield ReplacePart(kind=SLICES, meta=meta_of(existing.meta), part="spec", value=slice_to_raw(content))


def _is_known_by(meta: ObjectMeta, content: SliceContent) -> bool:
    """Whether a slice has the label by which its directors find it, and the owner with which it goes."""
    labelled = meta.labels.get(LABEL_DIRECTOR_GROUP) == content.director_group
    return labelled and any(owner.uid == content.service_uid for owner in meta.owner_references)


def _slice_metadata(content: SliceContent) -> dict[str, Any]:
    owner = {
        "apiVersion": API_VERSION,
        "kind": VIRTUAL_SERVICE.name,
        "name": content.service_name,
        "uid": content.service_uid,
        "controller": True,
    }
    return {
        "labels": {LABEL_DIRECTOR_GROUP: content.director_group, LABEL_MANAGED_BY: MANAGER},
        "ownerReferences": [owner],
    }


def _slice_body(key: ObjectKey, content: SliceContent) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": SERVICE_SLICE.name,
        "metadata": {"name": key.name, "namespace": key.namespace, **_slice_metadata(content)},
        "spec": slice_to_raw(content),
    }


def _slice_losses(view: ClusterView, decision: Decision) -> Iterator[Write]:
    for key in decision.delete_slices:
        existing = view.slices.get(key)
        if existing is not None and existing.meta.deletion_timestamp is None:
            yield Delete(kind=SLICES, meta=meta_of(existing.meta))


def _lvs_node_growth(view: ClusterView, decision: Decision) -> Iterator[Write]:
    for name, spec in decision.lvs_nodes.items():
        existing = view.lvs_nodes.get(name)
        if existing is None:
            metadata = {"name": name, "labels": {LABEL_MANAGED_BY: MANAGER}}
            body = {"apiVersion": API_VERSION, "kind": NODE.name, "metadata": metadata, "spec": to_raw(spec)}
            yield Create(kind=LVS_NODES, namespace=None, body=body)
        elif (grown := _with_additions(existing.spec, spec)) != existing.spec:
            yield ReplacePart(kind=LVS_NODES, meta=meta_of(existing.meta), part="spec", value=to_raw(grown))


def _lvs_node_losses(view: ClusterView, decision: Decision) -> Iterator[Write]:
    for name, spec in decision.lvs_nodes.items():
        existing = view.lvs_nodes.get(name)
        if existing is not None and existing.spec != spec and _with_additions(existing.spec, spec) == existing.spec:
            yield ReplacePart(kind=LVS_NODES, meta=meta_of(existing.meta), part="spec", value=to_raw(spec))
    for name in decision.delete_lvs_nodes:
        existing = view.lvs_nodes.get(name)
        if existing is not None and existing.meta.deletion_timestamp is None:
            yield Delete(kind=LVS_NODES, meta=meta_of(existing.meta))


def _with_additions(old: LvsNodeSpec, new: LvsNodeSpec) -> LvsNodeSpec:
    """What is there with what is to come to it: an address has not to wait until another may be taken away.

    It waits where a LvsNode cannot name both, and where the node is to lose a group: it would be a real server of
    directors while it is one of them. From whom it unwraps waits for nothing: a director may send already. Nor does
    giving way, and taking part again; but of a group that it loses it takes nothing before.
    """
    senders = merged(old, new)
    addresses = {(one.address, one.device): one for one in (*(old.addresses or ()), *(new.addresses or ()))}
    if len(addresses) > MAX_NODE_ADDRESSES or not set(old.director_groups or ()) <= set(new.director_groups or ()):
        gives_way = sorted({*(old.gives_way or ()), *(new.gives_way or ())}) or None
        return old.model_copy(update={"gives_way": gives_way, "director_addresses": senders})
    return LvsNodeSpec.model_construct(
        director_groups=new.director_groups,
        gives_way=new.gives_way,
        addresses=[addresses[key] for key in sorted(addresses)] or None,
        director_addresses=senders,
    )


def _labels(view: ClusterView, decision: Decision, versions: Mapping[str, int]) -> Iterator[SetLabel]:
    for node in view.nodes.values():
        wanted = NODE_AGENT_WANTED if node.name in decision.agent_nodes else None
        if node.labels.get(LABEL_NODE_AGENT) != wanted:
            yield SetLabel(kind=NODES, meta=_node_meta(node, versions), label=LABEL_NODE_AGENT, value=wanted)


def _node_meta(node: ClusterNode, versions: Mapping[str, int]) -> Meta:
    return Meta(namespace=None, name=node.name, uid=node.uid, version=versions[node.uid])


def _statuses(view: ClusterView, decision: Decision) -> Iterator[ReplacePart]:
    tables: tuple[tuple[Any, Mapping[Any, Any], Mapping[Any, ApiModel]], ...] = (
        (VIRTUAL_SERVICES, view.services, decision.services),
        (POOLS, view.pools, decision.pools),
        (DIRECTOR_GROUPS, view.groups, decision.groups),
        (ADDRESS_POOLS, view.address_pools, decision.address_pools),
    )
    # What goes with its Service has lost its endpoints by that, which is no trouble that anybody has.
    # What is to be made anew has not, and stays where that is refused.
    owned = decision.owned
    going_services = tuple(key for key in owned.delete_services if key not in owned.anew)
    leaving = {VIRTUAL_SERVICES: going_services, POOLS: owned.delete_pools}
    for kind, existing, wanted in tables:
        going = leaving.get(kind, ())
        for key, status in wanted.items():
            one = existing.get(key)
            if one is not None and one.status is not status and one.status != status and key not in going:
                yield ReplacePart(kind=kind, meta=meta_of(one.meta), part="status", value=to_raw(status))


def _new_conflicts(view: ClusterView, decision: Decision) -> Iterator[ObjectKey]:
    for key, status in decision.services.items():
        existing = view.services.get(key)
        said = [reason for reason in (Reason.CONFLICT, Reason.NOT_PERMITTED) if _says(status, reason)]
        if existing is not None and any(not _says(existing.status, reason) for reason in said):
            yield key


def _says(status: LvsVirtualServiceStatus | None, reason: Reason) -> bool:
    conditions: Iterable[Condition] = (status.conditions or ()) if status else ()
    return any(condition.reason == reason for condition in conditions)


def only_counts_differ(old: LvsVirtualServiceStatus | None, new: LvsVirtualServiceStatus) -> bool:
    """Whether a status says nothing new but numbers of real servers, and what conditions say in words about them."""
    if old is None or old == new or _verdicts(old) != _verdicts(new):
        return False
    alike = {"real_servers": new.real_servers, "conditions": new.conditions}
    return old.model_copy(update=alike) == new


def _verdicts(status: LvsVirtualServiceStatus) -> list[tuple[str, str, int | None]]:
    return [(one.type, one.status, one.observed_generation) for one in status.conditions or ()]
