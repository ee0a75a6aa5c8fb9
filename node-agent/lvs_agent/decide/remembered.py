"""Which changes have to wait because the ledger on disk does not name what they make. Nothing else waits for a disk."""

from collections.abc import Iterable, Mapping

from lvs_agent.decide.changes import AddDestination, AddService, IpvsChange, LinkChange, WriteSysctl
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import AddressBinding, AnyServiceKey, DestinationKey
from lvs_agent.decide.kernel_sysctls import KernelSysctls
from lvs_agent.decide.ownership import OwnedIpvs
from lvs_api.conditions import Reason

_NOTHING: frozenset[DestinationKey] = frozenset()


def waiting_ipvs(changes: Iterable[IpvsChange], on_disk: OwnedIpvs) -> frozenset[IpvsChange]:
    """Services and destinations to be made that are not on disk; with a service all that goes into it."""
    asked = tuple(changes)
    without = {c.service for c in asked if isinstance(c, AddService) and c.service not in on_disk}
    return frozenset(
        change
        for change in asked
        if change.service in without
        or (isinstance(change, AddDestination) and change.destination not in on_disk.get(change.service, _NOTHING))
    )


def waiting_addresses(
    changes: Iterable[LinkChange], on_disk: frozenset[AddressBinding]
) -> Mapping[AddressBinding, Fault]:
    """Addresses to be bound that are not on disk."""
    return {
        change.binding: not_remembered(f"{change.binding.address} on {change.binding.device}")
        for change in changes
        if change.binding not in on_disk
    }


def waiting_sysctls(
    writes: Iterable[WriteSysctl], remembered: KernelSysctls, on_disk: KernelSysctls
) -> tuple[WriteSysctl, ...]:
    """First writes of sysctls whose values from before are not on disk; `remembered` were written before."""
    return tuple(w for w in writes if w.key not in remembered and on_disk.get(w.key) != w.previous)


def service_faults(waiting: Iterable[IpvsChange]) -> Mapping[AnyServiceKey, Fault]:
    """The same in words, by service."""
    return {change.service: not_remembered(str(change.service)) for change in waiting}


def not_remembered(what: str) -> Fault:
    """Something is not made for the disk's sake."""
    return Fault(
        reason=Reason.STATE_NOT_WRITTEN,
        message=f"{what} waits for the state directory of this node, which takes no file: see its LvsNode",
    )
