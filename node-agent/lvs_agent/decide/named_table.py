"""The kernel's table with the objects' names: whose each entry is, for those who look from outside.

An entry has a name only where it is ours. What somebody else made stands there without, also where the plan wants
the same address: its connections are not those of our service.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lvs_agent.decide.handed_on import HANDED_ON_SERVICES
from lvs_agent.decide.kernel_state import AnyServiceKey, DestinationKey, DestinationState, KernelIpvs, ServiceState
from lvs_agent.decide.ownership import OwnedIpvs
from lvs_agent.decide.prepared_plan import PreparedPlan, PreparedService
from lvs_core.cluster_view import ObjectKey

_HANDED_ON: Final = "handed-on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """What tells whose an entry is."""

    prepared: PreparedPlan
    owned: OwnedIpvs


@dataclass(frozen=True, slots=True)
class NamedMember:
    """A destination of a service."""

    key: DestinationKey
    state: DestinationState
    ours: bool
    name: str | None
    """In the slices; None for one that they do not have (any more)."""

    @property
    def label(self) -> str:
        """Its name, or its address and port."""
        return self.name if self.name is not None else str(self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedService:
    """A service of the kernel with its destinations, in the kernel's order."""

    key: AnyServiceKey
    state: ServiceState
    service: ObjectKey | None
    """The LvsVirtualService; None for one that is not ours, or that the plan does not have any more."""
    port_name: str | None
    """`handed-on` where there is no LvsVirtualService: what other directors hand on to this one as a real server."""
    members: tuple[NamedMember, ...]


def name_entries(kernel: KernelIpvs, naming: Naming | None) -> tuple[NamedService, ...]:
    """Every service of the table; without a naming, nobody's."""
    planned: dict[AnyServiceKey, PreparedService] = {}
    if naming is not None:
        planned = {service.key: service for service in naming.prepared.services}
    owned: OwnedIpvs = naming.owned if naming is not None else {}
    named = []
    for key, state in kernel.services.items():
        service = planned.get(key) if key in owned else None
        named.append(
            NamedService(
                key=key,
                state=state,
                service=service.planned.service if service is not None else None,
                port_name=service.planned.port_name if service is not None else _by_itself(key, owned),
                members=tuple(_members(state, service, owned.get(key, frozenset()))),
            )
        )
    return tuple(named)


def _by_itself(key: AnyServiceKey, owned: OwnedIpvs) -> str | None:
    return _HANDED_ON if key in HANDED_ON_SERVICES and key in owned else None


def _members(
    state: ServiceState, service: PreparedService | None, ours: frozenset[DestinationKey]
) -> Iterator[NamedMember]:
    names: dict[DestinationKey, str] = {}
    if service is not None:
        # One that leaves may have the address and port of one that came: then the entry is the new one's.
        for member in sorted(service.members, key=lambda one: one.planned.draining_seconds is not None):
            names.setdefault(member.key, member.planned.name)
    for key, found in state.destinations.items():
        is_ours = key in ours
        yield NamedMember(key, found, is_ours, names.get(key) if is_ours else None)
