"""P12: connections that fail while the active director hands over in order."""

from collections.abc import Callable
from functools import partial
from typing import Final

from bench.director_kinds import Kind, Ours
from bench.figure import WORST, Figure, Goal, Measured
from support.fault_lab import VIP
from support.steady_load import steady_load

ASKED: Final = "ours: failed, kubectl lvs failover"
OURS: Final = "ours: failed, VRRP daemon stopped"
PEER: Final = "keepalived alone: failed, stopped"
RATE: Final = 1000

FIGURE: Final = Figure(
    name="P12",
    title=f"planned hand-over at {RATE} connections/s, mh with sloppy_tcp",
    ways={},
    ours=OURS,
    goals=tuple(Goal(series=one, percentile=WORST, at_most=0) for one in (ASKED, OURS)),
    units=dict.fromkeys((ASKED, OURS, PEER), "connections"),
)


def measure(kind: Kind, repetitions: int, measured: Measured, series: str) -> None:
    """So many hand-overs, back and forth, by the end of the program."""
    for _ in range(repetitions):
        master = kind.pair.master()
        _one(kind, master, partial(kind.leave, master), measured, series)
        kind.join(master)


def measure_asked(ours: Ours, repetitions: int, measured: Measured) -> None:
    """So many hand-overs, back and forth, that somebody asks for; all programs go on."""
    for _ in range(repetitions):
        _one(ours, ours.pair.master(), ours.hand_over, measured, ASKED)


def _one(kind: Kind, master: str, begin: Callable[[], None], measured: Measured, series: str) -> None:
    kind.wait_ready(master)
    new = kind.pair.other(master)
    with steady_load(kind.pair.deployment.client_namespace(kind.pair.client_name), VIP, RATE) as report:
        begin()
        kind.pair.wait_master(new)
        kind.pair.must_stay(new)
    measured.series.setdefault(series, []).append(sum(report.failures.values()))
    measured.remarks.append(f"{series}: {report}")
