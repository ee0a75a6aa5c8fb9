"""Which entries of the kernel are ours, which became ours, which are somebody else's and which are in our way.

Ownership is per entry. What the ledger of this boot names is ours. A ledger of another boot, or none, names nothing:
entries that equal the plan are then adopted (a destination's weight aside: it moves with health). Everything else is
foreign and never changed; foreign and in our way is a conflict, unless `adopt` is asked for.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from lvs_agent.decide.kernel_state import (
    AddressBinding,
    AnyServiceKey,
    DestinationKey,
    DestinationSettings,
    InterfaceAddress,
    KernelIpvs,
    KernelLinks,
    ServiceSettings,
    ServiceState,
    WantedIpvs,
    WantedService,
)

OwnedIpvs = Mapping[AnyServiceKey, frozenset[DestinationKey]]
"""Our services, each with those of its destinations that are ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsConflict:
    """A foreign entry where ours shall be; `destination` is None when it is the service itself."""

    service: AnyServiceKey
    destination: DestinationKey | None
    found: ServiceSettings | DestinationSettings
    wanted: ServiceSettings | DestinationSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsOwnership:
    """The verdict over one snapshot."""

    owned: OwnedIpvs = field(default_factory=dict)
    adopted: OwnedIpvs = field(default_factory=dict)
    foreign: OwnedIpvs = field(default_factory=dict)
    conflicts: tuple[IpvsConflict, ...] = ()

    @property
    def blocked_services(self) -> frozenset[AnyServiceKey]:
        """Wanted services that a foreign service of the same key keeps us from making."""
        return frozenset(c.service for c in self.conflicts if c.destination is None)

    @property
    def blocked_destinations(self) -> frozenset[tuple[AnyServiceKey, DestinationKey]]:
        """Wanted destinations that a foreign destination of the same key keeps us from making."""
        return frozenset((c.service, c.destination) for c in self.conflicts if c.destination is not None)


def judge_ipvs(snapshot: KernelIpvs, wanted: WantedIpvs, ledger: OwnedIpvs, *, adopt: bool = False) -> IpvsOwnership:
    """Judge every entry of the snapshot. `ledger` is what we made in this boot: empty when it is of another."""
    owned: dict[AnyServiceKey, frozenset[DestinationKey]] = {}
    adopted: dict[AnyServiceKey, frozenset[DestinationKey]] = {}
    foreign: dict[AnyServiceKey, frozenset[DestinationKey]] = {}
    conflicts: list[IpvsConflict] = []
    for key, state in snapshot.services.items():
        wish = wanted.get(key)
        if key not in ledger:
            if wish is None:
                foreign[key] = frozenset(state.destinations)
                continue
            if wish.settings != state.settings and not adopt:
                foreign[key] = frozenset(state.destinations)
                conflicts.append(
                    IpvsConflict(service=key, destination=None, found=state.settings, wanted=wish.settings)
                )
                continue
        known = ledger.get(key, frozenset())
        if known >= state.destinations.keys():
            owned[key] = frozenset(state.destinations) if len(known) != len(state.destinations) else known
            newly, strangers = frozenset[DestinationKey](), frozenset[DestinationKey]()
        else:
            newly, strangers = _judge_destinations(key, state, wish, known, conflicts, adopt=adopt)
            owned[key] = (known & state.destinations.keys()) | newly
        if newly or key not in ledger:
            adopted[key] = newly
        if strangers:
            foreign[key] = strangers
    return IpvsOwnership(owned=owned, adopted=adopted, foreign=foreign, conflicts=tuple(conflicts))


def _judge_destinations(
    service: AnyServiceKey,
    state: ServiceState,
    wish: WantedService | None,
    known: frozenset[DestinationKey],
    conflicts: list[IpvsConflict],
    *,
    adopt: bool,
) -> tuple[frozenset[DestinationKey], frozenset[DestinationKey]]:
    """The destinations of a service of ours that become ours, and those that are foreign."""
    newly, strangers = set[DestinationKey](), set[DestinationKey]()
    for key, destination in state.destinations.items():
        if key in known:
            continue
        settings = None if wish is None else wish.destinations.get(key)
        if settings is None:
            strangers.add(key)
        elif adopt or same_but_weight(settings, destination.settings):
            newly.add(key)
        else:
            strangers.add(key)
            conflicts.append(
                IpvsConflict(service=service, destination=key, found=destination.settings, wanted=settings)
            )
    return frozenset(newly), frozenset(strangers)


def same_but_weight(one: DestinationSettings, other: DestinationSettings) -> bool:
    """Whether two settings differ in weight at most."""
    return (one.method, one.upper_threshold, one.lower_threshold, one.tunnel) == (
        other.method,
        other.upper_threshold,
        other.lower_threshold,
        other.tunnel,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressConflict:
    """A wanted address that is on this node already and is not ours: on another device, or with another prefix."""

    wanted: AddressBinding
    found: InterfaceAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOwnership:
    """The verdict over the addresses of one snapshot."""

    owned: frozenset[AddressBinding] = frozenset()
    adopted: frozenset[AddressBinding] = frozenset()
    conflicts: tuple[AddressConflict, ...] = ()

    @property
    def blocked(self) -> frozenset[AddressBinding]:
        """Wanted bindings that must not be made."""
        return frozenset(c.wanted for c in self.conflicts)


def judge_links(
    snapshot: KernelLinks,
    wanted: frozenset[AddressBinding],
    ledger: frozenset[AddressBinding],
    by_vrrp: AbstractSet[AddressBinding] = frozenset(),
) -> LinkOwnership:
    """Judge the addresses of the snapshot that are wanted or in the ledger; all others are foreign.

    Those that the VRRP daemon carries are in nobody's way.
    """
    bound = snapshot.bindings()
    adopted = (bound & wanted) - ledger
    owned = (bound & ledger) | adopted
    by_address: dict[object, list[AddressBinding]] = {}
    for binding in wanted - owned:
        by_address.setdefault(binding.address, []).append(binding)
    conflicts = [
        AddressConflict(wanted=binding, found=found)
        for found in snapshot.addresses
        if found.address in by_address
        and AddressBinding(address=found.address, device=found.device) not in owned | ledger | by_vrrp
        for binding in by_address[found.address]
    ]
    conflicts.sort(key=lambda c: (str(c.wanted.address), c.wanted.device, c.found.device))
    return LinkOwnership(owned=owned, adopted=adopted, conflicts=tuple(conflicts))
