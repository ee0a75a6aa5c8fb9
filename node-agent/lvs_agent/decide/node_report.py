"""What this node's agent says in LvsNode.status: a digest per group and exceptions, never a row per service."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from lvs_agent.decide.desired_addresses import SILENT_DEVICES, DesiredAddresses
from lvs_agent.decide.desired_state import DesiredIpvs, ServicePart, Waiting
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import AddressBinding, AnyServiceKey, IPAddress
from lvs_agent.decide.node_word import Carried
from lvs_agent.decide.quorum import below_quorum
from lvs_agent.decide.refused_addresses import NO_REFUSALS, Refusals
from lvs_agent.decide.setting_report import SettingRow, summary
from lvs_agent.decide.withheld import NOTHING_WITHHELD, Withheld
from lvs_api.bind_device import MAX_NODE_ADDRESSES, BindDevice
from lvs_api.conditions import Condition, ConditionStatus, ConditionType, Reason, drop_condition, set_condition
from lvs_api.lvs_node import (
    MAX_DRAINED_MEMBERS,
    MAX_EXCEPTIONS,
    MAX_NODE_SETTINGS,
    MAX_OWN_ADDRESSES,
    MAX_VIRTUAL_ROUTERS,
    CountersZeroed,
    DirectorReport,
    DrainedMembers,
    LvsNodeStatus,
    NodeAddressState,
    NodeAddressStatus,
    NodeCapabilities,
    ServiceException,
    VirtualRouterReport,
)
from lvs_core.cluster_view import ObjectKey
from lvs_core.plan import AnyVirtualKey, NodePlan

_PAUSED: Final = "spec.paused: this director leaves everything as it is"
_NAMED_MEMBERS: Final = 3
_MAX_MESSAGE: Final = 512
_MAX_ADDRESS_MESSAGE: Final = 256
_MAX_CONDITION_MESSAGE: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubles:
    """What has a condition of its own while it lasts."""

    withheld: Withheld = NOTHING_WITHHELD
    """What of the API server's word is not carried out."""
    state: tuple[Fault, ...] = ()
    """What is the matter with the agent's files, the worst first."""
    blindness: Fault | None = None
    """Why checks say less than they should."""
    settings: tuple[SettingRow, ...] = ()
    """What the node has once, as far as somebody wants it, in trouble or not."""
    contest: Fault | None = None
    """Who keeps undoing what is ours in the IPVS table."""
    tunnels: Fault | None = None
    """Why tunnel devices unwrap what strangers send."""
    failover: Fault | None = None
    """Why the VRRP daemon does not run by what is wanted."""

    def by_condition(self) -> Iterator[tuple[ConditionType, Fault | None]]:
        """Each condition with what it is True for; None where it is not there."""
        state = self.state
        lost = Fault(reason=state[0].reason, message="; ".join(one.message for one in state)) if state else None
        yield ConditionType.REMOVAL_HELD, self.withheld.removal
        yield ConditionType.CLUSTER_CHANGED, self.withheld.cluster
        yield ConditionType.STATE_NOT_STORED, lost
        yield ConditionType.CHECKS_BLIND, self.blindness
        yield ConditionType.SETTINGS_DIFFER, summary(self.settings)
        yield ConditionType.TABLE_CONTESTED, self.contest
        yield ConditionType.TUNNELS_UNGUARDED, self.tunnels
        yield ConditionType.FAILOVER_IMPAIRED, self.failover


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What the report is made from."""

    boot_id: str
    agent_version: str
    capabilities: NodeCapabilities
    plan: NodePlan
    refusals: Refusals = NO_REFUSALS
    desired: DesiredIpvs
    service_faults: Mapping[AnyServiceKey, Fault] = field(default_factory=dict)
    service_notes: Mapping[AnyServiceKey, Fault] = field(default_factory=dict)
    """What is to be said of services that are as they shall be."""
    former_names: Mapping[AnyServiceKey, ObjectKey] = field(default_factory=dict)
    """LvsVirtualServices of which the kernel still has entries though the plan no longer has them."""
    present: frozenset[AnyServiceKey] = frozenset()
    addresses: DesiredAddresses = field(default_factory=DesiredAddresses)
    bound: frozenset[AddressBinding] = frozenset()
    """Ours, and bound."""
    own: tuple[IPAddress, ...] = ()
    """Of the node itself."""
    address_faults: Mapping[AddressBinding, Fault] = field(default_factory=dict)
    routers: Mapping[str, Sequence[VirtualRouterReport]] = field(default_factory=dict)
    """Virtual routers by director group."""
    closed_ports: Mapping[AddressBinding, Mapping[int, Fault]] = field(default_factory=dict)
    """Of VIPs those that are to be open for GUE and are not."""
    withdrawn: AbstractSet[IPAddress] = frozenset()
    """VIPs that are not carried for want of quorum."""
    takes_traffic: bool = True
    """The sysctls are as a real server needs them."""
    node_fault: Fault | None = None
    """What the node as a whole suffers from."""
    troubles: Troubles = field(default_factory=Troubles)
    zeroed: CountersZeroed | None = None
    """What was zeroed last."""
    now: str = ""
    """RFC 3339, for conditions."""


@dataclass(slots=True)
class _Standing:
    """One LvsVirtualService over all its parts."""

    parts: list[ServicePart] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)
    below: str = ""
    """By how much it is short of its quorum, and what comes of it."""


def report(facts: NodeFacts, before: Sequence[Condition] | None) -> LvsNodeStatus:
    """The status to write; `before` are the conditions that it says now."""
    exceptions = list(service_exceptions(facts))
    # Of another cluster's LvsNode nothing has been carried out, whatever its generation.
    generation = None if facts.troubles.withheld.cluster else facts.plan.observed_generation
    return LvsNodeStatus(
        boot_id=facts.boot_id,
        agent_version=facts.agent_version,
        observed_generation=generation,
        capabilities=facts.capabilities,
        addresses=list(_node_addresses(facts))[:MAX_NODE_ADDRESSES],
        own_addresses=[str(address) for address in facts.own[:MAX_OWN_ADDRESSES]] if facts.plan.directing else None,
        director_groups=list(_director_reports(facts)),
        drained=list(_drained(facts.desired))[:MAX_EXCEPTIONS],
        exceptions=exceptions[:MAX_EXCEPTIONS],
        truncated=len(exceptions) > MAX_EXCEPTIONS,
        settings=[row.status() for row in facts.troubles.settings][:MAX_NODE_SETTINGS] or None,
        release_token=facts.troubles.withheld.token,
        counters_zeroed=facts.zeroed,
        conditions=_conditions(facts, before, generation),
    )


def report_failure(
    before: LvsNodeStatus | None, fault: Fault, boot_id: str, agent_version: str, now: str
) -> LvsNodeStatus:
    """The status of an agent that has made no whole round yet.

    What the status says of this boot goes on to be so: an agent that ended left everything as it was.
    """
    if before is None or before.boot_id != boot_id:
        conditions = before.conditions if before is not None else None
        before = LvsNodeStatus(boot_id=boot_id, conditions=conditions)
    ready = Condition(
        type=ConditionType.READY,
        status=ConditionStatus.FALSE,
        reason=fault.reason,
        message=fault.message,
        last_transition_time=now,
        observed_generation=before.observed_generation,
    )
    return before.model_copy(
        update={"agent_version": agent_version, "conditions": set_condition(before.conditions, ready)}
    )


def carried(status: LvsNodeStatus, plan: NodePlan) -> frozenset[Carried]:
    """What of a report on a plan may be taken for prepared: the same as the operator takes it for."""
    ports = {(str(bound.address), bound.device): bound.gue_ports for bound in plan.bind}
    return frozenset(
        Carried(ip_address(one.address), one.device, port)
        for one in status.addresses or ()
        if one.state is NodeAddressState.BOUND or one.closed_ports
        for port in {0, *ports.get((one.address, one.device), ())}.difference(one.closed_ports or ())
    )


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
        if faults or notes or below or not quiet:
            standings[name] = _Standing(parts=list(parts), faults=faults, notes=notes, below=below)
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


def _drained(desired: DesiredIpvs) -> Iterator[DrainedMembers]:
    """Members whose drains are over in every kernel service that they are in, as many as a status can name.

    The operator takes these out of the slices, and then there is room for the next.
    """
    for name in sorted(desired.services):
        over: dict[str, bool] = {}
        for part in desired.services[name]:
            for member in part.waiting:
                if member.drain_asked:
                    over[member.name] = over.get(member.name, True) and member.drained
        drained = sorted(member for member, is_over in over.items() if is_over)
        if drained:
            yield DrainedMembers(namespace=name.namespace, name=name.name, members=drained[:MAX_DRAINED_MEMBERS])


def _director_reports(facts: NodeFacts) -> Iterator[DirectorReport]:
    """Its groups. To another cluster only one that holds addresses speaks, so that its operator names no other."""
    carried = facts.bound | facts.addresses.by_vrrp
    vips = {binding.address for binding in carried if binding.device not in SILENT_DEVICES}
    for director in facts.plan.directing:
        holds = not vips.isdisjoint(director.addresses)
        if holds or facts.troubles.withheld.cluster is None:
            yield DirectorReport(
                name=director.group,
                view_digest=director.view_digest,
                holds_addresses=holds,
                virtual_routers=list(facts.routers.get(director.group, ()))[:MAX_VIRTUAL_ROUTERS] or None,
                group_generation=director.generation,
            )


def _node_addresses(facts: NodeFacts) -> Iterator[NodeAddressStatus]:
    """Wanted addresses, and those of ours that did not go: one that is missing here is not bound."""
    silent = {binding for binding in facts.bound if binding.device in SILENT_DEVICES}
    refused = {binding for binding in facts.addresses.refused if binding.device in SILENT_DEVICES}
    for binding in sorted(silent | refused | facts.addresses.silent, key=lambda b: (str(b.address), b.device)):
        state, message = NodeAddressState.BOUND, None
        fault = facts.address_faults.get(binding)
        if fault is not None and fault.reason is Reason.ADDRESS_CONFLICT:
            state, message = NodeAddressState.CONFLICT, fault.message
        elif fault is not None and binding in refused:
            state, message = NodeAddressState.FAILED, fault.message
        elif binding not in facts.addresses.silent:
            state, message = NodeAddressState.FAILED, fault.message if fault else "it could not be unbound"
        elif binding not in silent:
            state, message = NodeAddressState.FAILED, fault.message if fault else "not bound yet"
        elif fault is not None:
            state, message = NodeAddressState.FAILED, fault.message
        elif not facts.takes_traffic:
            state, message = NodeAddressState.FAILED, "bound, but the sysctls that keep it silent are not as needed"
        closed = facts.closed_ports.get(binding) if state is NodeAddressState.BOUND else None
        if closed:
            state, message = NodeAddressState.FAILED, closed[min(closed)].message
        yield NodeAddressStatus(
            address=str(binding.address),
            device=BindDevice(binding.device),
            state=state,
            message=message[:_MAX_ADDRESS_MESSAGE] if message else None,
            closed_ports=sorted(closed) if closed else None,
        )


def _conditions(facts: NodeFacts, before: Sequence[Condition] | None, generation: int | None) -> list[Condition]:
    """Ready always, the others while there is something to say."""
    fault = facts.node_fault or facts.troubles.withheld.cluster or facts.troubles.withheld.unreadable
    ready = fault or Fault(reason=Reason.READY, message="The agent carries out the plan.")
    status = ConditionStatus.FALSE if fault else ConditionStatus.TRUE
    said = set_condition(before, _condition(ConditionType.READY, status, ready, facts.now, generation))
    for kind, why in facts.troubles.by_condition():
        if why is None:
            said = drop_condition(said, kind)
        else:
            said = set_condition(said, _condition(kind, ConditionStatus.TRUE, why, facts.now, generation))
    return said


def _condition(kind: ConditionType, status: ConditionStatus, why: Fault, now: str, generation: int | None) -> Condition:
    return Condition(
        type=kind,
        status=status,
        reason=why.reason,
        message=why.message[:_MAX_CONDITION_MESSAGE],
        last_transition_time=now,
        observed_generation=generation,
    )
