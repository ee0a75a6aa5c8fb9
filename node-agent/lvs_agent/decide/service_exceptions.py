"""Which services have something to say, the worst first, and in which words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Final

from lvs_agent.decide.desired_service import ServicePart, Waiting
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import IPAddress
from lvs_agent.decide.node_facts import NodeFacts
from lvs_agent.decide.quorum import below_quorum
from lvs_api.conditions import Reason
from lvs_api.lvs_node import ServiceException
from lvs_core.cluster_view import ObjectKey
from lvs_core.plan import AnyVirtualKey

_PAUSED: Final = "spec.paused: this director leaves everything as it is"
_NAMED_MEMBERS: Final = 3
_MAX_MESSAGE: Final = 512


@dataclass(slots=True)
class _Standing:
    """One LvsVirtualService over all its parts."""

    parts: list[ServicePart] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)
    below: str = ""
    """By how much it is short of its quorum, and what comes of it."""
    unseen: Fault | None = None
    """Packets for it arrive, and do not get to IPVS."""


def service_exceptions(facts: NodeFacts) -> Iterator[ServiceException]:
    """Services with something to say, the worst first, so that a bound cuts the others."""
    standings = _standings(facts)
    found = [exception for name in sorted(standings) if (exception := _exception(name, standings[name])) is not None]
    yield from sorted(found, key=lambda one: (one.programmed, not one.draining, one.ready != 0))


def _standings(facts: NodeFacts) -> dict[ObjectKey, _Standing]:
    """Services with a fault or something to say; the others are simply well."""
    standings: dict[ObjectKey, _Standing] = {}
    by_address = {binding.address: fault for binding, fault in facts.address_faults.items()} | {
        address: Fault(reason=Reason.NOT_PROGRAMMED, message=message)
        for address, message in facts.addresses.homeless.items()
    }
    for name, parts in facts.desired.services.items():
        faults = [fault for part in parts for fault in _part_faults(facts, part, by_address)]
        notes = [facts.service_notes[part.key] for part in parts if part.key in facts.service_notes]
        quiet = not any(part.waiting or part.vanishing or part.paused or not part.member_names for part in parts)
        below = _below_quorum(parts, facts.withdrawn)
        unseen = next((facts.troubles.unseen[one.key] for one in parts if one.key in facts.troubles.unseen), None)
        if faults or notes or below or unseen or not quiet:
            standings[name] = _Standing(parts=list(parts), faults=faults, notes=notes, below=below, unseen=unseen)
    for name, fault in _further_faults(facts):
        standings.setdefault(name, _Standing(parts=list(facts.desired.services.get(name, ())))).faults.append(fault)
    return standings


def _part_faults(facts: NodeFacts, part: ServicePart, by_address: Mapping[IPAddress, Fault]) -> Iterator[Fault]:
    if facts.node_fault is not None and facts.node_fault.reason is Reason.IPVS_UNAVAILABLE:
        yield facts.node_fault
    elif fault := facts.service_faults.get(part.key):
        yield fault
    elif part.paused and part.key not in facts.present:
        yield Fault(reason=Reason.PAUSED, message=f"paused before {part.key} was made on this director")
    if part.vip is not None and part.vip in by_address:
        yield by_address[part.vip]


def _further_faults(facts: NodeFacts) -> Iterator[tuple[ObjectKey, Fault]]:
    """Faults of services that the plan has no part for."""
    for key, name in facts.former_names.items():
        gone = Fault(reason=Reason.NOT_PROGRAMMED, message=f"{key} is still in the kernel")
        yield name, facts.service_faults.get(key, gone)
    if facts.refusals.left_out:
        for planned in facts.plan.services():
            if planned.vip in facts.refusals.left_out:
                yield planned.service, facts.refusals.faults[planned.vip]
    for director in facts.plan.directing:
        for name in director.incomplete:
            yield name, Fault(reason=Reason.NOT_PROGRAMMED, message="its first slice has not been seen yet")
        for name, taken, holder in director.conflicts:
            yield name, _taken(taken, holder)
        for name, why in director.held:
            yield name, Fault(reason=Reason.REMOVAL_HELD, message=why)


def _taken(key: AnyVirtualKey, holder: ObjectKey) -> Fault:
    return Fault(reason=Reason.CONFLICT, message=f"{key} belongs to LvsVirtualService {holder} on this director")


def _exception(name: ObjectKey, standing: _Standing) -> ServiceException | None:
    parts = standing.parts
    vanishing = max((part.vanishing for part in parts), default=0)
    waiting = _merge_waiting(parts)
    without = [member for member in waiting if not member.has_weight]
    total = len({member for part in parts for member in part.member_names})
    if standing.faults:
        fault = standing.faults[0]
    elif any(part.paused for part in parts):
        fault = Fault(reason=Reason.PAUSED, message=f"{_PAUSED}{_after_the_pause(waiting)}")
    elif standing.below:
        why = f"; {_members_fault(without, total).message}" if without else ""
        fault = Fault(reason=Reason.BELOW_QUORUM, message=f"{standing.below}{why}")
    elif standing.unseen is not None:
        why = f"; {_members_fault(without, total).message}" if without else ""
        fault = replace(standing.unseen, message=f"{standing.unseen.message}{why}")
    elif without:
        fault = _members_fault(without, total)
    elif vanishing:
        fault = Fault(
            reason=Reason.MEMBERS_NOT_READY, message=f"{vanishing} former real servers, or ways to them, still drain"
        )
    elif not total:
        fault = Fault(reason=Reason.NO_MEMBERS, message="it has no real servers")
    elif standing.notes:
        fault = standing.notes[0]
    else:
        return None
    return ServiceException(
        namespace=name.namespace,
        name=name.name,
        reason=fault.reason,
        message=fault.message[:_MAX_MESSAGE],
        programmed=not standing.faults,
        ready=total - len(without),
        draining=sum(member.leaving for member in waiting) + vanishing,
    )


def _below_quorum(parts: Iterable[ServicePart], withdrawn: AbstractSet[IPAddress]) -> str:
    """The first address at which the service is below quorum, in words; empty where there is none."""
    for vip, now in below_quorum((part.vip, part.quorum) for part in parts):
        what = f"below quorum: real servers of weight {now.in_use} are in use, {now.needed} is needed"
        if vip is None:
            return what
        return f"{what}; {vip} is {'withdrawn here' if vip in withdrawn else 'kept'}"
    return ""


def _after_the_pause(waiting: Iterable[Waiting]) -> str:
    """Who of those that have weight would have none without the pause, and why."""
    losing = [member for member in waiting if member.has_weight and member.reason is not None]
    return f"; without the pause these would have no weight: {_named(losing)}" if losing else ""


def _named(members: Sequence[Waiting]) -> str:
    named = "; ".join(f"{member.name}: {member.detail}" for member in members[:_NAMED_MEMBERS])
    more = f"; and {len(members) - _NAMED_MEMBERS} more" if len(members) > _NAMED_MEMBERS else ""
    return f"{named}{more}"


def _members_fault(without: Sequence[Waiting], total: int) -> Fault:
    """The first reason that is more than a failed check names the fault."""
    special = [member.reason for member in without if member.reason not in {None, Reason.MEMBERS_NOT_READY}]
    ready = total - len(without)
    reason = special[0] if special else Reason.MEMBERS_NOT_READY if ready else Reason.NO_MEMBER_READY
    return Fault(
        reason=reason or Reason.MEMBERS_NOT_READY,
        message=f"{ready} of {total} real servers have weight ({_named(without)})",
    )


def _merge_waiting(parts: Iterable[ServicePart]) -> list[Waiting]:
    """Each real server with something to say once: it has weight where it has it under every address and port."""
    merged: dict[str, Waiting] = {}
    for part in parts:
        for member in part.waiting:
            known = merged.get(member.name)
            if known is None or (known.has_weight and not member.has_weight):
                merged[member.name] = member
    return [merged[name] for name in sorted(merged)]
