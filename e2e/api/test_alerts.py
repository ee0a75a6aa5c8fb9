"""The chart's alerts, evaluated by Prometheus' engine: each fires where it should, and says so, and only there."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvs_lab.artifacts import CHECKOUT
from lvs_lab.errors import CommandError
from support.alert_rules import STEP_SECONDS, Alert, run_course, seconds
from support.promql import evaluate
from support.scrapes import Scrapes

ALERTS = CHECKOUT / "charts/lvs-operator/files/alerts.yaml"
CASES = Path(__file__).with_name("alerts_tests.yaml")
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
}
DOCUMENT: dict[str, Any] = yaml.safe_load(CASES.read_text())


def test_the_file_is_one_for_promtool_too() -> None:
    assert [(CASES.parent / file).resolve() for file in DOCUMENT["rule_files"]] == [ALERTS]
    assert {seconds(test["interval"]) for test in DOCUMENT["tests"]} == {STEP_SECONDS}
    assert seconds(DOCUMENT["evaluation_interval"]) == STEP_SECONDS


@pytest.mark.parametrize("test", DOCUMENT["tests"], ids=lambda test: test["name"])
def test_alerts_fire_when_they_should_and_only_then(test: dict[str, Any]) -> None:
    cases = test["alert_rule_test"]
    until = max(seconds(case["eval_time"]) for case in cases)
    course = run_course(RULES, test.get("input_series", ()), until)
    for case in cases:
        expected = {
            Alert(frozenset(one["exp_labels"].items()), frozenset(one["exp_annotations"].items()))
            for one in case["exp_alerts"]
        }
        assert course.firing(case["alertname"], seconds(case["eval_time"])) == expected, case["alertname"]


@pytest.mark.parametrize("fires", [True, False])
def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(fires: bool) -> None:
    tests = DOCUMENT["tests"]
    cases = {
        case["alertname"] for test in tests for case in test["alert_rule_test"] if bool(case["exp_alerts"]) is fires
    }
    assert set(RULES) == cases


def test_a_wrong_expression_is_an_error_and_not_silence() -> None:
    with pytest.raises(CommandError, match="parse error"):
        run_course({"Wrong": {"expr": "sum by (lvs_agent_api_up"}}, [], 0)


def test_what_was_scraped_ends_with_the_scrape_that_lacks_it() -> None:
    """Without a mark of that Prometheus would take the last value for five minutes."""
    scrapes, target = Scrapes(), {"job": "lvs-agent", "instance": "a", "node": "n1"}
    for second, page in enumerate(
        ("weight 3\nrounds_total 4\n", "weight 5\nrounds_total 8\n", "rounds_total 8\n", None)
    ):
        scrapes.keep(target, 1000 * second, page)
    expressions = ["weight", "rate(rounds_total[1s]) * 0", "0 / (rounds_total - rounds_total)", "up"]
    weight, rate, nothing, up = evaluate(scrapes.told(), expressions, step_seconds=1, until_seconds=4)
    assert [[one.value for one in found] for found in weight] == [[3.0], [5.0], [], [], []]
    assert weight[0][0].labels == {"__name__": "weight", **target}
    assert not any(rate), "one scrape makes no rate"
    assert math.isnan(nothing[1][0].value)
    assert [found[0].value for found in up] == [1, 1, 1, 0, 0]
