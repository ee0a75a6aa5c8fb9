"""Whether packets of clients reach this director and IPVS sees none of them: something before it drops or takes them.

IPVS balances what comes to the kernel's INPUT hook. A firewall there or before, a strict rp_filter, a filter of tc or
another program's DNAT keep packets from it, and then nothing of ours shows that: addresses are bound, the table is as
it shall be, checks pass. So what arrives at the network card is held against what IPVS has counted meanwhile.

IPVS has good reasons, too, to count nothing: no real server takes connections, say. Where that may be so nothing is
told: the finding is a sentence for people, never a reason to change weights or addresses.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import (
    AnyServiceKey,
    DestinationState,
    IPAddress,
    ServiceFlag,
    ServiceKey,
    ServiceState,
    TrafficCounters,
)
from lvs_agent.decide.kernel_words import service_key
from lvs_agent.decide.prepared_plan import PreparedPlan, PreparedService
from lvs_api.conditions import Reason
from lvs_core.cluster_view import ObjectKey

RAISE_TIMES: Final = 3
"""So many looks with packets of clients and nothing counted, and it is told."""
MOST_TIMES: Final = 48
"""Where IPVS counts some clients all the same, twice as many each time: a firewall that lets in few on purpose would be
told, and be over, with each of these."""
FORGET_SECONDS: Final = 300.0
"""Without a packet for so long nothing is said any more: clients gave up, or none came since the cause went."""
_NAMED: Final = 3
_HASHING: Final = frozenset({"sh", "dh", "mh"})
"""Schedulers by which the client alone decides about the destination: one without weight refuses its clients."""
_BY_OVERFLOW: Final = "ovf"


class Arrival(NamedTuple):
    """What came for one address, protocol and port while somebody listened."""

    device: str
    """By which the last one came in."""
    source: IPAddress
    """Of the last one."""
    packets: int
    """First packets of connections, or datagrams; there may have been more."""


Arrivals = Mapping[ServiceKey, Arrival]
"""By address, protocol and port, as they stand in the packets."""


class Evidence(NamedTuple):
    """What came for one kernel service, of which IPVS counted nothing."""

    service: ObjectKey
    """The LvsVirtualService."""
    front: ServiceKey
    """Where the packets went to."""
    device: str
    strict: bool
    """The device's rp_filter is strict, and the way to their sender is another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """That packets for a kernel service do not get to IPVS."""

    evidence: Evidence
    looks: int
    """That found so, since its counters moved last."""
    last: float
    """When it was found last."""
    needed: int = RAISE_TIMES
    """So many looks are often enough."""
    others: int = 0
    """Looks in a row by which other words would be due."""

    @property
    def is_told(self) -> bool:
        """Whether it was found often enough."""
        return self.looks >= self.needed


Suspicions = Mapping[AnyServiceKey, Suspicion]
Fronts = Mapping[ServiceKey, PreparedService]
"""What clients send to, and the kernel service that balances it."""


def fronts_of(
    prepared: PreparedPlan, present: AbstractSet[AnyServiceKey], carried: AbstractSet[IPAddress]
) -> dict[ServiceKey, PreparedService]:
    """What comes to this node for services that the kernel has, at VIPs that it carries as a director.

    Left out are marks that somebody else gives: to which packets is not known.
    """
    fronts: dict[ServiceKey, PreparedService] = {}
    for service in prepared.services:
        if service.key not in present:
            continue
        keys = map(service_key, service.planned.marked) if service.planned.marked else (service.key,)
        for key in keys:
            if isinstance(key, ServiceKey) and key.address in carried:
                fronts[key] = service
    return fronts


def service_for(front: ServiceKey, fronts: Fronts) -> PreparedService | None:
    """Who balances what is sent there: one that has this port, else one that has every port (ip_vs_service_find)."""
    found = fronts.get(front)
    if found is None:
        found = fronts.get(ServiceKey(protocol=front.protocol, address=front.address, port=0))
    return found


def is_still(before: TrafficCounters | None, now: TrafficCounters | None) -> bool:
    """Whether nothing was counted in between. Rates fall off slowly and are left aside."""
    return before is not None and now is not None and before[:5] == now[:5]


def would_count(state: ServiceState) -> bool:
    """Whether IPVS counts every first packet of a connection that it sees: some destination takes each client.

    Nothing is counted of what is refused, for there is no destination for it (ip_vs_schedule). A persistence engine
    passes over packets that it can not read.
    """
    settings = state.settings
    if settings.persistence_engine:
        return False
    takes = [_takes_more(one, by_overflow=settings.scheduler == _BY_OVERFLOW) for one in state.destinations.values()]
    if settings.scheduler in _HASHING and ServiceFlag.SCHEDULER_1 not in settings.flags:
        return bool(takes) and all(takes)
    return any(takes)


def _takes_more(state: DestinationState, *, by_overflow: bool) -> bool:
    """Whether a destination has weight and is not overloaded.

    One that was stays so until it has fewer connections than the lower threshold, or three quarters of the upper one
    (ip_vs_dest_update_overload).
    """
    settings = state.settings
    if settings.weight <= 0 or (by_overflow and state.active_connections >= settings.weight):
        return False
    if not settings.upper_threshold:
        return True
    if settings.lower_threshold:
        return state.connections < settings.lower_threshold
    return state.connections * 4 < settings.upper_threshold * 3


def follow(before: Suspicions, moved: AbstractSet[AnyServiceKey], watched: Fronts, now: float) -> Suspicions:
    """What is left of suspicions when these services' counters have moved, and these are watched."""
    services = {service.key for service in watched.values()}
    left = {
        service: _refuted(one) if service in moved else one
        for service, one in before.items()
        if service in services and now - one.last < FORGET_SECONDS
    }
    return {service: one for service, one in left.items() if one.looks or one.needed > RAISE_TIMES}


def _refuted(one: Suspicion) -> Suspicion:
    """IPVS has counted after all: it begins anew, and takes longer where it was told before."""
    return replace(one, looks=0, needed=min(2 * one.needed, MOST_TIMES) if one.is_told else one.needed)


def with_evidence(before: Suspicions, found: Mapping[AnyServiceKey, Evidence], now: float) -> Suspicions:
    """What is suspected after a look that found this. `now` is of a clock that only goes on."""
    after = dict(before)
    for service, evidence in found.items():
        known = before.get(service)
        if known is None:
            after[service] = Suspicion(evidence=evidence, looks=1, last=now)
        else:
            # Other words are another write of the status: they stay while the same is to be done, and while packets
            # come now so and now so, by two devices for example.
            is_same = (known.evidence.device, known.evidence.strict) == (evidence.device, evidence.strict)
            others = 0 if is_same else known.others + 1
            changes = not is_same and (not known.is_told or others == RAISE_TIMES)
            said, others = (evidence, 0) if changes else (known.evidence, others)
            after[service] = replace(known, evidence=said, looks=known.looks + 1, last=now, others=others)
    return after


def told(suspicions: Suspicions) -> dict[AnyServiceKey, Fault]:
    """What is to be said of each kernel service."""
    return {
        service: Fault(reason=Reason.PACKETS_NOT_SEEN, message=_sentence(one.evidence))
        for service, one in suspicions.items()
        if one.is_told
    }


def summary(unseen: Mapping[AnyServiceKey, Fault]) -> Fault | None:
    """What is to be said of the node; None where there is nothing."""
    if not unseen:
        return None
    messages = [unseen[service].message for service in sorted(unseen, key=str)]
    more = f"; and so {len(messages) - _NAMED} more" if len(messages) > _NAMED else ""
    return Fault(reason=Reason.PACKETS_NOT_SEEN, message="; ".join(messages[:_NAMED]) + more)


def _sentence(evidence: Evidence) -> str:
    front, device = evidence.front, evidence.device
    what = f"packets for {evidence.service} at {front} arrive by {device}, and IPVS sees none of them: "
    if evidence.strict:
        return (
            f"{what}rp_filter is strict there, and the way to their senders is not by {device}. "
            f"Set net.ipv4.conf.{device}.rp_filter=2"
        )
    return (
        f"{what}a firewall of this node drops them, or another program takes them first. Open the port there "
        f"(firewalld, ufw, `nft list ruleset`); look at `tc filter show dev {device} ingress` and for DNAT, too"
    )


class Choice(NamedTuple):
    """Whom to listen for in one look."""

    fronts: list[ServiceKey]
    turn: int
    """Where the next one begins."""


def choose(fronts: Iterable[ServiceKey], suspected: AbstractSet[ServiceKey], turn: int, most: int) -> Choice:
    """For those suspected, and for the others by turns, as many as there is room for."""
    urgent, others = list[ServiceKey](), list[ServiceKey]()
    for front in sorted(fronts, key=lambda one: one.identity):
        (urgent if front in suspected else others).append(front)
    urgent = urgent[:most]
    begin = turn % len(others) if others else 0
    their_turn = (others[begin:] + others[:begin])[: most - len(urgent)]
    return Choice(urgent + their_turn, begin + len(their_turn))
