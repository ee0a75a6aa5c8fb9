"""The control loop at scale: very many services at a real API server, and edits on their way to a kernel (P7)."""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from bench import commit_latency
from bench.control_loop import control_loop, figure_of
from bench.figure import Figure, Measured
from bench.ipvs_figures import machine
from bench.large_table import Shape
from bench.report import lines_of

NAMES: Final = ("loop", "P7")
SERVICES: Final = 5_000
REAL_SERVERS: Final = 10


def main(words: Sequence[str]) -> int:
    """Measure, print each figure as it is known, and fail where a goal is missed."""
    parser = argparse.ArgumentParser(prog="bench scale", description=__doc__)
    parser.add_argument("figures", nargs="*", help=f"which: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--services", type=int, default=SERVICES, help=f"of the loop (default {SERVICES:,})")
    parser.add_argument("--real-servers", type=int, default=REAL_SERVERS, help=f"of each (default {REAL_SERVERS})")
    parser.add_argument("--edits", type=int, default=300, help="of each kind, ten a second (default 300)")
    options = parser.parse_args(words)
    if unknown := set(options.figures) - set(NAMES):
        parser.error(f"no figure is called {', '.join(sorted(unknown))}")
    kept = True
    shape = Shape(services=options.services, real_servers=options.real_servers)
    for figure, measured in _measured(options.figures or NAMES, shape, options.edits):
        print("\n".join(lines_of(figure, measured)), flush=True)
        kept = kept and all(goal.is_kept(measured.series) for goal in figure.goals)
    return 0 if kept else 1


def _measured(wanted: Sequence[str], shape: Shape, edits: int) -> Iterator[tuple[Figure, Measured]]:
    print(machine(), flush=True)
    if "loop" in wanted:
        with tempfile.TemporaryDirectory() as directory, control_loop(shape, Path(directory)) as loop:
            yield figure_of(shape), loop.measure(edits)
    if "P7" in wanted:
        with commit_latency.commit_latency(edits) as latency:
            yield commit_latency.FIGURE, latency.measure()
