"""What is the matter with something that should be programmed, in the words of a condition."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from lvs_agent.decide.changes import AddService, DeleteDestination, DeleteService, EditService, IpvsChange, ZeroService
from lvs_agent.decide.kernel_state import AnyServiceKey
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


def left_over(changes: Iterable[IpvsChange]) -> Mapping[AnyServiceKey, Fault]:
    """What is still to be changed after writing, by service."""
    return {
        change.service: Fault(reason=Reason.KERNEL_REFUSED, message=f"not as wanted after writing: {describe(change)}")
        for change in changes
    }


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
