"""The LvsVirtualServices and LvsRealServerPools that are made of Services of type LoadBalancer, under their names.

Ours is what a Service of its name controls by an owner reference, and what is labelled as made by this operator, for
other programs may make such objects of Services, too. Anything else is somebody's own and is left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lvs_api.api_group import DEFAULT_DIRECTOR_GROUP, FIELD_MANAGER_OPERATOR, LABEL_DIRECTOR_GROUP, LABEL_MANAGED_BY
from lvs_api.conditions import ConditionType, Reason
from lvs_api.kinds import REAL_SERVER_POOL, VIRTUAL_SERVICE
from lvs_api.network_types import LabelSelectorOperator, LabelSelectorRequirement
from lvs_api.objects import ObjectMeta, OwnerReference
from lvs_api.real_server_pool import LvsRealServerPoolSpec
from lvs_api.virtual_service import LvsVirtualServiceSpec
from lvs_core.checks import Problem
from lvs_core.cluster_view import ClusterView, ObjectKey, VirtualService
from lvs_core.directors import Directors
from lvs_core.load_balancer_addresses import with_addresses
from lvs_core.load_balancers import DIRECTOR_GROUP, LoadBalancer, RealServers
from lvs_core.permissions import Permissions
from lvs_core.view_objects import pool_spec

SERVICE_KIND: Final = "Service"
SERVICE_API_VERSION: Final = "v1"
HOSTNAME: Final = "kubernetes.io/hostname"
"""On every Node, by its kubelet."""
_VALUES: Final = 64
"""Of one requirement of a selector at most."""


def _refused(reason: Reason, message: str) -> Problem:
    return Problem(condition=ConditionType.ACCEPTED, reason=reason, message=message)


_MOVING: Final = _refused(
    Reason.PENDING, "another director group is named: the LvsVirtualService goes, and is made anew for that one"
)
"""The director group of a virtual service can not be edited."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What is made of one Service, under its name."""

    owner_uid: str
    """The Service's."""
    pool: LvsRealServerPoolSpec
    service: LvsVirtualServiceSpec

    def is_there(self, view: ClusterView, key: ObjectKey) -> bool:
        """Whether both objects are as they shall be."""
        pool, service = view.pools.get(key), view.services.get(key)
        if pool is None or service is None:
            return False
        return (pool.spec, service.spec) == (pool_spec(self.pool), self.service)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Anew:
    """What is made where a LvsVirtualService of another director group has gone."""

    made: Made


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnedObjects:
    """What shall be made of Services, and what of it shall be no more; what is in neither stays as it is."""

    made: Mapping[ObjectKey, Made] = field(default_factory=dict)
    delete_services: tuple[ObjectKey, ...] = ()
    """LvsVirtualServices: no Service asks for them any more, or they must be made anew."""
    anew: Mapping[ObjectKey, Made] = field(default_factory=dict)
    """What these are to be then: of another director group, which can not be edited."""
    delete_pools: tuple[ObjectKey, ...] = ()
    """LvsRealServerPools: no Service asks for them any more."""
    problems: Mapping[ObjectKey, Problem] = field(default_factory=dict)
    """By Service: why what it says is not carried out, or not yet (reason Pending)."""


def owner_of(meta: ObjectMeta) -> OwnerReference | None:
    """The Service of which an object was made; None for one that is somebody's own."""
    if meta.labels.get(LABEL_MANAGED_BY) != FIELD_MANAGER_OPERATOR:
        return None
    return next((one for one in meta.owner_references if _is_maker(one, meta)), None)


def _is_maker(owner: OwnerReference, meta: ObjectMeta) -> bool:
    is_service = (owner.api_version, owner.kind) == (SERVICE_API_VERSION, SERVICE_KIND)
    return owner.controller and is_service and owner.name == meta.name


def owned_objects(view: ClusterView, directors: Mapping[str, Directors]) -> OwnedObjects:
    """What is to become of every object that was or shall be made."""
    permissions = Permissions(view)
    outcomes = {key: _outcome(view, permissions, directors, balancer) for key, balancer in view.load_balancers.items()}
    anew = {key: one.made for key, one in outcomes.items() if isinstance(one, _Anew)}
    delete_services = tuple(
        key
        for key, one in view.services.items()
        if (owner := owner_of(one.meta)) is not None and (_is_orphan(view, key, owner) or key in anew)
    )
    problems = {key: one for key, one in outcomes.items() if isinstance(one, Problem)}
    return OwnedObjects(
        made={key: one for key, one in outcomes.items() if isinstance(one, Made)},
        delete_services=delete_services,
        anew=anew,
        delete_pools=tuple(
            key
            for key, one in view.pools.items()
            if (owner := owner_of(one.meta)) is not None and _is_orphan(view, key, owner)
        ),
        problems=problems | dict.fromkeys(anew, _MOVING),
    )


def _is_orphan(view: ClusterView, key: ObjectKey, owner: OwnerReference) -> bool:
    """Its Service is gone, or asks for nothing any more."""
    balancer = view.load_balancers.get(key)
    return balancer is None or balancer.meta.uid != owner.uid


def _outcome(
    view: ClusterView, permissions: Permissions, directors: Mapping[str, Directors], balancer: LoadBalancer
) -> Made | _Anew | Problem:
    key = ObjectKey(balancer.meta.namespace or "", balancer.meta.name)
    if balancer.faults or balancer.pool is None:
        return _refused(Reason.INVALID, "; ".join(str(one) for one in balancer.faults))
    service, pool = view.services.get(key), view.pools.get(key)
    for kind, there in ((VIRTUAL_SERVICE, service), (REAL_SERVER_POOL, pool)):
        if there is not None and (problem := _in_the_way(f"{kind.name} {key}", there.meta, balancer)) is not None:
            return problem
    spec = with_addresses(view, permissions, balancer, service.spec if service is not None else None)
    if isinstance(spec, Problem):
        return spec
    problem = None if service is None else _of_another_group(view, service, spec.director_group_ref.name)
    if problem is not None and problem is not _MOVING:
        return problem
    made_pool = balancer.pool
    if balancer.real_servers is RealServers.NODES:
        made_pool = _without_directors(view, directors.get(spec.director_group_ref.name), made_pool)
    made = Made(owner_uid=balancer.meta.uid, pool=made_pool, service=spec)
    return made if problem is None else _Anew(made=made)


def _of_another_group(view: ClusterView, service: VirtualService, wanted: str) -> Problem | None:
    """Why a virtual service of another group can not be as its Service says now; None for one of the wanted group."""
    has = service.spec.director_group_ref.name if service.spec is not None else wanted
    if has == wanted:
        return None
    if wanted not in view.groups:
        return _nowhere(wanted)
    # Made for this one, it was not kept so: another one would not be, either, and each time its connections would end.
    return _changed(has, wanted) if service.meta.labels.get(LABEL_DIRECTOR_GROUP) == wanted else _MOVING


def _changed(has: str, wanted: str) -> Problem:
    return _refused(
        Reason.WRITE_REFUSED,
        f"spec.directorGroupRef: the LvsVirtualService was written for LvsDirectorGroup {wanted}, and a mutating "
        f"admission policy or webhook made it {has}; name {has} in metadata.annotations[{DIRECTOR_GROUP}], or except "
        f"what {FIELD_MANAGER_OPERATOR} writes from that and delete the LvsVirtualService, which is made anew then",
    )


def _nowhere(group: str) -> Problem:
    """What runs does not go for a director group that is not there, say because its name is misspelt."""
    return _refused(
        Reason.DIRECTOR_GROUP_NOT_FOUND,
        f"metadata.annotations[{DIRECTOR_GROUP}]: LvsDirectorGroup {group} does not exist (without the annotation: "
        f"{DEFAULT_DIRECTOR_GROUP}); create it, or name another",
    )


def _in_the_way(what: str, there: ObjectMeta, balancer: LoadBalancer) -> Problem | None:
    """Why an object of the Service's name can not be written; None where it is made of this very Service."""
    owner = owner_of(there)
    if owner is None:
        message = f"{what} has this Service's name and is not made of it; delete it, or give the Service another name"
        return _refused(Reason.NAME_TAKEN, message)
    if owner.uid != balancer.meta.uid:
        return _refused(Reason.PENDING, f"waits until {what}, made of a former Service of this name, is gone")
    if there.deletion_timestamp is not None:
        return _refused(Reason.PENDING, f"waits until {what}, which is being deleted, is gone")
    return None


def _without_directors(
    view: ClusterView, directors: Directors | None, pool: LvsRealServerPoolSpec
) -> LvsRealServerPoolSpec:
    """Nodes that are directors, or were and have not let go, take no part.

    kube-proxy translates what comes in and what a process sends; what IPVS hands to the director itself is neither, so
    there is nobody at its node port.
    """
    names = set(directors.forwarding) if directors is not None else set()
    labels = sorted({view.nodes[name].labels.get(HOSTNAME, "") for name in names & view.nodes.keys()} - {""})
    if not labels or pool.nodes is None:
        return pool
    others = [
        LabelSelectorRequirement(key=HOSTNAME, operator=LabelSelectorOperator.NOT_IN, values=list(some))
        for some in (labels[first : first + _VALUES] for first in range(0, len(labels), _VALUES))
    ]
    selector = pool.nodes.selector
    selector = selector.model_copy(update={"match_expressions": [*(selector.match_expressions or ()), *others]})
    return pool.model_copy(update={"nodes": pool.nodes.model_copy(update={"selector": selector})})
