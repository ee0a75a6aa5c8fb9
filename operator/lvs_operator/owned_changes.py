"""Pure: what to write of the objects that are made of Services of type LoadBalancer, and onto these Services."""

from collections.abc import Iterator
from typing import Any

from lvs_api.api_group import API_VERSION, FIELD_MANAGER_OPERATOR, LABEL_DIRECTOR_GROUP, LABEL_MANAGED_BY
from lvs_api.objects import ObjectMeta, to_raw
from lvs_core.cluster_view import ClusterView, ObjectKey
from lvs_core.decision import Decision
from lvs_core.load_balancer_status import told_ingress
from lvs_core.owned_objects import SERVICE_API_VERSION, SERVICE_KIND, Made
from lvs_core.view_objects import pool_spec
from lvs_operator.watched_kinds import CORE_SERVICES, POOLS, VIRTUAL_SERVICES, Meta, WatchedKind
from lvs_operator.writer import Create, Delete, ReplacePart


def owned_growth(view: ClusterView, decision: Decision) -> Iterator[Create | ReplacePart]:
    """What is to be made, and made as its Service says it now; pools before who uses them.

    They are written whole: whoever edits one is overruled, for its Service is where to edit.
    """
    for key, made in decision.owned.made.items():
        pool, service = view.pools.get(key), view.services.get(key)
        if pool is None:
            yield _create(POOLS, key, made.owner_uid, to_raw(made.pool), {})
        elif pool.spec != pool_spec(made.pool):
            yield _replace(POOLS, pool.meta, to_raw(made.pool))
        if service is None:
            yield _create_service(key, made)
        elif service.spec != made.service:
            yield _replace(VIRTUAL_SERVICES, service.meta, to_raw(made.service))


def owned_losses(view: ClusterView, decision: Decision) -> Iterator[Delete]:
    """What was made and shall be no more. Kubernetes collects it with its Service, too; who comes first does it."""
    for key in decision.owned.delete_services:
        service = view.services.get(key)
        if service is not None and service.meta.deletion_timestamp is None:
            anew = decision.owned.anew.get(key)
            instead = None if anew is None else _create_service(key, anew).body
            yield Delete(kind=VIRTUAL_SERVICES, meta=meta_of(service.meta), instead=instead)
    for key in decision.owned.delete_pools:
        pool = view.pools.get(key)
        if pool is not None and pool.meta.deletion_timestamp is None:
            yield Delete(kind=POOLS, meta=meta_of(pool.meta))


def load_balancer_writes(view: ClusterView, decision: Decision) -> Iterator[ReplacePart]:
    """Statuses of Services that say something else than they shall; `load_balancer_losses` has the others."""
    for key, write in _statuses(view, decision):
        if not _believes_an_absence(view, key, write):
            yield write


def load_balancer_losses(view: ClusterView, decision: Decision) -> Iterator[ReplacePart]:
    """Statuses that take an address away because there is no virtual service that could have it.

    It may have gone with its CRD, and then directors go on.
    """
    for key, write in _statuses(view, decision):
        if _believes_an_absence(view, key, write):
            yield write


def _statuses(view: ClusterView, decision: Decision) -> Iterator[tuple[ObjectKey, ReplacePart]]:
    for key, status in decision.load_balancers.items():
        one = view.load_balancers.get(key) or view.former_load_balancers.get(key)
        if one is not None and one.status.raw != status.raw:
            yield key, ReplacePart(kind=CORE_SERVICES, meta=meta_of(one.meta), part="status", value=status.raw)


def _believes_an_absence(view: ClusterView, key: ObjectKey, write: ReplacePart) -> bool:
    balancer = view.load_balancers.get(key)
    if balancer is None or not balancer.status.conditions or key in view.services:
        return False
    return bool(told_ingress(balancer.status.raw)) and not told_ingress(write.value)


def meta_of(meta: ObjectMeta) -> Meta:
    """The state of an object, for a write onto it."""
    return Meta(namespace=meta.namespace, name=meta.name, uid=meta.uid, version=int(meta.resource_version))


def _create_service(key: ObjectKey, made: Made) -> Create:
    made_for = {LABEL_DIRECTOR_GROUP: made.service.director_group_ref.name}
    return _create(VIRTUAL_SERVICES, key, made.owner_uid, to_raw(made.service), made_for)


def _create(kind: WatchedKind, key: ObjectKey, owner_uid: str, spec: dict[str, Any], labels: dict[str, str]) -> Create:
    owner = {
        "apiVersion": SERVICE_API_VERSION,
        "kind": SERVICE_KIND,
        "name": key.name,
        "uid": owner_uid,
        "controller": True,
    }
    metadata = {
        "name": key.name,
        "namespace": key.namespace,
        "labels": {LABEL_MANAGED_BY: FIELD_MANAGER_OPERATOR, **labels},
        "ownerReferences": [owner],
    }
    body = {"apiVersion": API_VERSION, "kind": kind.name, "metadata": metadata, "spec": spec}
    return Create(kind=kind, namespace=key.namespace, body=body)


def _replace(kind: WatchedKind, meta: ObjectMeta, spec: dict[str, Any]) -> ReplacePart:
    return ReplacePart(kind=kind, meta=meta_of(meta), part="spec", value=spec)
