"""Which real servers are to run out of connections, and how long each has for it."""

from collections.abc import Mapping

from lvs_agent.decide.drain import Drain, DrainCause, DrainKey
from lvs_agent.decide.kernel_state import ForwardingMethod, KernelIpvs, ServiceState
from lvs_agent.decide.ownership import OwnedIpvs
from lvs_agent.decide.prepared_plan import PreparedMember, PreparedPlan, PreparedService
from lvs_core.plan import PlannedMember


def asked_drains(
    prepared: PreparedPlan, kernel: KernelIpvs, owned: OwnedIpvs, known: Mapping[DrainKey, Drain]
) -> dict[DrainKey, float]:
    """Every drain that the slices ask for, and those that they should have asked for; with its seconds.

    These are of members that vanished without a word, and of former methods that the slices no longer tell, or never
    told this director: it was out of reach, and nobody waited for it.

    By a provisional plan none begins and none ends: `known` are those under way.
    """
    if prepared.plan.provisional:
        return {key: drain.timeout_seconds for key, drain in known.items()}
    asked: dict[DrainKey, float] = {}
    for service in prepared.services:
        if service.planned.paused:
            continue
        state = kernel.services.get(service.key)
        if service.asks_drains:
            asked.update(_slices_drains(service, state))
        asked.update(untold_drains(service, state, known))
        if state is None or state.destinations.keys() <= service.staying:
            continue
        ours = owned.get(service.key, frozenset())
        for destination in state.destinations:
            if destination in ours and destination not in service.staying:
                key = DrainKey(service=service.key, destination=destination, cause=DrainCause.LEAVING)
                asked.setdefault(key, float(service.planned.drain_seconds))
    return asked


def slices_drain(member: PlannedMember) -> tuple[DrainCause, float] | None:
    """What the slices ask to run out of a member, and its seconds.

    One that leaves takes the connections of its former method along: it has none of them left when it is idle, and no
    right to more time than the pool gives.
    """
    if member.draining_seconds is not None:
        return DrainCause.LEAVING, float(member.draining_seconds)
    if member.former is not None:
        return DrainCause.FORMER_METHOD, float(member.former.timeout_seconds)
    return None


def untold_drains(
    service: PreparedService, state: ServiceState | None, known: Mapping[DrainKey, Drain]
) -> dict[DrainKey, float]:
    """Drains of former methods that the slices do not ask for, of members whose nodes would give up a VIP."""
    drains: dict[DrainKey, float] = {}
    for member in service.members:
        if member.planned.node is None or slices_drain(member.planned) is not None:
            continue
        key = DrainKey(service=service.key, destination=member.key, cause=DrainCause.FORMER_METHOD)
        before = known.get(key)
        if before is not None:
            if not before.over:
                drains[key] = before.timeout_seconds
        elif _has_other_way(state, member):
            drains[key] = float(service.planned.drain_seconds)
    return drains


def _has_other_way(state: ServiceState | None, member: PreparedMember) -> bool:
    """Whether connections live that came by a method which needs something of the node, and is about to be edited."""
    destination = state.destinations.get(member.key) if state else None
    if destination is None or not destination.connections:
        return False
    now, wanted = destination.settings, member.with_weight
    if now.method is ForwardingMethod.MASQUERADE:
        return False
    by, asked = now.tunnel, wanted.tunnel
    return (now.method, by.type, by.port) != (wanted.method, asked.type, asked.port)


def _slices_drains(service: PreparedService, state: ServiceState | None) -> dict[DrainKey, float]:
    asked: dict[DrainKey, float] = {}
    for member in service.members:
        drain = slices_drain(member.planned)
        if drain is None:
            continue
        cause, seconds = drain
        if cause is DrainCause.LEAVING or _has_method(state, member):
            asked[DrainKey(service=service.key, destination=member.key, cause=cause)] = seconds
    return asked


def _has_method(state: ServiceState | None, member: PreparedMember) -> bool:
    """Whether the kernel already forwards by the new method, or has no entry at all."""
    destination = state.destinations.get(member.key) if state else None
    return destination is None or destination.settings.method == member.with_weight.method
