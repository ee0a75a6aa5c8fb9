"""Figures as a table to read. Pure."""

from collections.abc import Iterator

from bench.figure import Figure, Measured, percentile

_WIDTH = 58


def lines_of(figure: Figure, measured: Measured) -> Iterator[str]:
    """A figure with its goals; where one is missed, with the profile of our own way."""
    yield f"{figure.name}  {figure.title}"
    yield f"  {'':<{_WIDTH}}{'samples':>8}{'p50':>11}{'p95':>11}{'p99':>11}"
    for name, samples in measured.series.items():
        unit = figure.units.get(name, "ms")
        cells = "".join(f"{percentile(samples, number):11.4g}" for number in (50, 95, 99))
        yield f"  {name:<{_WIDTH}}{len(samples):>8}{cells} {unit}"
    for remark in measured.remarks:
        yield f"  {remark}"
    for goal in figure.goals:
        value, kept = goal.value(measured.series), goal.is_kept(measured.series)
        yield f"  {goal.name}: {value:.3g}, {goal.bound}: {'kept' if kept else 'MISSED'}"
    if not all(goal.is_kept(measured.series) for goal in figure.goals):
        yield from (f"    profile: {line}" for line in measured.profile)
