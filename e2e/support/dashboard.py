"""The chart's Grafana dashboard, read as Grafana reads it, and its queries evaluated over the scrapes of a lab run."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lvs_lab.artifacts import CHECKOUT
from support.promql import Json, Sample, evaluate
from support.scrapes import INTERVAL_SECONDS

FILE: Final = CHECKOUT / "charts/lvs-operator/files/dashboard.json"
RATE_SECONDS: Final = 4 * INTERVAL_SECONDS
"""What Grafana takes for $__rate_interval where the data source's interval is that of the scrapes."""
Course = Sequence[Sequence[Sample]]
"""What an expression gives at each step, every INTERVAL_SECONDS."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """One query of a panel."""

    expression: str
    """PromQL with Grafana's variables in it."""
    legend: str
    """Text with {{label}} in it; empty in tables."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One panel, or the heading of a row of them."""

    id: int
    type: str
    title: str
    place: tuple[int, int, int, int]
    """x, y, width, height in Grafana's grid of 24 columns."""
    queries: tuple[Query, ...]
    defaults: Json
    """Unit, thresholds, mappings and bounds, for every field."""
    options: Json
    """Of this type of panel."""
    columns: Mapping[str, str]
    """A table's labels in their order, with their headings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One series of a panel: what its legend says, and its values by second."""

    name: str
    labels: Mapping[str, str]
    values: Mapping[int, float]


def read_board() -> Mapping[str, Any]:
    """The file as it is."""
    board: dict[str, Any] = json.loads(FILE.read_text())
    return board


def read_panels(board: Mapping[str, Any]) -> list[Panel]:
    """All panels in the order of the file."""
    return [_panel(raw) for raw in board["panels"]]


def _panel(raw: Json) -> Panel:
    grid = raw["gridPos"]
    queries = [Query(expression=one["expr"], legend=one.get("legendFormat", "")) for one in raw.get("targets", ())]
    columns: dict[str, str] = {}
    for step in raw.get("transformations", ()):
        assert step["id"] == "organize", step
        order = step["options"]["indexByName"]
        renamed = step["options"]["renameByName"]
        columns = {label: renamed.get(label, label) for label in sorted(order, key=order.__getitem__)}
    return Panel(
        id=raw["id"],
        type=raw["type"],
        title=raw["title"],
        place=(grid["x"], grid["y"], grid["w"], grid["h"]),
        queries=tuple(queries),
        defaults=raw.get("fieldConfig", {}).get("defaults", {}),
        options=raw.get("options", {}),
        columns=columns,
    )


def variable_queries(board: Mapping[str, Any]) -> dict[str, str]:
    """PromQL for the values of each variable, which has its label for a name."""
    found = {}
    for one in board["templating"]["list"]:
        if one["type"] == "query":
            match = re.fullmatch(r"label_values\((.*), (\w+)\)", one["definition"])
            assert match is not None, one["definition"]
            assert match[2] == one["name"], one
            found[one["name"]] = f"group by ({match[2]}) ({match[1]})"
    return found


def filled(expression: str, chosen: Mapping[str, str]) -> str:
    """An expression with Grafana's variables in place: those chosen, and of every other all values (`.*`)."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name == "__rate_interval":
            return f"{RATE_SECONDS}s"
        assert not name.startswith("__"), f"{name} is not known here"
        return chosen.get(name, ".*")

    return re.sub(r"\$(\w+)", value, expression)


def label_names(legend: str) -> list[str]:
    """The labels that a legend shows."""
    return re.findall(r"\{\{\s*(\w+)\s*\}\}", legend)


def named(legend: str, labels: Mapping[str, str]) -> str:
    """What a legend says of a series."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: labels.get(match[1], ""), legend).strip()


@dataclass(frozen=True, kw_only=True)
class Shown:
    """All panels over one run."""

    panels: Sequence[Panel]
    seconds: int
    """How long the run was."""
    courses: Mapping[tuple[int, int], Course]
    """By the panel's id and the query's place in it."""

    def course(self, panel: Panel, number: int = 0) -> Course:
        """What one query of a panel gives at each step."""
        return self.courses[panel.id, number]

    def lines(self, panel: Panel) -> list[Line]:
        """The series of a panel, in the order in which they are first seen; values that are no number are left out."""
        return [
            line for number, query in enumerate(panel.queries) for line in _lines(query, self.course(panel, number))
        ]

    def titled(self, title: str) -> Panel:
        """The panel with this title."""
        (found,) = (panel for panel in self.panels if panel.title == title)
        return found


def _lines(query: Query, course: Course) -> Iterator[Line]:
    values: dict[tuple[tuple[str, str], ...], dict[int, float]] = {}
    for step, found in enumerate(course):
        for sample in found:
            mine = values.setdefault(tuple(sorted(sample.labels.items())), {})
            if not math.isnan(sample.value):
                mine[step * INTERVAL_SECONDS] = sample.value
    for labels, points in sorted(values.items()):
        yield Line(name=named(query.legend, dict(labels)), labels=dict(labels), values=points)


def show(
    board: Mapping[str, Any], series: Sequence[Json], seconds: int, chosen: Mapping[str, str] | None = None
) -> Shown:
    """Evaluate every query over a run of so many seconds. Raises CommandError where one does not parse."""
    panels = read_panels(board)
    asked = {
        (panel.id, number): filled(query.expression, chosen or {})
        for panel in panels
        for number, query in enumerate(panel.queries)
    }
    answers = evaluate(series, list(asked.values()), step_seconds=INTERVAL_SECONDS, until_seconds=seconds)
    return Shown(panels=panels, seconds=seconds, courses=dict(zip(asked, answers, strict=True)))
