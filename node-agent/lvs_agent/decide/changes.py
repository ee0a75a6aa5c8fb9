"""The changes that `kernel_diff` orders and the kernel seams carry out.

Each carries the whole entry: the kernel resets to a default what a partial edit does not name.
"""

from dataclasses import dataclass

from lvs_agent.decide.kernel_state import (
    AddressBinding,
    AnyServiceKey,
    DestinationKey,
    DestinationSettings,
    ServiceSettings,
)
from lvs_agent.decide.kernel_sysctls import SysctlKey


@dataclass(frozen=True, slots=True, kw_only=True)
class AddService:
    """Make a service that does not exist."""

    service: AnyServiceKey
    settings: ServiceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class EditService:
    """Change an existing service in place; its destinations, connections and counters stay."""

    service: AnyServiceKey
    settings: ServiceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class AddDestination:
    """Make a destination that does not exist in the service."""

    service: AnyServiceKey
    destination: DestinationKey
    settings: DestinationSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class EditDestination:
    """Change an existing destination in place; its connections and counters stay."""

    service: AnyServiceKey
    destination: DestinationKey
    settings: DestinationSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteDestination:
    """Remove a destination; its connections are not moved."""

    service: AnyServiceKey
    destination: DestinationKey


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteService:
    """Remove a service with the destinations it has left."""

    service: AnyServiceKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroService:
    """Let the counters of a service and of its destinations begin at 0; nothing else of it changes."""

    service: AnyServiceKey


IpvsChange = (
    AddService | EditService | AddDestination | EditDestination | DeleteDestination | DeleteService | ZeroService
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BindAddress:
    """Put the host address on the device; on a device that is down and ours to raise (tunl0), raise it first."""

    binding: AddressBinding


@dataclass(frozen=True, slots=True, kw_only=True)
class UnbindAddress:
    """Take a host address that is ours off the device."""

    binding: AddressBinding


LinkChange = BindAddress | UnbindAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSysctl:
    """Set a sysctl. `previous` is what was read, to be remembered when it is the first write to this key."""

    key: SysctlKey
    value: int
    previous: int
