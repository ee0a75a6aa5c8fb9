"""What commands say, and tables for people."""

from collections.abc import Sequence
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
