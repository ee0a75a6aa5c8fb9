"""Which rows the counters get: every virtual service of ours, and its real servers as long as there is room.

The kernel counts per service as well, and that count goes on when a real server leaves: it stands for the real servers
of a service that have no rows of their own.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lvs_agent.decide.kernel_state import ServiceKey, TrafficCounters
from lvs_agent.decide.named_table import NamedMember, NamedService

SUMMED = ""
"""Stands for the member's name where the real servers of a service are summed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRow:
    """A real server, or all of a service together."""

    member: str
    counters: TrafficCounters
    weight: int
    active: int
    inactive: int
    persistent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRows:
    """One virtual service, with what tells it apart."""

    namespace: str
    service: str
    port: str
    """The port's name."""
    address: str
    """The VIP; of a firewall mark's service the mark and family."""
    counters: TrafficCounters
    members: tuple[MemberRow, ...]
    summed: bool


def count_rows(services: Iterable[NamedService], most: int) -> tuple[ServiceRows, ...]:
    """Rows of what is ours, at most so many of real servers that have a row each; sorted by name.

    Services with few real servers get theirs first: so the largest number of services is seen in detail, and which
    they are changes only when one of them grows.
    """
    ours = sorted(
        (service for service in services if service.service is not None),
        key=lambda one: (len(one.members), one.service, one.port_name, str(one.key)),
    )
    rows = []
    left = most
    for service in ours:
        members = [member for member in service.members if member.ours]
        summed = len(members) > left
        left -= 0 if summed else len(members)
        rows.append(_rows(service, members, summed=summed))
    return tuple(sorted(rows, key=lambda one: (one.namespace, one.service, one.port, one.address)))


def _rows(service: NamedService, members: list[NamedMember], *, summed: bool) -> ServiceRows:
    name, counters = service.service, service.state.counters
    return ServiceRows(
        namespace=name.namespace if name is not None else "",
        service=name.name if name is not None else "",
        port=service.port_name or "",
        address=str(service.key.address) if isinstance(service.key, ServiceKey) else str(service.key),
        counters=counters,
        members=(_sum(members, counters),) if summed else tuple(map(_row, members)),
        summed=summed,
    )


def _row(member: NamedMember) -> MemberRow:
    state = member.state
    return MemberRow(
        member=member.label,
        counters=state.counters,
        weight=state.settings.weight,
        active=state.active_connections,
        inactive=state.inactive_connections,
        persistent=state.persistent_connections,
    )


def _sum(members: list[NamedMember], counters: TrafficCounters) -> MemberRow:
    states = [member.state for member in members]
    return MemberRow(
        member=SUMMED,
        counters=counters,
        weight=sum(state.settings.weight for state in states),
        active=sum(state.active_connections for state in states),
        inactive=sum(state.inactive_connections for state in states),
        persistent=sum(state.persistent_connections for state in states),
    )
