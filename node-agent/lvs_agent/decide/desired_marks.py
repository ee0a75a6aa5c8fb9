"""Which packets this director marks, so that the ports of one service are one to IPVS."""

from collections.abc import Collection, Mapping

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import AnyServiceKey, IPAddress, MarkRule
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


def _endpoint(rule: MarkRule) -> Endpoint:
    return rule.address, rule.protocol, rule.port
