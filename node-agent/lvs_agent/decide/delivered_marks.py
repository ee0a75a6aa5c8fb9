"""Which marks' packets this director takes for its own, and of which services the kernel does not do so."""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import AnyServiceKey, FirewallMarkKey, LocalDelivery
from lvs_agent.decide.prepared_plan import PreparedPlan, PreparedService
from lvs_api.conditions import Reason


def kept_marks(prepared: PreparedPlan, present: LocalDelivery) -> frozenset[FirewallMarkKey]:
    """What stays of what there is: what is wanted, and what paused services have; all while some service is unknown."""
    if any(director.incomplete for director in prepared.plan.directing):
        return present.rules
    paused = {service.key for service in prepared.services if service.planned.paused}
    return frozenset(present.rules & (paused | set(_wanted(prepared))))


def taken_marks(
    prepared: PreparedPlan, present: LocalDelivery, served: AbstractSet[AnyServiceKey]
) -> frozenset[FirewallMarkKey]:
    """What there is, and what is wanted of services that the kernel has: others would have their packets refused."""
    return present.rules | {mark for mark in _wanted(prepared) if mark in served}


def undelivered_services(prepared: PreparedPlan, why: str | None) -> Mapping[AnyServiceKey, Fault]:
    """The services whose packets pass by this director."""
    if why is None:
        return {}
    return {mark: Fault(reason=Reason.NOT_DELIVERED, message=why) for mark in _wanted(prepared)}


def _wanted(prepared: PreparedPlan) -> Iterator[FirewallMarkKey]:
    for service in prepared.services:
        if isinstance(service.key, FirewallMarkKey) and _is_delivered(service):
            yield service.key


def _is_delivered(service: PreparedService) -> bool:
    return service.planned.delivered and not service.planned.paused
