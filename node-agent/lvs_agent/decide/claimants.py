"""Who else answers for the addresses of a virtual router, and what comes of it. Pure.

VRRP settles who of those that speak it carries an address; it knows nothing of a machine that has the address and does
not speak. So before a director takes part it asks the link, and while it is Master it asks again and again.

A director that knows only the view from before it booted takes an address from nobody: the group may be another by now,
or settle without VRRP, or the address may be given to somebody else. It takes what nobody has; and where adverts of the
virtual router are to be heard, the protocol keeps it a Backup.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.heard_adverts import Manner, Sender
from lvs_agent.decide.kernel_state import IPV4, AddressBinding, IPAddress
from lvs_agent.decide.vrrp_config import PlacedRouter
from lvs_api.conditions import Reason
from lvs_api.network_types import Family
from lvs_api.vrrp_settings import VERSION_OF_IPV4_ONLY
from lvs_core.forwarding import needs_address
from lvs_core.plan import DirectorPlan, NodePlan
from lvs_core.vrrp import VrrpPlan

MAX_SERVERS: Final = 128
"""So many real servers are asked for their MAC addresses, once somebody answers."""
DEFEND_SECONDS: Final = 10.0
"""The address is announced against another owner no more often than that (RFC 5227, 2.4: DEFEND_INTERVAL)."""
_NAMED: Final = 3
_SECOND: Final = 1000
REMEDY: Final = (
    "If that is the network, which answers for others, name it in spec.ignoreAnswersFrom of the LvsDirectorGroup"
)
"""What a message ends with that names a MAC address which keeps an address away."""

Answers = Mapping[IPAddress, frozenset[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquaintances:
    """Whose answer is no stranger's, by the addresses by which they are asked for their MAC addresses."""

    directors: Mapping[IPAddress, str] = field(default_factory=dict)
    """The other directors of the group."""
    servers: Mapping[IPAddress, str] = field(default_factory=dict)
    """Real servers that have the addresses by right, and are to be silent about them; empty: not asked for."""
    speakers: Mapping[IPAddress, str] = field(default_factory=dict)
    """From where adverts of the virtual router come."""
    network: frozenset[bytes] = frozenset()
    """MAC addresses by which the network answers for others: for nobody, then."""

    @property
    def count(self) -> int:
        """How many addresses are asked for."""
        return len(self.addresses)

    @property
    def addresses(self) -> frozenset[IPAddress]:
        """All that are asked for."""
        return frozenset({*self.directors, *self.servers, *self.speakers})


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimants:
    """All that answered for one address, but this director."""

    directors: tuple[str, ...] = ()
    """Each with its MAC address, in words, as the next."""
    servers: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    """MAC addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What decides beside the answers."""

    by_stored_view: bool
    """Nothing is known but the view from before this agent started."""
    is_spoken: bool
    """Somebody else's adverts of the virtual router come in by its device: as a Backup it takes nothing."""
    are_told_apart: bool
    """Strangers are known as such; where somebody speaks, beside the one who does."""


class Hindrance(Enum):
    """What those who answer for an address keep away from a director that has not carried it yet."""

    NOTHING = "nothing"
    ADDRESS = "address"
    """A stranger has it; the other addresses of its virtual router are nobody's."""
    ROUTER = "router"
    """The whole virtual router: somebody may carry it without VRRP."""


def acquaintances(
    director: DirectorPlan,
    addresses: AbstractSet[IPAddress],
    speakers: Mapping[IPAddress, str],
    *,
    with_servers: bool,
) -> Acquaintances:
    """Those of a group with a virtual router of these addresses, of which `speakers` send adverts."""
    directors = {address: other.node for other in director.others for address in other.addresses}
    servers: dict[IPAddress, str] = {}
    if with_servers:
        for planned in director.services:
            if planned.vip not in addresses:
                continue
            for member in planned.members:
                if needs_address(member.method) and not member.is_here and len(servers) < MAX_SERVERS:
                    place = f" on Node {member.node}" if member.node is not None else ""
                    servers.setdefault(member.address, f"real server {member.name}{place}")
    return Acquaintances(directors=directors, servers=servers, speakers=speakers, network=director.ignored_answers)


def ignored_answers(plan: NodePlan) -> Mapping[IPAddress, frozenset[bytes]]:
    """The MAC addresses by which the network answers for others, by VIP; of those where there are such."""
    directors = [one for one in plan.directing if one.ignored_answers]
    return {address: one.ignored_answers for one in directors for address in one.addresses}


def counted(answers: Answers, network: AbstractSet[bytes]) -> Answers:
    """Without what the network answers."""
    return {address: kept for address, macs in answers.items() if (kept := macs - network)}


def claimants(address: IPAddress, answers: Answers, known: Acquaintances, own: AbstractSet[bytes]) -> Claimants:
    """Those of one address, from the answers for it and for all acquaintances. `own` are this node's MAC addresses."""
    found = answers.get(address, frozenset()) - own
    peers = {**known.speakers, **known.directors}
    directors = {mac: name for one, name in peers.items() for mac in answers.get(one, frozenset())}
    servers = {mac: name for one, name in known.servers.items() for mac in answers.get(one, frozenset())}
    of_servers = sorted(mac for mac in found if mac in servers and mac not in directors)
    return Claimants(
        directors=tuple(sorted(f"{directors[mac]} ({mac.hex(':')})" for mac in found if mac in directors)),
        servers=tuple(f"{servers[mac]} ({mac.hex(':')})" for mac in of_servers),
        strangers=tuple(sorted(mac.hex(":") for mac in found if mac not in directors and mac not in servers)),
    )


def speakers(one: PlacedRouter, senders: Iterable[Sender]) -> dict[IPAddress, str]:
    """From where somebody else's adverts of a virtual router come in by its device, and keepalived heeds them.

    With unicast it heeds those of peers only. It never heeds those of another version, or of version 2 with another
    interval or password: so somebody speaks who has the group's settings from before, or newer ones. Over IPv6 none are
    heard: there those over IPv4 count where the two move together, and are a stranger's where this group has no such
    virtual router.
    """
    if not any((router.id, router.family) == (one.key.id, Family.IPV4) for router in one.plan.routers):
        return {}
    peers = {address for address in one.plan.peers if address.version == IPV4}
    return {
        sender.address: f"{sender.address}, from where adverts come,"
        for sender in senders
        if (sender.device, sender.router_id) == (one.device, one.key.id)
        and (not peers or sender.address in peers)
        and sender.manner in (None, _manner(one.plan, by_multicast=not peers))
    }


def _manner(plan: VrrpPlan, *, by_multicast: bool) -> Manner:
    """How this director speaks over IPv4."""
    if plan.version != VERSION_OF_IPV4_ONLY:
        return Manner(plan.version, by_multicast)
    return Manner(plan.version, by_multicast, plan.advert_interval_milliseconds // _SECOND, plan.password)


def hindrance(one: PlacedRouter, who: Claimants, situation: Situation) -> Hindrance:
    """What those who answer for an address keep away from a director that has not carried it yet.

    Another director that has it, too, settles it by VRRP, whoever else answers. Where somebody speaks, and only
    strangers answer, that one has left the address out.
    """
    if not (who.directors or who.strangers):
        return Hindrance.NOTHING  # real servers have it, but not to answer for it
    by_strangers = bool(who.strangers) and not who.directors and situation.are_told_apart
    if situation.by_stored_view:
        takes = one.plan.preempt_delay_seconds is not None if situation.is_spoken else not by_strangers
        if takes:
            return Hindrance.ROUTER
    return Hindrance.ADDRESS if by_strangers else Hindrance.NOTHING


def not_begun(binding: AddressBinding, who: Claimants) -> Fault:
    """Why it does not."""
    if who.strangers:
        return Fault(
            reason=Reason.ADDRESS_CONFLICT,
            message=f"{_some(who.strangers)} answers for {binding.address} on the link of {binding.device} and speaks "
            f"no VRRP: not carried here until that machine has given it up. {REMEDY}",
        )
    return Fault(
        reason=Reason.PENDING,
        message=f"{_some(who.directors)} has {binding.address}, and by its last view from disk this director takes it "
        f"from nobody. {REMEDY}",
    )


def contested(binding: AddressBinding, who: Claimants) -> Fault | None:
    """What a Master says of those who answer beside it; other directors of the group are told as SplitBrain."""
    if who.strangers:
        return Fault(
            reason=Reason.ADDRESS_CONFLICT,
            message=f"{_some(who.strangers)} answers for {binding.address} on the link of {binding.device}, too, which "
            f"this director carries: some clients go there. Neighbours are told every 10 s that it is here. {REMEDY}",
        )
    if who.servers:
        return Fault(
            reason=Reason.ADDRESS_CONFLICT,
            message=f"{_some(who.servers)} answers for {binding.address} on the link of {binding.device}, and is to be "
            "silent about it: some clients go past this director. Set arp_ignore and arp_announce there",
        )
    return None


def are_told_apart(
    one: PlacedRouter, answers: Answers, known: Acquaintances, heard: AbstractSet[IPAddress] = frozenset()
) -> bool:
    """Whether strangers are known as such.

    Over IPv6 nobody's adverts are heard: there another director is known only where it answers for an address of its
    own on that link. Who speaks (`heard` are those of them that were asked for) may have the address, so that one has
    to be known by its MAC address.
    """
    if heard:
        return any(answers.get(address) for address in heard)
    if all(binding.address.version == IPV4 for binding in one.bindings):
        return True
    return not known.directors or any(answers.get(address) for address in known.directors)


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more
