"""Alerts and dashboard ask for metrics and labels that the programs really export; each alert has its page section."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from lvs_agent.decide.counted import MemberRow, ServiceRows
from lvs_agent.decide.kernel_state import TrafficCounters
from lvs_agent.serve.counters import counter_texts
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.conditions import Reason
from lvs_lab.artifacts import CHECKOUT
from lvs_operator.metrics import REGISTRY
from support.dashboard import read_board, read_panels, variable_queries

FILES = CHECKOUT / "charts/lvs-operator/files"
BOARD = read_board()
PAGE = CHECKOUT / "docs/reference/alerts.md"
OF_SCRAPING = {"job", "node", "instance"}
"""Labels that come from the chart's PodMonitors and from Prometheus itself."""
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
SUFFIXES = {"counter": {"_total"}, "gauge": {""}, "histogram": {"_bucket", "_count", "_sum"}}
Labels = dict[str, set[str]]


def of_registry(registry: CollectorRegistry) -> Iterator[tuple[str, set[str]]]:
    """Each sample's name with its labels, also of metrics that have counted nothing yet."""
    for collector, names in registry._collector_to_names.items():
        if isinstance(collector, MetricWrapperBase):
            labels = set(collector._labelnames)
            for name in names:
                suffix = name.removeprefix(collector._name)
                if suffix in SUFFIXES[collector._type]:
                    yield name, labels | ({"le"} if suffix == "_bucket" else set())
        else:
            yield from ((family.name, set(getattr(family, "_labelnames", ()))) for family in collector.collect())


def of_kernel() -> Iterator[tuple[str, set[str]]]:
    """The same of the kernel's counters."""
    none = TrafficCounters()
    member = MemberRow(member="rs1", counters=none, weight=1, active=0, inactive=0, persistent=0)
    row = ServiceRows(
        namespace="default",
        service="web",
        port="http",
        address="192.168.4.15",
        counters=none,
        members=(member,),
        summed=False,
    )
    for family in text_string_to_metric_families(b"".join(counter_texts([row])).decode()):
        yield from ((sample.name, set(sample.labels)) for sample in family.samples)


EXPORTED: Labels = {
    "up": set(),
    **dict(of_registry(REGISTRY)),
    **dict(of_registry(AgentMetrics().registry)),
    **dict(of_kernel()),
}


def asked(expression: str) -> Iterator[tuple[str, set[str]]]:
    """The metrics that an expression names, with the labels that it selects and groups by."""
    plain = re.sub(r'"[^"]*"', '""', expression)
    groups = {
        label for found in re.findall(r"\b(?:by|without|on) ?\(([^)]*)\)", plain) for label in re.findall(r"\w+", found)
    }
    for name, selector in re.findall(r"\b(lvs_\w+|up)\b(?:\{([^}]*)\})?", plain):
        yield name, groups | set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))


def dashboard_queries() -> list[str]:
    queries = [query.expression for panel in read_panels(BOARD) for query in panel.queries]
    return [*queries, *variable_queries(BOARD).values()]


def unknown(expression: str) -> list[str]:
    """What an expression names that nothing exports."""
    found = []
    for name, labels in asked(expression):
        if name not in EXPORTED:
            found.append(name)
        else:
            found += [f"{name}{{{label}}}" for label in sorted(labels - EXPORTED[name] - OF_SCRAPING)]
    return found


def test_a_metric_or_label_that_nothing_exports_is_found() -> None:
    assert unknown('sum by (reason) (lvs_operator_services{stat="True"})') == ["lvs_operator_services{stat}"]
    assert unknown("rate(lvs_agent_repairs[5m])") == ["lvs_agent_repairs"]
    assert unknown("sum by (member) (lvs_agent_api_up)") == ["lvs_agent_api_up{member}"]
    assert unknown('max by (node, le) (lvs_agent_round_seconds_bucket{job="x"})') == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alerts_are_on_metrics_that_exist(rule: dict[str, Any]) -> None:
    assert list(asked(rule["expr"]))
    assert unknown(rule["expr"]) == []
    assert rule["labels"]["severity"] in {"warning", "critical"}
    shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    known = {label for name, _ in asked(rule["expr"]) for label in EXPORTED[name]} | OF_SCRAPING
    assert shown <= known


@pytest.mark.parametrize("query", dashboard_queries())
def test_the_dashboard_asks_for_metrics_that_exist(query: str) -> None:
    assert list(asked(query))
    assert unknown(query) == []


def test_the_panels_of_the_dashboard_lie_beside_one_another() -> None:
    """None on another, none out of the grid, and no hole between them."""
    taken: dict[tuple[int, int], str] = {}
    for panel in read_panels(BOARD):
        x, y, width, height = panel.place
        assert x + width <= 24, panel.title
        for place in ((column, row) for column in range(x, x + width) for row in range(y, y + height)):
            assert place not in taken, (panel.title, taken[place])
            taken[place] = panel.title
    rows = {row for _, row in taken}
    assert set(taken) == {(column, row) for column in range(24) for row in range(len(rows))}
    panels = [panel for panel in read_panels(BOARD) if panel.type != "row"]
    assert len({panel.id for panel in panels}) == len({panel.title for panel in panels}) == len(panels)


def test_every_alert_has_its_section_and_every_section_an_alert() -> None:
    sections = re.findall(r"^### (\w+)$", PAGE.read_text(), re.MULTILINE)
    assert sections == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["annotations"]["runbook_url"] == f"docs/reference/alerts.md#{rule['alert'].lower()}"


def test_rejected_and_down_together_are_all_that_is_not_ready() -> None:
    expressions = {rule["alert"]: rule["expr"] for rule in RULES}
    rejected = re.search(r'reason=~"([^"]+)"', expressions["LvsConfigRejected"])
    down = re.search(r'reason!~"([^"]+)"', expressions["LvsServiceDown"])
    assert rejected is not None
    assert down is not None
    assert rejected[1] == down[1]
    modules = ("checks", "endpoint_checks", "accept", "permissions", "address_allocation")
    source = "".join((CHECKOUT / f"core/lvs_core/{module}.py").read_text() for module in modules)
    refusing = set(re.findall(r"(?:_refused|_unresolved)\(\s*Reason\.(\w+)|reason=Reason\.(\w+)", source))
    assert set(rejected[1].split("|")) == {Reason[one or other].value for one, other in refusing}
