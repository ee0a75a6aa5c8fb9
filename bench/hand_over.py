"""P12: connections that fail while the active director hands over in order."""

from typing import Final

from bench.director_kinds import Kind
from bench.figure import WORST, Figure, Goal, Measured
from support.fault_lab import VIP
from support.steady_load import steady_load

OURS: Final = "ours: failed connections"
PEER: Final = "keepalived alone: failed connections"
RATE: Final = 1000

FIGURE: Final = Figure(
    name="P12",
    title=f"planned hand-over at {RATE} connections/s, mh with sloppy_tcp",
    ways={},
    ours=OURS,
    goals=(Goal(series=OURS, percentile=WORST, at_most=0),),
    units={OURS: "connections", PEER: "connections"},
)


def measure(kind: Kind, repetitions: int, measured: Measured, series: str) -> None:
    """So many hand-overs, back and forth."""
    found = measured.series.setdefault(series, [])
    namespace = kind.pair.deployment.client_namespace(kind.pair.client_name)
    for _ in range(repetitions):
        master = kind.pair.master()
        kind.wait_ready(master)
        with steady_load(namespace, VIP, RATE) as report:
            kind.leave(master)
            kind.pair.wait_master(kind.pair.other(master))
            kind.pair.must_stay(kind.pair.other(master))
        found.append(sum(report.failures.values()))
        measured.remarks.append(f"{kind.name}: {report}")
        kind.join(master)
