"""What commands say, and tables for people."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What a command says on standard output, and what is to be said beside it on standard error."""

    text: str
    notes: tuple[str, ...] = ()
    """Worth knowing; nothing failed."""
    failures: tuple[str, ...] = ()
    """What could not be done; the exit code is 1 then."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, three spaces apart, as kubectl prints them."""
    lines = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


@dataclass(frozen=True, slots=True)
class Branch:
    """A line, and what stands below it."""

    text: str
    below: "Sequence[Branch]" = ()


def tree(branch: Branch) -> str:
    """Lines with what belongs to each drawn below it; the first one stands at the margin."""
    return "\n".join([branch.text, *_below(branch, "")])


def _below(branch: Branch, margin: str) -> Iterator[str]:
    for place, one in enumerate(branch.below, 1):
        is_last = place == len(branch.below)
        yield f"{margin}{'└─' if is_last else '├─'} {one.text}"
        yield from _below(one, f"{margin}{'  ' if is_last else '│ '} ")
