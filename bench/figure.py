"""What a figure is: ways of doing the same thing, their times, and the goals that these are held to. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import inf
from statistics import quantiles
from typing import Any, Final

Samples = Mapping[str, Sequence[float]]
Way = Callable[[], Samples]
"""One repetition in a network namespace, and so an IPVS table, of its own: what it measured, by name of the series."""
WORST: Final = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """A bound for one series, or for its ratio to that of a peer, at one percentile of both."""

    series: str
    peer: str | None = None
    percentile: int = 50
    """100 is the worst."""
    at_most: float
    at_least: float = 0.0

    @property
    def name(self) -> str:
        """What is compared, in words."""
        what = {50: "", WORST: ", worst"}.get(self.percentile, f", p{self.percentile}")
        return f"{self.series} / {self.peer}{what}" if self.peer else f"{self.series}{what}"

    @property
    def bound(self) -> str:
        """The bound in words."""
        if self.at_most == inf:
            return f"at least {self.at_least:g}"
        return f"{self.at_least:g} to {self.at_most:g}" if self.at_least else f"at most {self.at_most:g}"

    def value(self, series: Samples) -> float:
        """Where it stands."""
        mine = percentile(series[self.series], self.percentile)
        return mine / percentile(series[self.peer], self.percentile) if self.peer else mine

    def is_kept(self, series: Samples) -> bool:
        """Whether the bound is kept."""
        return self.at_least <= self.value(series) <= self.at_most


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One promise."""

    name: str
    """As people call it: P1 ..."""
    title: str
    ways: Mapping[str, Way]
    """By name; they are tried by turns, so that all of them meet the same machine."""
    ours: str
    """The way that is profiled."""
    goals: tuple[Goal, ...]
    units: Mapping[str, str] = field(default_factory=dict)
    """Of the series that are no milliseconds."""


@dataclass(kw_only=True, slots=True)
class Measured:
    """What came of a figure."""

    series: dict[str, list[float]] = field(default_factory=dict)
    repetitions: dict[str, int] = field(default_factory=dict)
    """By way."""
    remarks: list[str] = field(default_factory=list)
    """Why a way has fewer repetitions than were wanted, and what else is to be known."""
    profile: list[str] = field(default_factory=list)
    """Where the time of our own way goes, the largest part first."""

    def raw(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def percentile(samples: Sequence[float], number: int) -> float:
    """A percentile by linear interpolation; 100 is the largest."""
    if number == WORST or len(samples) == 1:
        return max(samples)
    return quantiles(samples, n=100, method="inclusive")[number - 1]
