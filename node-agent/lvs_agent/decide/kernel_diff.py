"""From what the kernel holds to what it shall hold: the ordered changes, touching only what is ours.

Entries are edited in place and never deleted to be made again: that would lose their connections, and deleted
destinations linger in an unindexed list of the kernel that every addition scans (net/netfilter/ipvs/ip_vs_ctl.c).
"""

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter

from lvs_agent.decide.changes import (
    AddDestination,
    AddService,
    BindAddress,
    DeleteDestination,
    DeleteService,
    EditDestination,
    EditService,
    IpvsChange,
    LinkChange,
    UnbindAddress,
)
from lvs_agent.decide.kernel_state import (
    AddressBinding,
    AnyServiceKey,
    DestinationKey,
    KernelIpvs,
    ServiceState,
    WantedIpvs,
    WantedService,
)
from lvs_agent.decide.ownership import IpvsOwnership, LinkOwnership

_NOTHING: frozenset[DestinationKey] = frozenset()


def diff_ipvs(snapshot: KernelIpvs, wanted: WantedIpvs, ownership: IpvsOwnership) -> tuple[IpvsChange, ...]:
    """The changes in order: services added and edited, destinations added and edited, then what goes."""
    services: list[IpvsChange] = []
    destinations: list[IpvsChange] = []
    gone_destinations: list[IpvsChange] = []
    gone_services: list[IpvsChange] = []
    blocked_services = ownership.blocked_services
    blocked_destinations = ownership.blocked_destinations
    for key, wish in wanted.items():
        if key in blocked_services:
            continue
        state = snapshot.services.get(key)
        if state is None:
            services.append(AddService(service=key, settings=wish.settings))
            destinations.extend(
                [AddDestination(service=key, destination=d, settings=s) for d, s in wish.destinations.items()]
            )
            continue
        if state.settings != wish.settings:
            services.append(EditService(service=key, settings=wish.settings))
        if _diff_destinations(key, state, wish, blocked_destinations, destinations) == len(state.destinations):
            continue
        owned = ownership.owned.get(key, _NOTHING)
        gone_destinations += [
            DeleteDestination(service=key, destination=d)
            for d in state.destinations
            if d in owned and d not in wish.destinations
        ]
    for key, owned in ownership.owned.items():
        if key in wanted:
            continue
        if foreign := ownership.foreign.get(key, _NOTHING):
            # Deleting the service would take the foreign destinations with it.
            gone_destinations += [DeleteDestination(service=key, destination=d) for d in owned - foreign]
        else:
            gone_services.append(DeleteService(service=key))
    return (*services, *destinations, *gone_destinations, *gone_services)


def _diff_destinations(
    key: AnyServiceKey,
    state: ServiceState,
    wish: WantedService,
    blocked: frozenset[tuple[AnyServiceKey, DestinationKey]],
    changes: list[IpvsChange],
) -> int:
    """Append what has to be added or edited among the destinations of a service that exists; how many of them it has.

    Where it has no more than these none is to go, which need not be looked for: there may be very many.
    """
    present, found_ones = state.destinations, 0
    for destination, settings in wish.destinations.items():
        found = present.get(destination)
        if found is None:
            changes.append(AddDestination(service=key, destination=destination, settings=settings))
            continue
        found_ones += 1
        if found.settings is settings or found.settings == settings:
            continue
        if not blocked or (key, destination) not in blocked:
            changes.append(EditDestination(service=key, destination=destination, settings=settings))
    return found_ones


def only_weighed(changes: Iterable[IpvsChange], snapshot: KernelIpvs) -> set[AnyServiceKey]:
    """Services of which nothing is to be changed but weights and thresholds of entries that are in the snapshot."""
    by_service: dict[AnyServiceKey, list[IpvsChange]] = {}
    for service, some in groupby(changes, attrgetter("service")):
        by_service.setdefault(service, []).extend(some)
    return {
        service
        for service, some in by_service.items()
        if (state := snapshot.services.get(service)) is not None
        and all(isinstance(change, EditDestination) and _keeps_its_way(state, change) for change in some)
    }


def _keeps_its_way(state: ServiceState, edit: EditDestination) -> bool:
    """Whether packets get to the real server as before."""
    found, shall = state.destinations[edit.destination].settings, edit.settings
    return found.method is shall.method and (found.tunnel is shall.tunnel or found.tunnel == shall.tunnel)


def diff_links(wanted: frozenset[AddressBinding], ownership: LinkOwnership) -> tuple[LinkChange, ...]:
    """What is missing and what of ours is no longer wanted; conflicts are left alone. The order is the keeper's."""
    gone = _sorted(ownership.owned - wanted)
    missing = _sorted(wanted - ownership.owned - ownership.blocked)
    return (*(BindAddress(binding=b) for b in missing), *(UnbindAddress(binding=b) for b in gone))


def _sorted(bindings: frozenset[AddressBinding]) -> list[AddressBinding]:
    return sorted(bindings, key=lambda b: (b.address.version, int(b.address), b.device))
