"""What can be wrong with a pool's `endpoints`: small checks named after the fault, in a chain."""

from collections.abc import Callable
from typing import Final

from lvs_api.conditions import ConditionType, Reason
from lvs_api.network_types import ENDPOINT_MEMBER_PREFIX
from lvs_api.real_server_pool import EndpointMembers
from lvs_core.checks import Candidate, Problem
from lvs_core.cluster_view import ObjectKey
from lvs_core.endpoint_members import matched_ports
from lvs_core.forwarding import needs_address
from lvs_core.frontends import is_grouped, only_port, ports, vips

EndpointCheck = Callable[[Candidate, EndpointMembers], Problem | None]


def first_endpoint_problem(case: Candidate) -> Problem | None:
    """The first fault of a service whose pool names endpoints; None where it names none."""
    endpoints = case.pool_spec.endpoints
    if endpoints is None:
        return None
    problems = (check(case, endpoints) for check in ENDPOINT_CHECKS)
    return next((problem for problem in problems if problem is not None), None)


def method_without_vip(case: Candidate, _: EndpointMembers) -> Problem | None:
    """DirectRouting and Tunnel want real servers that have the VIP, which pods have not."""
    method = case.spec.forwarding.method
    if not needs_address(method):
        return None
    return Problem(
        condition=ConditionType.ACCEPTED,
        reason=Reason.NEEDS_MASQUERADE,
        message=f"spec.forwarding.method: {method} needs real servers that have the service's addresses, and "
        f"{_field(case)} are pods, which have not; use Masquerade, or another pool",
    )


def ports_that_stay(case: Candidate, _: EndpointMembers) -> Problem | None:
    """Under a mark and port 0 packets keep their port, and endpoints have ports of their own."""
    port = only_port(case.spec)
    if port is not None and not is_grouped(case.spec) and all(one.port for one in ports(case.spec)):
        return None
    under = "a firewall mark" if port is None else "portMode Grouped" if is_grouped(case.spec) else "port 0"
    return Problem(
        condition=ConditionType.ACCEPTED,
        reason=Reason.PORT_MISMATCH,
        message=f"{_field(case)}: under {under} every port stays as it is, and endpoints have ports of their own; give "
        "the service ports with portMode Separate, or use another pool",
    )


def one_name_for_several_ports(case: Candidate, endpoints: EndpointMembers) -> Problem | None:
    """One port of the Service can not stand for several of the virtual service."""
    number = len(ports(case.spec))
    if endpoints.port_name is None or number == 1:
        return None
    return Problem(
        condition=ConditionType.ACCEPTED,
        reason=Reason.PORT_MISMATCH,
        message=f"{_field(case)}.portName: {endpoints.port_name} is for services of one port, and this one has "
        f"{number}; remove it, and name the service's ports as the Service does",
    )


def missing_service(case: Candidate, endpoints: EndpointMembers) -> Problem | None:
    """The Service is not there, or is one that has no endpoints."""
    key = _service_key(case, endpoints)
    core = case.view.core_services.get(key)
    if core is not None and core.has_endpoints:
        return None
    what = "does not exist; create it" if core is None else "is of type ExternalName, which has no endpoints"
    return Problem(
        condition=ConditionType.RESOLVED_REFS,
        reason=Reason.SERVICE_NOT_FOUND,
        message=f"{_field(case)}.serviceRef.name: Service {key} {what}",
    )


def missing_slices(case: Candidate, endpoints: EndpointMembers) -> Problem | None:
    """Kubernetes has not got round to the Service yet, which is made anew perhaps: that is no news of its pods."""
    key = _service_key(case, endpoints)
    if not case.view.core_services[key].has_selector or case.view.endpoint_slices.get(key):
        return None
    return Problem(
        condition=ConditionType.RESOLVED_REFS,
        reason=Reason.ENDPOINTS_UNKNOWN,
        message=f"{_field(case)}: there is no EndpointSlice of Service {key}; Kubernetes makes one, if its controller "
        "manager runs",
    )


def unreadable_slice(case: Candidate, endpoints: EndpointMembers) -> Problem | None:
    """One that a later version of Kubernetes has written, perhaps: that is no news of its pods either."""
    key = _service_key(case, endpoints)
    for one in case.view.endpoint_slices.get(key, ()):
        if one.fault is not None:
            return Problem(
                condition=ConditionType.RESOLVED_REFS,
                reason=Reason.ENDPOINTS_UNKNOWN,
                message=f"{_field(case)}: EndpointSlice {one.namespace}/{one.name} of Service {key} can not be read: "
                f"{one.fault}",
            )
    return None


def missing_port(case: Candidate, endpoints: EndpointMembers) -> Problem | None:
    """A port for which the Service has none."""
    key = _service_key(case, endpoints)
    core = case.view.core_services[key]
    matched = matched_ports(endpoints, core, case.spec)
    for port in ports(case.spec):
        if port.name not in matched:
            told = ", ".join(f"{one.name or '(no name)'}/{one.protocol}" for one in core.ports) or "none"
            if endpoints.port_name is not None:
                field, name = f"{_field(case)}.portName", endpoints.port_name
            else:
                field, name = f"spec.ports[{port.name}]", port.name
            return Problem(
                condition=ConditionType.RESOLVED_REFS,
                reason=Reason.PORT_NOT_FOUND,
                message=f"{field}: Service {key} has no {port.protocol} port of the name {name}; it has {told}",
            )
    return None


def service_as_endpoint(case: Candidate, endpoints: EndpointMembers) -> Problem | None:
    """An endpoint whose address is the VIP would be the director itself."""
    for member in case.members:
        if member.name.startswith(ENDPOINT_MEMBER_PREFIX) and member.address in vips(case.spec):
            return Problem(
                condition=ConditionType.ACCEPTED,
                reason=Reason.INVALID,
                message=f"{_field(case)}: an EndpointSlice of Service {_service_key(case, endpoints)} names "
                f"{member.address}, an address of the virtual service itself; take it out there",
            )
    return None


ENDPOINT_CHECKS: Final[tuple[EndpointCheck, ...]] = (
    method_without_vip,
    ports_that_stay,
    one_name_for_several_ports,
    missing_service,
    missing_port,
    missing_slices,
    unreadable_slice,
    service_as_endpoint,
)
"""In the order in which a user would mend them."""


def _service_key(case: Candidate, endpoints: EndpointMembers) -> ObjectKey:
    return ObjectKey(case.key.namespace, endpoints.service_ref.name)


def _field(case: Candidate) -> str:
    return f"LvsRealServerPool {case.pool.meta.qualified_name} spec.endpoints"
