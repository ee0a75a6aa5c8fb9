"""The status of Services of type LoadBalancer: their addresses, while directors serve them, and why not.

A Service belongs to its user, and others have conditions on it, too: theirs stay, ours begin with our group's name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from lvs_api.conditions import Condition, ConditionStatus, ConditionType, Reason, find_condition
from lvs_api.objects import to_raw
from lvs_api.virtual_service import DirectorState, LvsVirtualServiceStatus
from lvs_core.checks import Problem
from lvs_core.cluster_view import ClusterView, ObjectKey
from lvs_core.load_balancers import CONDITION_PREFIX, CoreServiceStatus, FormerLoadBalancer, LoadBalancer, Raw
from lvs_core.object_status import Statement, stated, truth
from lvs_core.owned_objects import OwnedObjects, owner_of
from lvs_core.service_status import KNOWN_REASONS

IP_MODE: Final = "Proxy"
"""What comes to a pod or a node port has its address, and not the VIP; so kube-proxy takes no VIP for its own, as it
would with `VIP`: nodes of the cluster would reach the pods past the directors, and directors would balance nothing."""


def load_balancer_statuses(
    view: ClusterView, owned: OwnedObjects, services: Mapping[ObjectKey, LvsVirtualServiceStatus], now: str
) -> Mapping[ObjectKey, CoreServiceStatus]:
    """What each Service is to say; `services` are the statuses that virtual services are to have.

    One that nobody has seen before says nothing until its objects are there, or it is known why not.
    """
    statuses = {key: _withdrawn(one) for key, one in view.former_load_balancers.items()}
    for key, balancer in view.load_balancers.items():
        there = view.services.get(key)
        owner = owner_of(there.meta) if there is not None else None
        status = services.get(key) if owner is not None and owner.uid == balancer.meta.uid else None
        problem, made = owned.problems.get(key), owned.made.get(key)
        is_news = problem is not None or (made is not None and made.is_there(view, key))
        if is_news or balancer.status.conditions:
            statuses[key] = _status(balancer, _accepted(key, balancer, problem, status), status, now, is_news=is_news)
    return statuses


def _status(
    balancer: LoadBalancer, accepted: Statement, made: LvsVirtualServiceStatus | None, now: str, *, is_news: bool
) -> CoreServiceStatus:
    """`is_news` is False while an edit is on its way into the objects: what was said of the last one stands.

    So does what was told where somebody deleted the objects, or their CRD: they are made anew, and directors may go on.
    """
    ready = find_condition(made.conditions, ConditionType.READY) if made is not None else None
    said = _ready(balancer, accepted, ready)
    statements = [accepted, said] if is_news else [said]
    before = balancer.status
    conditions = tuple(stated(before.conditions, statements, now))
    is_coming = made is None and accepted.status is ConditionStatus.TRUE
    ingress = told_ingress(before.raw) if is_coming else _ingress(before.raw, made, ready)
    return CoreServiceStatus(raw=_told(before, ingress, conditions), conditions=conditions)


def _accepted(
    key: ObjectKey, balancer: LoadBalancer, problem: Problem | None, made: LvsVirtualServiceStatus | None
) -> Statement:
    value: bool | None = True
    if problem is None:
        reason = Reason.ACCEPTED
        message = f"LvsVirtualService and LvsRealServerPool {key} are made of it"
    else:
        value, reason = None if problem.reason is Reason.PENDING else False, problem.reason
        message = problem.message + (". What was made of it goes on unchanged" if made is not None else "")
    return Statement(
        type=ConditionType.ACCEPTED,
        status=truth(value),
        reason=reason,
        message=message,
        generation=balancer.meta.generation or None,
    )


def _ready(balancer: LoadBalancer, accepted: Statement, ready: Condition | None) -> Statement:
    """As the virtual service says it, without the numbers that change all the time while it is True."""
    key, generation = balancer.meta.qualified_name, accepted.generation
    if ready is None:
        if accepted.status is not ConditionStatus.TRUE:
            return replace(accepted, type=ConditionType.READY)
        status, reason, message = ConditionStatus.UNKNOWN, Reason.PENDING, f"LvsVirtualService {key} is not there yet"
    elif ready.status is ConditionStatus.TRUE:
        status, reason, message = ready.status, Reason.READY, f"LvsVirtualService {key} takes connections"
    else:
        status, reason = ready.status, KNOWN_REASONS.get(ready.reason, Reason.NOT_PROGRAMMED)
        message = f"LvsVirtualService {key}: {ready.message}"
    return Statement(type=ConditionType.READY, status=status, reason=reason, message=message, generation=generation)


def _ingress(before: Raw, made: LvsVirtualServiceStatus | None, ready: Condition | None) -> list[Raw]:
    """Its addresses once it is ready.

    What was told stays while it is not known whether they are served, and as long as they are, though not as they shall
    be: one of several directors is not as planned, an edit is under way, a fault of the objects has frozen the service.
    It goes when nobody takes connections, or the service has it no longer.
    """
    if made is None or ready is None:
        return []
    addresses = list(made.addresses or ())
    if not _is_carried_out(made, ready):
        stays = ready.status is not ConditionStatus.FALSE or _is_served(made)
        told = {one.get("ip") for one in told_ingress(before)} if stays else set()
        addresses = [one for one in addresses if one in told]
    return [{"ip": one, "ipMode": IP_MODE} for one in addresses]


def _is_carried_out(made: LvsVirtualServiceStatus, ready: Condition) -> bool:
    """Whether it is ready as it was accepted last; readiness is not lost by an edit."""
    accepted = find_condition(made.conditions, ConditionType.ACCEPTED)
    generation = accepted.observed_generation if accepted is not None else None
    return ready.status is ConditionStatus.TRUE and ready.observed_generation == generation


def _is_served(made: LvsVirtualServiceStatus) -> bool:
    """Whether a director carries the addresses and has real servers for them, or is about to.

    Addresses that move from one director to the other are with none for a moment.
    """
    states = {one.state for one in made.directors or ()}
    if DirectorState.ACTIVE in states:
        return made.real_servers is not None and made.real_servers.ready > 0
    return DirectorState.PENDING in states and DirectorState.FAILED not in states


def _withdrawn(former: FormerLoadBalancer) -> CoreServiceStatus:
    """Without what was ours.

    A Service of another type must not tell any address. One of another class may have been told some by its new
    balancer already, but hardly as `Proxy`.
    """
    told = told_ingress(former.status.raw) if former.is_load_balancer else []
    stays = [one for one in told if one.get("ipMode") != IP_MODE]
    return CoreServiceStatus(raw=_told(former.status, stays, ()), conditions=())


def told_ingress(status: Raw) -> list[Raw]:
    """What the status of a Service says of where it is reached."""
    return list((status.get("loadBalancer") or {}).get("ingress") or ())


def _told(before: CoreServiceStatus, ingress: Sequence[Raw], conditions: Sequence[Condition]) -> Raw:
    """The whole status, with what others said in its place."""
    told: dict[str, Any] = dict(before.raw)
    balancer = {name: value for name, value in (told.get("loadBalancer") or {}).items() if name != "ingress"}
    if ingress or "loadBalancer" in told:
        told["loadBalancer"] = {**balancer, **({"ingress": list(ingress)} if ingress else {})}
    said = told.pop("conditions", None) or ()
    others = [one for one in said if not str(one.get("type")).startswith(CONDITION_PREFIX)]
    ours = [{**to_raw(one), "type": f"{CONDITION_PREFIX}{one.type}"} for one in conditions]
    if others or ours:
        told["conditions"] = [*others, *ours]
    return told
