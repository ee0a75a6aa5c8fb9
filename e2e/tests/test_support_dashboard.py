"""The dashboard as Grafana reads it, and the picture of it."""

from pathlib import Path

import pytest
from PIL import Image

from support.dashboard import Shown, filled, label_names, named, read_board, read_panels, variable_queries
from support.dashboard_picture import Event, draw
from support.promql import Sample

NUMBERS = {"timeseries": 3.0, "state-timeline": 1.0, "stat": 2.0, "table": 1.0}


@pytest.mark.parametrize(
    ("chosen", "selector"),
    [({}, 'namespace=~".*", service=~".*"'), ({"namespace": "shop"}, 'namespace=~"shop", service=~".*"')],
)
def test_variables_are_filled_as_grafana_does(chosen: dict[str, str], selector: str) -> None:
    query = 'rate(connections_total{namespace=~"$namespace", service=~"$service"}[$__rate_interval])'
    assert filled(query, chosen) == f"rate(connections_total{{{selector}}}[8s])"


def test_a_variable_of_grafana_that_nobody_fills_is_found() -> None:
    with pytest.raises(AssertionError, match="__interval"):
        filled("rate(x[$__interval])", {})


def test_legends_show_labels() -> None:
    assert label_names("{{namespace}}/{{ service }} x") == ["namespace", "service"]
    assert named("{{namespace}}/{{ service }} {{member}}", {"namespace": "default", "service": "web"}) == "default/web"


def test_variables_offer_the_values_of_their_labels() -> None:
    queries = variable_queries(read_board())
    assert queries["namespace"] == "group by (namespace) (lvs_virtual_service_connections_total)"


def test_every_panel_is_drawn_with_data_or_without(tmp_path: Path) -> None:
    """A stat has always something to say: its query is a sum or a maximum of what is always there."""
    panels = read_panels(read_board())
    courses = {}
    for panel in panels:
        for number, query in enumerate(panel.queries):
            labels = dict.fromkeys([*label_names(query.legend), *panel.columns], "x") if panel.type != "stat" else {}
            there = panel.type == "stat" or panel.id % 2 == 0
            courses[panel.id, number] = [[Sample(labels, NUMBERS[panel.type])] if there else []] * 31
    file = tmp_path / "board.png"
    draw(Shown(panels=panels, seconds=60, courses=courses), [Event(second=20, text="it rains")], "a board", file)
    with Image.open(file) as picture:
        assert picture.size[0] == 24 * 50
        assert picture.size[1] > 27 * max(panel.place[1] + panel.place[3] for panel in panels)
