"""What this node's agent says in LvsNode.status: a digest per group and exceptions, never a row per service."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Final

from lvs_agent.decide.desired_addresses import SILENT_DEVICES
from lvs_agent.decide.desired_state import DesiredIpvs
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.node_facts import NodeFacts
from lvs_agent.decide.node_word import Carried
from lvs_agent.decide.service_exceptions import service_exceptions
from lvs_api.bind_device import MAX_NODE_ADDRESSES, BindDevice
from lvs_api.conditions import Condition, ConditionStatus, ConditionType, Reason, drop_condition, set_condition
from lvs_api.lvs_node import (
    MAX_DRAINED_MEMBERS,
    MAX_EXCEPTIONS,
    MAX_NODE_SETTINGS,
    MAX_OWN_ADDRESSES,
    MAX_VIRTUAL_ROUTERS,
    DirectorReport,
    DrainedMembers,
    LvsNodeStatus,
    NodeAddressState,
    NodeAddressStatus,
)
from lvs_core.plan import NodePlan

_MAX_ADDRESS_MESSAGE: Final = 256
_MAX_CONDITION_MESSAGE: Final = 2048


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
