"""How connections run out: of a real server that leaves, or of a forwarding method that was edited away.

Time is the director's boot clock (seconds since boot, suspended time included): clock steps change nothing. Progress
is kept in the ledger, whose boot id voids it after a reboot, when there are no connections left anyway.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from lvs_agent.decide.kernel_state import AnyServiceKey, DestinationKey, KernelIpvs


class DrainCause(StrEnum):
    """What runs out."""

    LEAVING = "leaving"
    """The real server leaves: it gets no new connections."""
    FORMER_METHOD = "former-method"
    """Connections of an earlier forwarding method: new ones come all the same, by the new method."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainKey:
    """One destination and why it drains."""

    service: AnyServiceKey
    destination: DestinationKey
    cause: DrainCause


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """One drain."""

    started: float
    """Boot clock when it was first seen; from then on when its entry was first seen without weight."""
    timeout_seconds: float
    """It is over at the latest so long after, once its entry has no weight."""
    has_weight: bool = False
    """It still gets new connections: this agent has only just learned of it, or was away, or nobody else is up."""
    over: bool = False
    """It stays over once it was: a persistent client may still bring connections."""

    def deadline(self) -> float:
        """Boot clock at which it is over, unless its entry has weight."""
        return self.started + self.timeout_seconds


def step_drains(
    known: Mapping[DrainKey, Drain], asked: Mapping[DrainKey, float], kernel: KernelIpvs, now: float
) -> dict[DrainKey, Drain]:
    """The drains after this round: exactly those `asked` for, each with its time-out in seconds.

    A changed time-out counts from the same start. A drain is over when its entry holds no connections (and, where the
    real server leaves, can get none), when it is not in the kernel, or when it has had its time. Time counts from when
    new connections end: an agent that was away for longer than that cuts none that came meanwhile.
    """
    drains = {}
    for key, timeout in asked.items():
        before = known.get(key)
        has_weight = key.cause is DrainCause.LEAVING and _weight(kernel, key) > 0
        goes_on = before is not None and before.has_weight == has_weight
        drain = Drain(started=before.started if before and goes_on else now, timeout_seconds=timeout)
        had_its_time = now >= drain.deadline() and (not has_weight or timeout == 0)
        over = (before is not None and before.over) or had_its_time or _ran_out(kernel, key)
        drains[key] = replace(drain, has_weight=has_weight, over=over)
    return drains


def next_deadline(drains: Mapping[DrainKey, Drain]) -> float | None:
    """Boot clock at which the next drain's time is up."""
    running = (drain for drain in drains.values() if not (drain.over or drain.has_weight))
    return min((drain.deadline() for drain in running), default=None)


def _weight(kernel: KernelIpvs, key: DrainKey) -> int:
    service = kernel.services.get(key.service)
    state = service.destinations.get(key.destination) if service else None
    return state.settings.weight if state is not None else 0


def _ran_out(kernel: KernelIpvs, key: DrainKey) -> bool:
    service = kernel.services.get(key.service)
    state = service.destinations.get(key.destination) if service else None
    if state is None:
        return True
    if key.cause is DrainCause.LEAVING and state.settings.weight:
        return False
    return state.connections == 0
