"""Which packets this director marks, so that the ports of one service are one to IPVS."""

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import AnyServiceKey, FirewallMarkKey, IPAddress, MarkRule, family_of
from lvs_agent.decide.kernel_words import TRANSPORT_PROTOCOLS
from lvs_agent.decide.prepared_plan import PreparedPlan
from lvs_core.plan import MarkKey

Endpoint = tuple[IPAddress, int, int]
"""Address, protocol and port: what has one mark."""


def desired_marks(prepared: PreparedPlan) -> frozenset[MarkRule]:
    """The rules of this plan."""
    return frozenset(
        MarkRule(key.address, TRANSPORT_PROTOCOLS[key.protocol], key.port, service.planned.key.mark)
        for service in prepared.services
        if isinstance(service.planned.key, MarkKey)
        for key in service.planned.marked
    )


def with_more(present: Collection[MarkRule], wanted: Collection[MarkRule]) -> frozenset[MarkRule]:
    """What there is and what is to come, before the services are made.

    A mark without a service harms nobody: IPVS then looks for the address and port. A rule for the same packets stays
    as it is until its successor's service is there.
    """
    taken = {_endpoint(rule) for rule in present}
    return frozenset(present) | {rule for rule in wanted if _endpoint(rule) not in taken}


def with_needed(
    present: Collection[MarkRule], wanted: Collection[MarkRule], staying: AbstractSet[AnyServiceKey]
) -> frozenset[MarkRule]:
    """What is wanted, and what there is for services that are not, and that the kernel has all the same.

    They may be somebody else's by now, for the ledger was lost, or wait for their successors: packets go to them still.
    """
    taken = {_endpoint(rule) for rule in wanted}
    needed = {rule for rule in present if _service_of(rule) in staying and _endpoint(rule) not in taken}
    return frozenset(wanted) | needed


def staying_services(prepared: PreparedPlan, present: AbstractSet[AnyServiceKey]) -> frozenset[AnyServiceKey]:
    """What the kernel has by marks, and the plan does not."""
    planned = {service.key for service in prepared.services}
    return frozenset(key for key in present if isinstance(key, FirewallMarkKey) and key not in planned)


def faulty_services(prepared: PreparedPlan, fault: Fault | None) -> Mapping[AnyServiceKey, Fault]:
    """The services that need marks which could not be set."""
    if fault is None:
        return {}
    return {service.key: fault for service in prepared.services if service.planned.marked}


def unmarked_addresses(prepared: PreparedPlan, fault: Fault | None) -> frozenset[IPAddress]:
    """VIPs whose packets would meet no service without their mark: an address would only refuse clients."""
    if fault is None:
        return frozenset()
    return frozenset(key.address for service in prepared.services for key in service.planned.marked)


def _service_of(rule: MarkRule) -> FirewallMarkKey:
    """What the packets come to."""
    return FirewallMarkKey(family=family_of(rule.address), mark=rule.mark)


def _endpoint(rule: MarkRule) -> Endpoint:
    return rule.address, rule.protocol, rule.port
