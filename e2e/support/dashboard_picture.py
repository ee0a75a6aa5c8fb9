"""A picture of the dashboard over a lab run: the layout, titles, units, legends and thresholds of dashboard.json.

It is no screenshot of Grafana: matplotlib draws what Grafana would be told to.
"""

import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator
from PIL import Image

from support.dashboard import Line, Panel, Shown
from support.scrapes import INTERVAL_SECONDS

_COLUMNS: Final = 24
_COLUMN_PIXELS: Final = 50
_ROW_PIXELS: Final = 27
_DPI: Final = 100
_GAP: Final = 4
"""Pixels on each side of a panel."""
_EVENT_PIXELS, _TABLE_PIXELS, _LEGEND_PIXELS = 17, 20, 14
"""The height of a line of text."""
_COLORS_OF_FILE: Final = 128
"""Enough for smooth letters; a picture of all colours has three times the size."""
_PALETTE: Final = ("#3274d9", "#e0752d", "#56a64b", "#a352cc", "#e02f44", "#1a9aa8", "#b8860b", "#c15c9c", "#7a7a7a")
_NAMED: Final = {"green": "#56a64b", "red": "#e02f44", "blue": "#3274d9", "text": "#c7cdd4"}
_PAGE, _PAPER, _FRAME, _INK, _GRID, _FAINT = "#f0f2f4", "#ffffff", "#d5d9dd", "#24292e", "#e6e9ec", "#80868b"
_DASHES: Final = ("-", "--", (0, (1, 1)), "-.")
"""Lines that lie on one another are told apart by them."""
_UNITS: Final = {"cps": "c/s", "Bps": "B/s", "s": "s", "none": ""}


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that was done in the run; numbered marks in the graphs say when."""

    second: float
    text: str


class _Entry(NamedTuple):
    """A line's name in the legend, with its number and pixels from the left."""

    number: int
    name: str
    x: float


@dataclass(frozen=True, slots=True)
class _Room:
    """A part of the picture: its upper left corner and its size, in pixels."""

    left: float
    top: float
    width: float
    height: float

    def inner(self, *, left: float, top: float, right: float, bottom: float) -> "_Room":
        """The same with so wide margins."""
        return _Room(self.left + left, self.top + top, self.width - left - right, self.height - top - bottom)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Canvas:
    """The whole picture. Places are pixels from its upper left corner; matplotlib wants fractions from the lower."""

    figure: Figure
    width: int
    height: int

    def axes(self, room: _Room, color: str = _PAPER) -> Axes:
        """A frame there, without ticks."""
        below = 1 - (room.top + room.height) / self.height
        place = (room.left / self.width, below, room.width / self.width, room.height / self.height)
        axes: Axes = self.figure.add_axes(place, facecolor=color)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(_FRAME)
        return axes

    def text(
        self, x: float, y: float, words: str, *, size: float = 8, color: str = _INK, weight: str = "normal"
    ) -> None:
        """Words below and to the right of there."""
        place = (x / self.width, 1 - y / self.height)
        self.figure.text(*place, words, fontsize=size, color=color, fontweight=weight, va="top")


def draw(shown: Shown, events: Sequence[Event], title: str, file: Path) -> None:
    """Write the picture as PNG."""
    half = math.ceil(len(events) / 2)
    head = 34 + _EVENT_PIXELS * half
    lowest = max(panel.place[1] + panel.place[3] for panel in shown.panels)
    width, height = _COLUMNS * _COLUMN_PIXELS, head + lowest * _ROW_PIXELS + _GAP
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=_PAGE)
    canvas = _Canvas(figure=figure, width=width, height=height)
    canvas.text(2 * _GAP, 8, title, size=11, weight="bold")
    for number, event in enumerate(events):
        column, row = divmod(number, half)
        words = f"{number + 1}   {_clock(event.second)}   {event.text}"
        canvas.text(2 * _GAP + column * width / 2, 32 + row * _EVENT_PIXELS, words)
    for panel in shown.panels:
        _draw_panel(canvas, head, panel, shown, events)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    with Image.open(buffer) as picture:
        picture.convert("RGB").quantize(_COLORS_OF_FILE).save(file, optimize=True)


def _draw_panel(canvas: _Canvas, head: int, panel: Panel, shown: Shown, events: Sequence[Event]) -> None:
    x, y, width, height = panel.place
    room = _Room(x * _COLUMN_PIXELS, head + y * _ROW_PIXELS, width * _COLUMN_PIXELS, height * _ROW_PIXELS)
    room = room.inner(left=_GAP, top=_GAP, right=_GAP, bottom=_GAP)
    if panel.type == "row":
        canvas.text(room.left, room.top + 3, panel.title, size=10, weight="bold")
    elif panel.type == "stat":
        _draw_stat(canvas, room, panel, shown.lines(panel))
    else:
        canvas.axes(room)
        canvas.text(room.left + 8, room.top + 6, panel.title, weight="bold")
        if panel.type == "table":
            _draw_table(canvas, room.inner(left=10, top=28, right=10, bottom=0), panel, shown)
        else:
            _draw_graph(canvas, room, panel, shown, events)


def _draw_stat(canvas: _Canvas, room: _Room, panel: Panel, lines: Sequence[Line]) -> None:
    """The last value, with the colour of its threshold behind it or in it."""
    (line,) = lines
    value = line.values[max(line.values)]
    color = _threshold_color(panel.defaults, value)
    behind = panel.options["colorMode"] == "background"
    frame = canvas.axes(room, color if behind else _PAPER)
    text = f"{round(value, panel.defaults.get('decimals', 2)):g}"
    frame.annotate(
        text,
        (0.5, 0.4),
        xycoords="axes fraction",
        fontsize=22,
        color=_PAPER if behind else color,
        ha="center",
        va="center",
    )
    canvas.text(room.left + 8, room.top + 6, panel.title, size=7.5, weight="bold", color=_PAPER if behind else _INK)


def _draw_table(canvas: _Canvas, room: _Room, panel: Panel, shown: Shown) -> None:
    """The labels of what the query gives at the end."""
    found = shown.course(panel)[-1]
    for number, (label, heading) in enumerate(panel.columns.items()):
        left = room.left + number * room.width / len(panel.columns)
        canvas.text(left, room.top, heading, color=_NAMED["blue"])
        for row, sample in enumerate(found, start=1):
            canvas.text(left, room.top + _TABLE_PIXELS * row, sample.labels.get(label, ""))
    if not found:
        canvas.text(room.left, room.top + _TABLE_PIXELS, "No data", color=_FAINT)


def _draw_graph(canvas: _Canvas, room: _Room, panel: Panel, shown: Shown, events: Sequence[Event]) -> None:
    lines = [line for line in shown.lines(panel) if line.values]
    states = panel.type == "state-timeline"
    legend = [] if states else _legend_rows(lines, room.width - 20)
    below = 24 + (20 if states else _LEGEND_PIXELS * len(legend) + 4)
    beside = 20 + 5.2 * max((len(line.name) for line in lines), default=0) if states else 46
    axes = canvas.axes(room.inner(left=beside, top=36, right=12, bottom=below))
    axes.spines[:].set_visible(False)
    axes.set_xlim(0, shown.seconds)
    axes.tick_params(length=0, labelsize=6.5, labelcolor=_INK, pad=3)
    axes.tick_params(axis="x", pad=6)
    axes.xaxis.set_major_locator(MultipleLocator(30))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _clock(value)))
    axes.grid(visible=True, color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    bottom = room.top + room.height
    if not lines:
        axes.text(0.5, 0.5, "No data", color=_FAINT, fontsize=8, ha="center", transform=axes.transAxes)
    elif states:
        _draw_states(axes, panel, lines)
        _draw_meanings(canvas, room.left + 10, bottom - 18, panel)
    else:
        _draw_lines(axes, panel, lines)
        _draw_legend(canvas, room.left + 10, bottom - _LEGEND_PIXELS * len(legend) - 6, legend)
    _draw_events(axes, events)


def _draw_lines(axes: Axes, panel: Panel, lines: Sequence[Line]) -> None:
    stacked = panel.defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal"
    below: Counter[int] = Counter()
    highest = 0.0
    for number, line in enumerate(lines):
        color = _PALETTE[number % len(_PALETTE)]
        if stacked and not any(line.values.values()):
            continue
        for part in _parts(line.values):
            base = [below[second] if stacked else 0.0 for second in part]
            values = [line.values[second] + under for second, under in zip(part, base, strict=True)]
            highest = max(highest, *values)
            axes.plot(
                part,
                values,
                color=color,
                linewidth=1.2,
                marker="o" if len(part) == 1 else None,
                markersize=3,
                linestyle="-" if stacked else _DASHES[number % len(_DASHES)],
                clip_on=False,
            )
            if stacked:
                axes.fill_between(part, base, values, color=color, alpha=0.3, linewidth=0)
        below.update({second: value for second, value in line.values.items() if stacked})
    axes.set_ylim(0, 1.15 * highest or 1)
    unit = panel.defaults.get("unit", "none")
    whole = all(value.is_integer() for line in lines for value in line.values.values())
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=whole))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _quantity(value, unit)))


def _draw_states(axes: Axes, panel: Panel, lines: Sequence[Line]) -> None:
    for row, line in enumerate(lines):
        for second, value in line.values.items():
            color = _threshold_color(panel.defaults, value)
            axes.add_patch(Rectangle((second, row - 0.35), INTERVAL_SECONDS, 0.7, facecolor=color, linewidth=0))
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.set_yticks(range(len(lines)), [line.name for line in lines])
    axes.grid(visible=False, axis="y")


def _draw_meanings(canvas: _Canvas, left: float, top: float, panel: Panel) -> None:
    for mapping in panel.defaults["mappings"]:
        for value, meaning in mapping["options"].items():
            canvas.text(left, top, "■", color=_threshold_color(panel.defaults, float(value)))
            canvas.text(left + 14, top, meaning["text"], size=7)
            left += 40 + 6 * len(meaning["text"])


def _draw_legend(canvas: _Canvas, left: float, top: float, rows: Sequence[Sequence[_Entry]]) -> None:
    for row, entries in enumerate(rows):
        for entry in entries:
            color = _PALETTE[entry.number % len(_PALETTE)]
            canvas.text(left + entry.x, top + _LEGEND_PIXELS * row, "■", size=7, color=color)
            canvas.text(left + entry.x + 12, top + _LEGEND_PIXELS * row, entry.name, size=7)


def _legend_rows(lines: Sequence[Line], width: float) -> list[list[_Entry]]:
    """The names of lines, in as many rows as they need."""
    rows: list[list[_Entry]] = [[]]
    x = 0.0
    for number, line in enumerate(lines):
        needed = 24 + 5.6 * len(line.name)
        if rows[-1] and x + needed > width:
            rows.append([])
            x = 0.0
        rows[-1].append(_Entry(number=number, name=line.name, x=x))
        x += needed
    return rows


def _draw_events(axes: Axes, events: Sequence[Event]) -> None:
    top = axes.get_ylim()[1]
    for number, event in enumerate(events, start=1):
        axes.axvline(event.second, color=_FAINT, linewidth=0.8, linestyle=":", zorder=0.5)
        axes.text(event.second, top, str(number), fontsize=6, color=_FAINT, ha="center", va="bottom")


def _threshold_color(defaults: Mapping[str, Any], value: float) -> str:
    """The colour of the last threshold that a value reaches."""
    color = _INK
    for step in defaults.get("thresholds", {}).get("steps", ()):
        if step["value"] is None or value >= step["value"]:
            color = _NAMED[step["color"]]
    return color


def _parts(values: Mapping[int, float]) -> list[list[int]]:
    """The seconds of a line, cut where it has gaps."""
    parts: list[list[int]] = []
    for second in sorted(values):
        if parts and second - parts[-1][-1] <= INTERVAL_SECONDS:
            parts[-1].append(second)
        else:
            parts.append([second])
    return parts


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _quantity(value: float, unit: str) -> str:
    if unit == "s" and 0 < value < 1:
        return f"{value * 1000:.3g} ms"
    if value >= 1000:
        return f"{value / 1000:.3g} k{_UNITS[unit]}"
    return f"{value:.3g} {_UNITS[unit]}".rstrip()
