"""What happened between two statuses of a LvsNode, as events on it."""

from collections.abc import Iterable, Iterator, Mapping

from lvs_api.conditions import Reason
from lvs_api.events import MAX_EVENT_MESSAGE, EventReason, EventType, Occurrence, condition_events, type_of
from lvs_api.lvs_node import LvsNodeStatus, NodeAddressState, NodeAddressStatus, ServiceException

_NOT_BOUND = {
    NodeAddressState.FAILED: EventReason.ADDRESS_FAILED.value,
    NodeAddressState.CONFLICT: Reason.ADDRESS_CONFLICT.value,
}


def status_events(before: LvsNodeStatus, after: LvsNodeStatus) -> tuple[Occurrence, ...]:
    """Transitions of conditions, of addresses, of the part as a director, and exceptions that came, changed or went."""
    return (
        *condition_events(before.conditions, after.conditions),
        *_address_events(before, after),
        *_director_events(before, after),
        *_exception_events(before, after),
    )


def _address_events(before: LvsNodeStatus, after: LvsNodeStatus) -> Iterator[Occurrence]:
    """One that was just asked for is not bound yet: it is judged first, and then it is bound or has another message."""
    old, new = _by_binding(before.addresses), _by_binding(after.addresses)
    for where, one in new.items():
        known = old.get(where)
        if known is not None and (known.state, known.message) == (one.state, one.message):
            continue
        if one.state is NodeAddressState.BOUND:
            yield _normal(EventReason.ADDRESS_BOUND, where, f"{where} is bound, and silent")
        elif known is not None or one.state is NodeAddressState.CONFLICT:
            yield Occurrence(
                type=EventType.WARNING,
                reason=_NOT_BOUND[one.state],
                message=f"{where}: {one.message or 'not bound'}"[:MAX_EVENT_MESSAGE],
                subject=where,
            )
    for where in old.keys() - new.keys():
        if old[where].state is NodeAddressState.BOUND:
            yield _normal(EventReason.ADDRESS_UNBOUND, where, f"{where} is no longer bound")


def _director_events(before: LvsNodeStatus, after: LvsNodeStatus) -> Iterator[Occurrence]:
    held, holds = _held(before), _held(after)
    for group in sorted(holds - held):
        message = f"carries the addresses of LvsDirectorGroup {group}"
        yield _normal(EventReason.ADDRESSES_TAKEN, group, message)
    for group in sorted(held - holds):
        message = f"no longer carries the addresses of LvsDirectorGroup {group}"
        yield _normal(EventReason.ADDRESSES_RELEASED, group, message)


def _exception_events(before: LvsNodeStatus, after: LvsNodeStatus) -> Iterator[Occurrence]:
    """Where a report has no room for all, a service that it does not name may still be in trouble.

    A service that waits for an answer is about to be well.
    """
    old, new = _by_service(before.exceptions), _by_service(after.exceptions)
    for service, one in new.items():
        known = old.get(service)
        if known is None or known.reason != one.reason:
            yield Occurrence(
                type=type_of(one.reason) if not _is_asked_for(one) else EventType.NORMAL,
                reason=one.reason,
                message=f"LvsVirtualService {service}: {one.message}"[:MAX_EVENT_MESSAGE],
                subject=service,
            )
    if not after.truncated:
        for service in sorted(old.keys() - new.keys()):
            message = f"LvsVirtualService {service}: nothing to report any more"
            yield _normal(EventReason.EXCEPTION_CLEARED, service, message)


def _is_asked_for(one: ServiceException) -> bool:
    """A real server that drains was asked to."""
    return bool(one.draining) and one.reason == Reason.MEMBERS_NOT_READY


def _normal(reason: EventReason, subject: str, message: str) -> Occurrence:
    return Occurrence(type=EventType.NORMAL, reason=reason.value, message=message, subject=subject)


def _by_binding(addresses: Iterable[NodeAddressStatus] | None) -> Mapping[str, NodeAddressStatus]:
    return {f"{one.address} on {one.device.value}": one for one in addresses or ()}


def _by_service(exceptions: Iterable[ServiceException] | None) -> Mapping[str, ServiceException]:
    return {f"{one.namespace}/{one.name}": one for one in exceptions or () if one.reason != Reason.PENDING}


def _held(status: LvsNodeStatus) -> frozenset[str]:
    return frozenset(report.name for report in status.director_groups or () if report.holds_addresses)
