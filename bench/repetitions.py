"""Runs the ways of a figure inside a guest: by turns, each time in a fresh network namespace."""

import cProfile
import pstats
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

from bench.figure import Figure, Measured, Samples, Way
from lvs_agent.kernel.testing import NetworkNamespace

_QUIET_SECONDS: Final = 0.05
_LONGEST_WAIT: Final = 10.0
_PROFILE_LINES: Final = 6
_numbers = count()
_profilers: Final[list[cProfile.Profile]] = []
"""The one that is at work, if there is one."""


def measure(figure: Figure, repetitions: int, seconds: float) -> Measured:
    """So many repetitions of each way, or as many as fit into so many seconds of that way."""
    measured, spent = Measured(), dict.fromkeys(figure.ways, 0.0)
    for _ in range(repetitions):
        for name, way in figure.ways.items():
            done = measured.repetitions.get(name, 0)
            if done and spent[name] + spent[name] / done > seconds:
                continue
            began = time.monotonic()
            _note(measured, in_namespace(way))
            spent[name] += time.monotonic() - began
            measured.repetitions[name] = done + 1
    for name, made in measured.repetitions.items():
        if made < repetitions:
            measured.remarks.append(
                f"{name}: {made} of {repetitions} repetitions, for one takes {spent[name] / made:.1f} s"
            )
    measured.profile = _profile(figure.ways[figure.ours])
    return measured


def in_namespace(way: Way) -> Samples:
    """One repetition. It begins when the kernel is done with the namespaces of others."""
    namespace = NetworkNamespace(f"lvs-bench-{next(_numbers)}")
    namespace.create()
    try:
        _wait_until_idle()
        return namespace.run(way)
    finally:
        _end_programs(namespace.name)
        namespace.delete()


@contextmanager
def clock(samples: list[float], *, judged: bool = False) -> Iterator[None]:
    """Append the milliseconds of the block. What is judged is what a profile is made of."""
    profiler = _profilers[-1] if judged and _profilers else None
    if profiler is not None:
        profiler.enable()
    start = time.perf_counter()
    yield
    samples.append((time.perf_counter() - start) * 1000)
    if profiler is not None:
        profiler.disable()


def _note(measured: Measured, samples: Samples) -> None:
    for name, values in samples.items():
        measured.series.setdefault(name, []).extend(values)


def _profile(way: Way) -> list[str]:
    """Each function's own share of the judged time of one more repetition."""
    profiler = cProfile.Profile()
    _profilers.append(profiler)
    try:
        in_namespace(way)
    finally:
        _profilers.remove(profiler)
    rows = pstats.Stats(profiler).get_stats_profile().func_profiles
    total = sum(one.tottime for one in rows.values())
    largest = sorted(rows.items(), key=lambda row: -row[1].tottime)[:_PROFILE_LINES]
    return [
        f"{100 * one.tottime / total:3.0f} % {name} ({Path(one.file_name).name}), {one.ncalls} calls"
        for name, one in largest
    ]


def _wait_until_idle() -> None:
    """The kernel takes namespaces apart in the background, with all that is in them; on one processor that counts."""
    deadline = time.monotonic() + _LONGEST_WAIT
    while time.monotonic() < deadline:
        before = _busy_ticks()
        time.sleep(_QUIET_SECONDS)  # the window that is looked at
        if _busy_ticks() == before:
            return


def _busy_ticks() -> int:
    user, nice, system, _idle, _wait, irq, soft_irq = Path("/proc/stat").read_text(encoding="ascii").split()[1:8]
    return sum(int(word) for word in (user, nice, system, irq, soft_irq))


def _end_programs(namespace: str) -> None:
    """What a way has started and left: asked to end, keepalived would first take its table away."""
    pids = subprocess.run(["ip", "netns", "pids", namespace], check=True, capture_output=True, text=True).stdout.split()
    if pids:
        subprocess.run(["kill", "-KILL", *pids], check=False)
