"""How real servers leave a director: weight 0, then gone when idle or when the time is up.

Time is the director's boot clock (seconds since boot, suspended time included): clock steps change nothing. Progress
is kept in the ledger, whose boot id voids it after a reboot, when there are no connections left anyway.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lvs_agent.decide.kernel_state import AnyServiceKey, DestinationKey, KernelIpvs

DestinationPath = tuple[AnyServiceKey, DestinationKey]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """One destination on its way out."""

    started: float
    """Boot clock when it was first seen leaving."""
    timeout_seconds: float
    """It is over at the latest so long after."""

    def deadline(self) -> float:
        """Boot clock at which it is over."""
        return self.started + self.timeout_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainRound:
    """The drains after one round."""

    drains: Mapping[DestinationPath, Drain]
    """All that go on, to be kept in the ledger."""
    over: frozenset[DestinationPath]
    """Those that may be removed."""
    next_deadline: float | None
    """Boot clock of the next one whose time is up."""


def step_drains(
    known: Mapping[DestinationPath, Drain],
    leaving: Mapping[DestinationPath, float],
    kernel: KernelIpvs,
    now: float,
) -> DrainRound:
    """Drains of everything that is `leaving` (with its time-out in seconds); others are forgotten.

    A changed time-out counts from the same start. One is over when its entry holds no connections at weight 0, is not
    in the kernel at all, or has had its time.
    """
    drains = {
        path: Drain(started=min(known[path].started, now) if path in known else now, timeout_seconds=timeout)
        for path, timeout in leaving.items()
    }
    over = frozenset(path for path, drain in drains.items() if now >= drain.deadline() or _idle(kernel, path))
    deadlines = [drain.deadline() for path, drain in drains.items() if path not in over]
    return DrainRound(drains=drains, over=over, next_deadline=min(deadlines, default=None))


def _idle(kernel: KernelIpvs, path: DestinationPath) -> bool:
    """No connection can be on it: it is not there, or it has none and gets none."""
    service = kernel.services.get(path[0])
    state = service.destinations.get(path[1]) if service else None
    return state is None or (state.settings.weight == 0 and state.connections == 0)
