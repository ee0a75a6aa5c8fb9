"""Pages of metrics kept as Prometheus stores them."""

from support.scrapes import Scrapes

TARGET = {"job": "lvs-agent", "instance": "192.168.10.11:9470", "namespace": "lvs-system", "node": "director-1"}
PAGE = """# TYPE lvs_agent_api_up gauge
lvs_agent_api_up 1.0
# TYPE lvs_real_server_weight gauge
lvs_real_server_weight{namespace="default",service="web",member=""} 3
# TYPE lvs_agent_rounds counter
lvs_agent_rounds_total{result="ok"} 7
"""


def points(scrapes: Scrapes, name: str) -> tuple[dict[str, str], list[tuple[int, float | None]]]:
    """The labels of the one series with this name, and its points."""
    ((labels, found),) = ((dict(one), found) for one, found in scrapes.series.items() if ("__name__", name) in one)
    return labels, found


def test_labels_of_the_page_stay_and_those_of_the_target_come_beside() -> None:
    scrapes = Scrapes()
    scrapes.keep(TARGET, 0, PAGE)
    assert points(scrapes, "lvs_agent_api_up") == ({"__name__": "lvs_agent_api_up", **TARGET}, [(0, 1.0)])
    own = {"namespace": "default", "service": "web"}
    assert points(scrapes, "lvs_real_server_weight")[0] == {**TARGET, **own, "__name__": "lvs_real_server_weight"}
    assert points(scrapes, "lvs_agent_rounds_total")[1] == [(0, 7.0)]
    assert points(scrapes, "up")[1] == [(0, 1.0)]


def test_what_a_scrape_lacks_has_ended_until_it_is_back() -> None:
    scrapes = Scrapes()
    for second, page in enumerate((PAGE, None, None, PAGE)):
        scrapes.keep(TARGET, 1000 * second, page)
    assert points(scrapes, "lvs_agent_api_up")[1] == [(0, 1.0), (1000, None), (3000, 1.0)]
    assert points(scrapes, "up")[1] == [(0, 1.0), (1000, 0.0), (2000, 0.0), (3000, 1.0)]
    assert scrapes.seconds == 3


def test_targets_end_nothing_of_one_another() -> None:
    scrapes = Scrapes()
    scrapes.keep(TARGET, 0, PAGE)
    scrapes.keep({**TARGET, "instance": "192.168.10.12:9470", "node": "director-2"}, 0, "lvs_agent_api_up 0\n")
    assert {value for found in scrapes.series.values() for _, value in found} == {0.0, 1.0, 3.0, 7.0}
