"""What runs in the guest: the figures of one kernel's table. Each line that it prints is a figure as JSON."""

import argparse
import json
import sys
from dataclasses import replace
from typing import Final

from bench import cold_load, no_change, turnover, weight_changes
from bench.figure import Figure
from bench.large_table import LARGE
from bench.peers import versions
from bench.repetitions import measure
from lvs_agent.process_memory import seek_cycles_seldom

FIGURES: Final[dict[str, Figure]] = {
    **{f"P1-{shape.services}x{shape.real_servers}": cold_load.figure(shape) for shape in cold_load.SHAPES},
    "P2": weight_changes.ONE_CHANGE,
    "P3": weight_changes.EVERY_CHANGE,
    "P4": no_change.FIGURE,
    "P5": turnover.FIGURE,
}
QUICK_LOAD: Final = "quick-load"


def quick_load() -> Figure:
    """P1 of the large table without keepalived."""
    whole = cold_load.figure(LARGE)
    ways = {name: way for name, way in whole.ways.items() if name != cold_load.KEEPALIVED}
    return replace(whole, ways=ways, goals=())


def main() -> int:
    """Measure one figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figure", choices=(*FIGURES, QUICK_LOAD, "versions"))
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    if options.figure == "versions":
        print(json.dumps(versions()))
    else:
        seek_cycles_seldom()  # as an agent does
        figure = quick_load() if options.figure == QUICK_LOAD else FIGURES[options.figure]
        print(json.dumps(measure(figure, options.repetitions, options.seconds).raw()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
