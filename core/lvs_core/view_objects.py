"""From raw objects, as the API server or a YAML file gives them, to the values of a view, and back."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from lvs_api.api_group import ANNOTATION_HAND_OVER, LABEL_DIRECTOR_GROUP, LABEL_MANAGED_BY
from lvs_api.base import ApiModel
from lvs_api.kinds import ADDRESS_POOL, DIRECTOR_GROUP, NODE, REAL_SERVER_POOL, SERVICE_SLICE, VIRTUAL_SERVICE, Kind
from lvs_api.network_types import host_address
from lvs_api.objects import ObjectMeta, find_violations, parse_metadata, parse_object, to_raw
from lvs_api.real_server_pool import LvsRealServerPoolSpec
from lvs_api.service_slice import FormerForwarding, Leaving, LvsServiceSliceSpec, SliceMember, SliceServiceReference
from lvs_api.service_slice import MemberPort as SliceMemberPort
from lvs_api.violations import InvalidObject, Violation
from lvs_core.cluster_view import (
    OUT_OF_SERVICE_TAINT,
    AddressPool,
    ClusterNode,
    DirectorGroup,
    Former,
    LvsNode,
    Member,
    MemberPort,
    Namespace,
    Pool,
    PoolMember,
    PoolSpec,
    Slice,
    SliceContent,
    VirtualService,
)
from lvs_core.forwarding import shared_forwarding

SpecT = TypeVar("SpecT", bound=ApiModel)
StatusT = TypeVar("StatusT", bound=ApiModel)
Raw = Mapping[str, Any]
NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})
"""Labels of users' objects mean nothing here and are not kept, but for the one that says who made an object."""
_host_address: Final = lru_cache(maxsize=4096)(host_address)
"""Every Node sends the same addresses again and again."""


def service_from_raw(raw: Raw) -> VirtualService:
    """A LvsVirtualService. A spec that is wrong becomes `spec_error`; raises InvalidObject for bad metadata only."""
    meta, spec, error, status = _user_object(VIRTUAL_SERVICE, raw)
    return VirtualService(meta=meta, spec=spec, spec_error=error, status=status)


def pool_from_raw(raw: Raw) -> Pool:
    """A LvsRealServerPool. A spec that is wrong becomes `spec_error`; raises InvalidObject for bad metadata only."""
    meta, spec, error, status = _user_object(REAL_SERVER_POOL, raw)
    return Pool(meta=meta, spec=None if spec is None else pool_spec(spec), spec_error=error, status=status)


def group_from_raw(raw: Raw) -> DirectorGroup:
    """A LvsDirectorGroup. A spec that is wrong becomes `spec_error`; raises InvalidObject for bad metadata only."""
    meta, spec, error, status = _user_object(DIRECTOR_GROUP, raw)
    said = (raw["metadata"].get("annotations") or {}).get(ANNOTATION_HAND_OVER)
    asked = said if isinstance(said, str) else None
    return DirectorGroup(meta=meta, spec=spec, spec_error=error, status=status, hand_over_request=asked)


def address_pool_from_raw(raw: Raw) -> AddressPool:
    """A LvsAddressPool. A spec that is wrong becomes `spec_error`; raises InvalidObject for bad metadata only."""
    meta, spec, error, status = _user_object(ADDRESS_POOL, raw)
    return AddressPool(meta=meta, spec=spec, spec_error=error, status=status)


def namespace_from_raw(raw: Raw) -> Namespace:
    """A Namespace of the cluster (core/v1). Raises InvalidObject."""
    meta = parse_metadata(raw, namespaced=False)
    return Namespace(name=meta.name, uid=meta.uid, labels=meta.labels)


def lvs_node_from_raw(raw: Raw) -> LvsNode:
    """A LvsNode. Raises InvalidObject."""
    read = parse_object(NODE, raw, generated=True)
    return LvsNode(meta=read.metadata, spec=read.spec, status=read.status)


def slice_from_raw(raw: Raw) -> Slice:
    """A LvsServiceSlice. Raises InvalidObject."""
    read = parse_object(SERVICE_SLICE, raw, generated=True)
    return Slice(meta=read.metadata, content=slice_content(read.spec))


def node_from_raw(raw: Raw) -> ClusterNode:
    """A Node of the cluster (core/v1); what it does not say is left empty. Raises InvalidObject.

    The API server takes addresses in any spelling, and host names; here they are canonical, and only those of hosts.
    """
    meta = parse_metadata(raw, namespaced=False)
    spec, status = _object(meta, raw, "spec"), _object(meta, raw, "status")
    addresses = [
        (item.get("type"), address)
        for item in _objects(meta, status, "status.addresses")
        if (address := _host_address(str(item.get("address")))) is not None
    ]
    conditions = _objects(meta, status, "status.conditions")
    ready = [item.get("status") for item in conditions if item.get("type") == "Ready"]
    return ClusterNode(
        name=meta.name,
        uid=meta.uid,
        labels=meta.labels,
        internal_addresses=tuple(address for kind, address in addresses if kind == "InternalIP"),
        other_addresses=tuple(address for kind, address in addresses if kind != "InternalIP"),
        ready=all(said == "True" for said in ready),
        out_of_service=any(one.get("key") == OUT_OF_SERVICE_TAINT for one in _objects(meta, spec, "spec.taints")),
        cordoned=spec.get("unschedulable") is True,
        boot_id=_object(meta, status, "status.nodeInfo").get("bootID") or None,
    )


def _object(meta: ObjectMeta, raw: Raw, path: str) -> Raw:
    """A part of a Node, which nobody has checked where it comes from a file."""
    part = raw.get(path.rpartition(".")[2])
    if part is None:
        return {}
    if not isinstance(part, Mapping):
        violation = Violation(field=path, message="Input should be an object")
        raise InvalidObject(kind="Node", name=meta.name, violations=[violation])
    return part


def _objects(meta: ObjectMeta, raw: Raw, path: str) -> list[Raw]:
    parts = raw.get(path.rpartition(".")[2]) or []
    if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
        violation = Violation(field=path, message="Input should be a list of objects")
        raise InvalidObject(kind="Node", name=meta.name, violations=[violation])
    return parts


def pool_spec(spec: LvsRealServerPoolSpec) -> PoolSpec:
    """A pool's spec with its members as tuples."""
    return PoolSpec(
        real_servers=tuple(
            PoolMember(
                name=server.name,
                address=server.address,
                port=server.port,
                weight=server.weight,
                forwarding=None if server.forwarding is None else shared_forwarding(server.forwarding),
                upper_threshold=server.upper_threshold,
                lower_threshold=server.lower_threshold,
                state=server.state,
            )
            for server in spec.real_servers or ()
        ),
        nodes=spec.nodes,
        endpoints=spec.endpoints,
        weight=spec.weight,
        health_check=spec.health_check,
        on_failure=spec.on_failure,
        drain=spec.drain,
    )


def slice_content(spec: LvsServiceSliceSpec) -> SliceContent:
    """A slice's spec with its members as tuples, sorted."""
    return SliceContent(
        service_name=spec.service_ref.name,
        service_uid=spec.service_ref.uid,
        director_group=spec.director_group,
        index=spec.index,
        service=spec.service,
        pool=spec.pool,
        members=tuple(sorted((_member(one) for one in spec.members or ()), key=lambda member: member.name)),
    )


def slice_spec(content: SliceContent) -> LvsServiceSliceSpec:
    """The inverse of `slice_content`."""
    return LvsServiceSliceSpec(
        service_ref=SliceServiceReference(name=content.service_name, uid=content.service_uid),
        director_group=content.director_group,
        index=content.index,
        service=content.service,
        pool=content.pool,
        members=[_slice_member(member) for member in content.members],
    )


def slice_to_raw(content: SliceContent) -> dict[str, Any]:
    """The spec to write for a slice."""
    return to_raw(slice_spec(content))


def _member(one: SliceMember) -> Member:
    return Member(
        name=one.name,
        address=one.address,
        port=one.port,
        weight=one.weight,
        forwarding=shared_forwarding(one.forwarding),
        upper_threshold=one.upper_threshold,
        lower_threshold=one.lower_threshold,
        node=one.node,
        prepared=one.prepared,
        boot_id=one.boot_id,
        refused=one.refused,
        former=None
        if one.former is None
        else Former(shared_forwarding(one.former.forwarding), one.former.timeout_seconds),
        draining_seconds=None if one.draining is None else one.draining.timeout_seconds,
        ports=tuple(sorted(MemberPort(port.name, port.port) for port in one.ports or ())),
        unready=bool(one.unready),
    )


def _slice_member(member: Member) -> SliceMember:
    return SliceMember(
        name=member.name,
        address=member.address,
        port=member.port,
        weight=member.weight,
        forwarding=member.forwarding,
        upper_threshold=member.upper_threshold,
        lower_threshold=member.lower_threshold,
        node=member.node,
        prepared=member.prepared,
        boot_id=member.boot_id,
        refused=member.refused,
        former=None
        if member.former is None
        else FormerForwarding(forwarding=member.former.forwarding, timeout_seconds=member.former.timeout_seconds),
        unready=member.unready or None,
        draining=None if member.draining_seconds is None else Leaving(timeout_seconds=member.draining_seconds),
        ports=[SliceMemberPort(name=name, port=number) for name, number in member.ports] or None,
    )


def _user_object(kind: Kind[SpecT, StatusT], raw: Raw) -> tuple[ObjectMeta, SpecT | None, str | None, StatusT | None]:
    meta = parse_metadata(raw, namespaced=kind.namespaced)
    controllers = tuple(one for one in meta.owner_references if one.controller)
    kept = {name: meta.labels[name] for name in (LABEL_MANAGED_BY, LABEL_DIRECTOR_GROUP) if name in meta.labels}
    meta = replace(meta, labels=MappingProxyType(kept) if kept else NO_LABELS, owner_references=controllers)
    try:
        read = parse_object(kind, raw)
    except InvalidObject as error:
        return meta, None, "; ".join(str(violation) for violation in error.violations), _status_alone(kind, raw)
    violations = find_violations(read)
    if violations:
        return meta, None, "; ".join(str(violation) for violation in violations), read.status
    return meta, read.spec, None, read.status


def _status_alone(kind: Kind[SpecT, StatusT], raw: Raw) -> StatusT | None:
    """The status beside a spec that cannot be read; what was accepted before is told by it."""
    if raw.get("status") is None:
        return None
    try:
        return kind.status.model_validate_json(json.dumps(raw["status"]), by_alias=True, extra="ignore")
    except ValidationError:
        return None
