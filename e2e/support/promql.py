"""PromQL by Prometheus' own engine, over series in promtool's notation or over what was scraped."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lvs_lab.host_commands import run
from lvs_lab.kube_tools import promql_program

Json = Mapping[str, Any]


class Sample(NamedTuple):
    """One element of an expression's result at a moment."""

    labels: Mapping[str, str]
    value: float


def evaluate(
    series: Sequence[Json], expressions: Sequence[str], *, step_seconds: int, until_seconds: int
) -> list[list[list[Sample]]]:
    """For each expression what it gives at 0 and at every step up to a second, as a range query does.

    A series has `series` and `values` as promtool's tests write them, a value at each step; or `labels` and `points`,
    each with `ms` and, while the series is there, `value`. Raises CommandError with the engine's words.
    """
    asked = {
        "stepSeconds": step_seconds,
        "untilSeconds": until_seconds,
        "series": list(series),
        "expressions": list(expressions),
    }
    answers = json.loads(run([str(promql_program())], stdin=json.dumps(asked, allow_nan=False)).stdout)
    return [
        [[Sample(one["labels"], float(one["value"])) for one in found] for found in steps]  # "NaN" and "+Inf", too
        for steps in answers
    ]
