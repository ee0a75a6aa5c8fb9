"""Alerting rules over time: expressions by Prometheus' own engine, `for` and texts as Prometheus makes them of results.

Tests have the form of promtool's (`promtool test rules`), which reads the same file.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from support.promql import Json, Sample, evaluate

STEP_SECONDS: Final = 60


class Alert(NamedTuple):
    """One alert that fires, as a notification has it."""

    labels: frozenset[tuple[str, str]]
    annotations: frozenset[tuple[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """What each rule's expression gives at every step."""

    rules: Mapping[str, Json]
    results: Mapping[str, Sequence[Sequence[Sample]]]

    def firing(self, alert: str, second: int) -> set[Alert]:
        """The alerts that fire at a moment: those whose labels were in every result for so long."""
        rule, results = self.rules[alert], self.results[alert]
        last = second // STEP_SECONDS
        steps = seconds(rule.get("for", "0s")) // STEP_SECONDS
        if last < steps:
            return set()
        return {
            _alert(rule, sample)
            for sample in results[last]
            if all(sample.labels in [one.labels for one in found] for found in results[last - steps : last])
        }


def run_course(rules: Mapping[str, Json], series: Sequence[Json], until: int) -> Course:
    """Evaluate rules, by name, over series for so many seconds. Raises CommandError with the engine's words."""
    told = [{"series": one["series"], "values": str(one["values"])} for one in series]
    expressions = [rule["expr"] for rule in rules.values()]
    answers = evaluate(told, expressions, step_seconds=STEP_SECONDS, until_seconds=until)
    return Course(rules=rules, results=dict(zip(rules, answers, strict=True)))


def seconds(duration: str) -> int:
    """A duration of one unit, such as 5m."""
    match = re.fullmatch(r"(\d+)([smh])", duration)
    assert match is not None, duration
    return int(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def _alert(rule: Json, sample: Sample) -> Alert:
    labels = {name: value for name, value in sample.labels.items() if name != "__name__"}

    def text(template: str) -> str:
        filled = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels.get(match[1], ""), template)
        filled = filled.replace("{{ $value }}", f"{sample.value:g}")
        assert "{{" not in filled, filled
        return filled

    annotations = {name: text(template) for name, template in rule["annotations"].items()}
    return Alert(frozenset({**labels, **rule["labels"]}.items()), frozenset(annotations.items()))
