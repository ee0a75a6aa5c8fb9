"""All figures about IPVS in one table: P1 to P5 on one kernel, P16 and P18 in a lab with everything in it."""

import argparse
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench import footprint, forwarding
from bench.figure import Figure, Measured
from bench.in_guest import FIGURES
from bench.report import lines_of
from bench.table_lab import table_lab
from lvs_lab.lab_machine import GuestMachine
from support.deployment import Deployment
from support.quick_start import quick_start_lab

_IN_DEPLOYMENT: Final = ("P16", "P18")
NAMES: Final = tuple(dict.fromkeys([*(name.partition("-")[0] for name in FIGURES), *_IN_DEPLOYMENT]))


def main(words: Sequence[str]) -> int:
    """Measure, print each figure as it is known, and fail where a goal is missed."""
    parser = argparse.ArgumentParser(prog="bench ipvs", description=__doc__)
    parser.add_argument("figures", nargs="*", help=f"which: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--repetitions", type=int, default=30, help="of each way (default 30)")
    parser.add_argument("--seconds", type=float, default=45, help="after which a way is repeated no more (default 45)")
    options = parser.parse_args(words)
    if unknown := set(options.figures) - set(NAMES):
        parser.error(f"no figure is called {', '.join(sorted(unknown))}")
    wanted = options.figures or NAMES
    kept = True
    for figure, measured in _measured(wanted, options.repetitions, options.seconds):
        print("\n".join(lines_of(figure, measured)), flush=True)
        kept = kept and all(goal.is_kept(measured.series) for goal in figure.goals)
    return 0 if kept else 1


def _measured(wanted: Sequence[str], repetitions: int, seconds: float) -> Iterator[tuple[Figure, Measured]]:
    here = [name for name in FIGURES if name.partition("-")[0] in wanted]
    if here:
        with table_lab() as lab:
            print(f"{lab.versions()}; {machine()}")
            for name in here:
                yield FIGURES[name], lab.measure(name, repetitions, seconds)
    if not set(_IN_DEPLOYMENT).isdisjoint(wanted):
        with _deployment() as (deployment, director):
            print(f"Linux {director.out('uname', '-r').strip()}; {machine()}")
            if "P18" in wanted:
                yield forwarding.FIGURE, forwarding.measure(deployment, director, repetitions)
            if "P16" in wanted:
                yield footprint.FIGURE, footprint.measure(deployment, director)


@contextmanager
def _deployment() -> Iterator[tuple[Deployment, GuestMachine]]:
    """The quick start with everything running, and its active director."""
    with (
        tempfile.TemporaryDirectory() as directory,
        quick_start_lab("bench-ipvs", Path(directory)) as deployment,
    ):
        active = deployment.get("lvsdg", "default")["status"]["active"]
        yield deployment, deployment.lab.guest(active)


def machine() -> str:
    """This machine, in general: processors, memory, how busy it is."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return f"guest on one of {os.cpu_count()} processors ({platform.machine()}), {gigabytes:.0f} GiB, load {load:.1f}"
