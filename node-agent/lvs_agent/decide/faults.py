"""What is the matter with something that should be programmed, in the words of a condition."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from lvs_agent.decide.changes import (
    AddService,
    DeleteDestination,
    DeleteService,
    EditDestination,
    EditService,
    IpvsChange,
    ZeroService,
)
from lvs_agent.decide.kernel_state import IPIP, AnyServiceKey, ForwardingMethod, KernelIpvs
from lvs_agent.decide.ownership import IpvsConflict, OwnedIpvs
from lvs_agent.errors import IpvsEntryError, SchedulerNotAvailable
from lvs_api.conditions import Reason

_NAMED: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A reason for programs and a sentence for people."""

    reason: Reason
    message: str


def refusal(change: IpvsChange, error: IpvsEntryError) -> Fault:
    """Why the kernel did not take a change."""
    reason = Reason.SCHEDULER_UNAVAILABLE if isinstance(error, SchedulerNotAvailable) else Reason.KERNEL_REFUSED
    return Fault(reason=reason, message=str(error) or describe(change))


def conflict_faults(conflicts: Iterable[IpvsConflict]) -> Mapping[AnyServiceKey, Fault]:
    """Foreign entries that are in the way, by service."""
    faults: dict[AnyServiceKey, Fault] = {}
    for conflict in conflicts:
        what = str(conflict.service)
        if conflict.destination is not None:
            what += f" -> {conflict.destination}"
        faults.setdefault(
            conflict.service,
            Fault(
                reason=Reason.FOREIGN_ENTRY,
                message=f"somebody else's IPVS entry {what} is in the way: remove it, and it is made as wanted",
            ),
        )
    return faults


def strangers(foreign: OwnedIpvs, wanted: Collection[AnyServiceKey]) -> Mapping[AnyServiceKey, Fault]:
    """Somebody else's destinations in our services: in nobody's way, but they take their share of connections."""
    return {
        service: Fault(
            reason=Reason.FOREIGN_ENTRY,
            message=f"somebody else's real servers are in {service}, and left alone: "
            + ", ".join(sorted(map(str, destinations))[:_NAMED]),
        )
        for service, destinations in foreign.items()
        if destinations and service in wanted
    }


def left_over(change: IpvsChange, table: KernelIpvs) -> Fault:
    """What is to be said of a change that is still to be made though the kernel took it without an error."""
    if isinstance(change, EditDestination) and _lacks_tunnel(change, table):
        wanted = change.settings.tunnel.type
        message = (
            f"this director's kernel made {change.service} -> {change.destination} an IPIP tunnel instead of "
            f"{wanted.name}, which it does not know (GUE comes with Linux 5.2, GRE with 5.3); use IPIP, or directors "
            "with a newer kernel"
        )
    else:
        message = f"not as wanted after writing: {describe(change)}"
    return Fault(reason=Reason.KERNEL_REFUSED, message=message)


def _lacks_tunnel(change: EditDestination, table: KernelIpvs) -> bool:
    """Before Linux 5.2 the kernel passes over the attributes of a tunnel's type, and tells none."""
    service = table.services.get(change.service)
    found = service.destinations.get(change.destination) if service is not None else None
    return (
        found is not None
        and change.settings.method is ForwardingMethod.TUNNEL
        and change.settings.tunnel.type is not IPIP.type
        and found.settings.method is ForwardingMethod.TUNNEL
        and found.settings.tunnel == IPIP
    )


def describe(change: IpvsChange) -> str:
    """A change in a few words."""
    verb = type(change).__name__
    words = {"Add": "add", "Edit": "edit", "Delete": "delete", "Zero": "zero"}
    word = next(words[start] for start in words if verb.startswith(start))
    if isinstance(change, AddService | EditService | DeleteService | ZeroService):
        return f"{word} {change.service}"
    if isinstance(change, DeleteDestination):
        return f"{word} {change.service} -> {change.destination}"
    return f"{word} {change.service} -> {change.destination} weight {change.settings.weight}"
