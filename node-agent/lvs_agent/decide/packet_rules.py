"""What this node's packet filter has to do: marks, so that the ports of one service are one to IPVS; source NAT."""

from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import (
    AnyServiceKey,
    DestinationKey,
    FirewallMarkKey,
    IPAddress,
    KernelIpvs,
    ServiceKey,
    family_of,
)
from lvs_agent.decide.kernel_words import TRANSPORT_PROTOCOLS
from lvs_agent.decide.packet_table import HandedOnRule, MarkRule, PacketRules, SourceNatRule
from lvs_agent.decide.prepared_plan import PreparedPlan, PreparedService
from lvs_api.conditions import Reason
from lvs_api.network_types import ForwardingMethod
from lvs_core.plan import MarkKey, PlannedMember, VirtualServerKey

Endpoint = tuple[IPAddress, int, int]
"""Address, protocol and port: what has one mark."""


def packet_rules(prepared: PreparedPlan) -> PacketRules:
    """The rules of this plan."""
    if not prepared.has_source_nat:  # there may be very many real servers, and each round asks
        return PacketRules(marks=frozenset(_marks(prepared)))
    source_nat: set[SourceNatRule] = set()
    others: set[SourceNatRule] = set()
    for service in prepared.services:
        for member in service.planned.members:
            if member.method is ForwardingMethod.MASQUERADE:
                (source_nat if member.source_nat else others).update(_connections(service, member))
    caught = {_of_every_port(rule) for rule in source_nat if not rule.port}
    return PacketRules(
        marks=frozenset(_marks(prepared)),
        source_nat=frozenset(source_nat),
        kept_sources=frozenset(rule for rule in others - source_nat if rule.port and _of_every_port(rule) in caught),
    )


def with_tunnels(rules: PacketRules, tunnels: PacketRules) -> PacketRules:
    """A node may be a director and a real server of another group."""
    return replace(rules, unwraps=tunnels.unwraps, clamps=tunnels.clamps)


def paused_connections(prepared: PreparedPlan) -> frozenset[SourceNatRule]:
    """Of services that stay as they are: whether these have source NAT does not change."""
    return frozenset(
        rule
        for service in prepared.services
        if service.planned.paused
        for member in service.planned.members
        for rule in _connections(service, member)
    )


def with_paused(wanted: PacketRules, paused: AbstractSet[SourceNatRule], present: PacketRules) -> PacketRules:
    """The wanted rules, with those of paused services as they are."""
    if not paused:
        return wanted
    return replace(
        wanted,
        source_nat=(wanted.source_nat - paused) | (present.source_nat & paused),
        kept_sources=(wanted.kept_sources - paused) | (present.kept_sources & paused),
    )


def with_more(present: PacketRules, wanted: PacketRules, *, provisional: bool) -> PacketRules:
    """What there is and what is to come, before the services are made.

    What tunnels need waits for no service: it is just as wanted, and who may send now is not kept out for what becomes
    of the table. By a provisional plan nothing goes.

    A mark without a service harms nobody: IPVS then looks for the address and port. A rule for the same packets stays
    as it is until its successor's service is there. Source NAT begins before the first connection that needs it, and
    ends after the last change of the table.
    """
    taken = {_endpoint(rule) for rule in present.marks}
    source_nat = present.source_nat | wanted.source_nat
    unwraps, clamps = wanted.unwraps, wanted.clamps
    # What is no longer handed on in this way (another MAC address, say) may be under way still.
    handed_on = present.handed_on | wanted.handed_on
    if provisional:
        clamped = {rule.address for rule in clamps}
        unwraps |= present.unwraps
        clamps |= {rule for rule in present.clamps if rule.address not in clamped}
    return PacketRules(
        marks=present.marks | {rule for rule in wanted.marks if _endpoint(rule) not in taken},
        source_nat=source_nat,
        kept_sources=(present.kept_sources | wanted.kept_sources) - source_nat,
        unwraps=unwraps,
        clamps=clamps,
        handed_on=handed_on,
    )


def with_handed_on(rules: PacketRules, handed_on: frozenset[HandedOnRule]) -> PacketRules:
    """A node may be a director and a real server of one group."""
    return replace(rules, handed_on=handed_on) if handed_on else rules


def with_needed(present: PacketRules, wanted: PacketRules, staying: AbstractSet[AnyServiceKey]) -> PacketRules:
    """What is wanted, and what there is for services that are not, and that the kernel has all the same.

    They may be somebody else's by now, for the ledger was lost, or wait for their successors: packets go to them still.
    """
    if not staying:
        return wanted
    taken = {_endpoint(rule) for rule in wanted.marks}
    needed = {rule for rule in present.marks if _service_of(rule) in staying and _endpoint(rule) not in taken}
    fronts = {_endpoint(rule) for rule in needed}
    kept = wanted.source_nat | wanted.kept_sources
    source_nat = {rule for rule in present.source_nat - kept if rule[:3] in fronts or _service_key(rule) in staying}
    return replace(wanted, marks=wanted.marks | needed, source_nat=wanted.source_nat | source_nat)


def staying_services(prepared: PreparedPlan, present: AbstractSet[AnyServiceKey]) -> frozenset[AnyServiceKey]:
    """What the kernel has, and the plan does not."""
    return frozenset(present) - {service.key for service in prepared.services}


def no_longer_rewritten(present: PacketRules, wanted: PacketRules) -> frozenset[SourceNatRule]:
    """What had source NAT and shall have it no more: connections from before may live on."""
    return (present.source_nat | present.kept_sources) - wanted.source_nat - wanted.kept_sources


def with_ended(wanted: PacketRules, ended: AbstractSet[SourceNatRule]) -> PacketRules:
    """The wanted rules, and what keeps the chain there for connections that had source NAT before."""
    return replace(wanted, kept_sources=wanted.kept_sources | ended) if ended else wanted


def carriers(rules: Collection[SourceNatRule], present: Collection[AnyServiceKey]) -> set[AnyServiceKey]:
    """The services among those present that may hold connections of these rules; any mark may be theirs."""
    return {key for key in present if any(_may_carry(key, rule) for rule in rules)}


def still_open(rules: Collection[SourceNatRule], kernel: KernelIpvs) -> frozenset[SourceNatRule]:
    """Those of which connections live."""
    return frozenset(
        rule for rule in rules if any(_is_open(rule, key, kernel) for key in carriers([rule], kernel.services))
    )


def faulty_services(prepared: PreparedPlan, why: str | None) -> Mapping[AnyServiceKey, Fault]:
    """The services that need rules which could not be set."""
    if why is None:
        return {}
    return {
        service.key: Fault(reason=reason, message=why)
        for service in prepared.services
        if (reason := _needs_rules(service)) is not None
    }


def unready_addresses(prepared: PreparedPlan, why: str | None) -> frozenset[IPAddress]:
    """VIPs whose packets would meet no service without their mark, or real servers that can not answer.

    To carry them would only have clients refused, or wait.
    """
    if why is None:
        return frozenset()
    return frozenset(
        service.planned.vip
        for service in prepared.services
        if service.planned.vip is not None and _needs_rules(service) is not None
    )


def _marks(prepared: PreparedPlan) -> Iterator[MarkRule]:
    for service in prepared.services:
        if isinstance(service.planned.key, MarkKey):
            for key in service.planned.marked:
                yield MarkRule(key.address, TRANSPORT_PROTOCOLS[key.protocol], key.port, service.planned.key.mark)


def _connections(service: PreparedService, member: PlannedMember) -> Iterator[SourceNatRule]:
    """What of a service goes to a member; nothing is known of what somebody else marks."""
    key = service.planned.key
    for front in (key,) if isinstance(key, VirtualServerKey) else service.planned.marked:
        protocol, port = TRANSPORT_PROTOCOLS[front.protocol], member.port or front.port
        yield SourceNatRule(front.address, protocol, front.port, member.address, port)


def _of_every_port(rule: SourceNatRule) -> SourceNatRule:
    return rule._replace(port=0, server_port=0)


def _needs_rules(service: PreparedService) -> Reason | None:
    if service.planned.marked:
        return Reason.MARKS_NOT_SET
    return Reason.SOURCE_NAT_NOT_SET if any(member.source_nat for member in service.planned.members) else None


def _may_carry(key: AnyServiceKey, rule: SourceNatRule) -> bool:
    if isinstance(key, FirewallMarkKey):
        return key.family is family_of(rule.address)
    return key == _service_key(rule)


def _service_key(rule: SourceNatRule) -> ServiceKey:
    return ServiceKey(protocol=rule.protocol, address=rule.address, port=rule.port)


def _service_of(rule: MarkRule) -> FirewallMarkKey:
    """What the packets come to."""
    return FirewallMarkKey(family=family_of(rule.address), mark=rule.mark)


def _is_open(rule: SourceNatRule, key: AnyServiceKey, kernel: KernelIpvs) -> bool:
    port = 0 if isinstance(key, FirewallMarkKey) else rule.server_port
    state = kernel.services[key].destinations.get(DestinationKey(address=rule.server, port=port))
    return state is not None and state.connections > 0


def _endpoint(rule: MarkRule) -> Endpoint:
    return rule.address, rule.protocol, rule.port
