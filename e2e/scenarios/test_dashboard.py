"""The chart's dashboard and alerts over what operator and agents export while things happen to them.

A run of less than two minutes is scraped as Prometheus would do it, and every query evaluated by Prometheus' own
engine. The picture in docs/reference/alerts.md is drawn from such a run: `make dashboard`.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from lvs_lab.artifacts import CHECKOUT
from lvs_lab.waiting import wait_for
from support.cluster_looks import READY_SECONDS
from support.dashboard import Line, Panel, Shown, filled, label_names, read_board, show, variable_queries
from support.dashboard_picture import Event, draw
from support.deployment import METRICS_PORT, Deployment, deployed
from support.director_pair import DirectorPair
from support.operator_process import NAMESPACE, OperatorProcess
from support.promql import evaluate
from support.quick_start import KEY, MANIFEST, SERVERS, VIP
from support.scrapes import INTERVAL_SECONDS, Scraper, Scrapes, Target, page_in, scraping
from support.steady_load import steady_load
from support.traffic import HeldConnection

pytestmark = [pytest.mark.lab, pytest.mark.long]

DIRECTORS: Final = ("director-1", "director-2")
SHOP_VIP: Final = "192.168.10.101"
SHOP_KEY: Final = f"TCP {SHOP_VIP}:80"
ROUTER_ID: Final = 100
HELD: Final = 6
"""Connections to each service that stay open."""
GROUP: Final = """
apiVersion: lvs-operator.io/v1alpha1
kind: LvsDirectorGroup
metadata: {name: default}
spec:
  nodes: {selector: {matchLabels: {lvs-operator.io/role: director}}}
  failover: VRRP
  vrrp: {advertIntervalMilliseconds: 200, virtualRouterIds: [100]}
"""
SHOP: Final = """
apiVersion: lvs-operator.io/v1alpha1
kind: LvsRealServerPool
metadata: {name: api}
spec:
  realServers: [{name: small, address: 192.168.10.21}, {name: large, address: 192.168.10.22, weight: 2}]
  healthCheck: {intervalSeconds: 1, timeoutSeconds: 1, rise: 2, fall: 3, tcp: {}}
---
apiVersion: lvs-operator.io/v1alpha1
kind: LvsVirtualService
metadata: {name: api}
spec:
  addresses: ["192.168.10.101"]
  ports: [{name: http, port: 80, realServerPort: 8080}]
  scheduler: wrr
  forwarding: {method: Masquerade, sourceNat: true}
  realServerPoolRef: {name: api}
"""
PICTURE: Final = os.environ.get("LVS_DASHBOARD_PICTURE")
"""Where the picture of the run is wanted."""
ALERTS: Final = CHECKOUT / "charts/lvs-operator/files/alerts.yaml"
NEVER: Final = frozenset({("Writes and failed writes per second", 1), ("What agents say", 0)})
"""Queries without an answer here, by panel and place: the API server refuses no write, no agent has anything to say."""
AT_TIMES: Final = frozenset(
    {
        "Real servers without weight",
        "Repairs of what others changed, per minute",
    }
)
"""Panels that show something only while there is something to show."""
NONE_THERE: Final = {"lvs_operator_load_balancers"}
"""Metrics of alerts that have no row here: there is no Service of type LoadBalancer."""
MISSED: Final = 3
"""Scrapes that a busy machine may miss."""


@dataclass(kw_only=True)
class Run:
    """What happened, and what it looked like."""

    scrapes: Scrapes
    events: dict[str, Event] = field(default_factory=dict)
    master: str = ""
    """The director that had the addresses first, and lost its power."""
    heir: str = ""


# the run


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed("dashboard", ["plain"], tmp_path_factory.mktemp("dashboard")) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def run(lab: Deployment) -> Run:
    pair = prepare(lab)
    with scraping(targets(lab)) as scraper:
        run = Run(scrapes=scraper.scrapes)
        happen(lab, pair, scraper, run)
    return run


def prepare(deployment: Deployment) -> DirectorPair:
    """Two services, one by direct routing and one by Masquerade, and two directors of one virtual router."""
    for server in SERVERS:
        deployment.lab.machine(server).serve(port=80)
        deployment.lab.machine(server).serve(port=8080)
    for director in DIRECTORS:
        deployment.start_vrrp(director)
    deployment.apply(GROUP, MANIFEST)
    deployment.lab.kubectl("create", "namespace", "shop")
    deployment.apply(SHOP, namespace="shop")
    deployment.wait_ready("web")
    deployment.lab.kubectl("--namespace=shop", "wait", "--for=condition=Ready", "--timeout=40s", "lvsvs/api")
    pair = DirectorPair(deployment=deployment, names=DIRECTORS, client_name="client", vip=VIP, router_id=ROUTER_ID)
    pair.wait_settled(pair.master())
    return pair


def targets(deployment: Deployment) -> list[Target]:
    """The operator and every agent, with the labels that the chart's PodMonitors give."""

    def labels(job: str, container: str, instance: str, **more: str) -> Mapping[str, str]:
        pod = f"{job}-{more.get('node', 0)}"
        where = {"namespace": NAMESPACE, "pod": pod, "container": container, "instance": instance}
        return {"job": job, **where, **more}

    client = deployment.client_namespace("client")
    found = [
        Target(
            labels=labels("lvs-operator", "operator", f"127.0.0.1:{deployment.operator.port}"),
            fetch=partial(operator_page, deployment.operator),
        )
    ]
    for node in deployment.plain_nodes:
        address = deployment.lab.machine(node).ip
        found.append(
            Target(
                labels=labels("lvs-agent", "agent", f"{address}:{METRICS_PORT}", node=node),
                fetch=partial(page_in, client, address, METRICS_PORT),
            )
        )
    return found


def operator_page(operator: OperatorProcess) -> str:
    status, text = operator.endpoint("/metrics")
    if status != 200:
        raise HTTPException(f"{status} {text}")
    return text


def happen(deployment: Deployment, pair: DirectorPair, scraper: Scraper, run: Run) -> None:
    """What the picture tells, with steady traffic all the time."""

    def tell(name: str, text: str) -> None:
        run.events[name] = Event(second=scraper.now, text=text)

    client = deployment.client_namespace("client")
    run.master = pair.master()
    run.heir = pair.other(run.master)
    server = deployment.lab.machine("server-2")
    with steady_load(client, VIP, 45), steady_load(client, SHOP_VIP, 30), ExitStack() as held:
        for vip in (VIP,) * HELD + (SHOP_VIP,) * HELD:
            held.enter_context(HeldConnection(client, vip))
        scraper.wait_rounds(8)
        tell("stopped", "server-2's program on port 80 ends: weight 0")
        server.server(port=80).stop()
        deployment.wait_weight(run.master, KEY, f"{SERVERS['server-2']}:80", 0, deadline=READY_SECONDS)
        scraper.wait_rounds(6)
        tell("returned", "server-2 answers again")
        server.serve(port=80)
        deployment.wait_weight(run.master, KEY, f"{SERVERS['server-2']}:80", 1, deadline=READY_SECONDS)
        scraper.wait_rounds(6)
        tell("cut", f"{run.master}, the Master, loses its power: {run.heir} takes over")
        deployment.lab.guest(run.master).power_off()
        pair.wait_master(run.heir)
        scraper.wait_rounds(6)
        tell("booted", f"{run.master} boots and is Backup")
        deployment.ensure_running()
        pair.wait_settled(run.heir)
        scraper.wait_rounds(3)
        tell("changed", "somebody changes a weight, and takes the VIP from server-1: put right")
        change_by_hand(deployment, run.heir)
        scraper.wait_rounds(6)
        tell("dead", "server-2's program on port 8080 ends, and stays away")
        server.server(port=8080).stop()
        deployment.wait_weight(run.heir, SHOP_KEY, f"{SERVERS['server-2']}:8080", 0, deadline=READY_SECONDS)
        scraper.wait_rounds(6)


def change_by_hand(deployment: Deployment, director: str) -> None:
    deployment.lab.guest("server-1").out("ip", "address", "del", f"{VIP}/32", "dev", "lo")
    real_server = f"{SERVERS['server-1']}:80"
    edit = ("ipvsadm", "-e", "-t", f"{VIP}:80", "-r", real_server, "-g", "-w", "77")
    deployment.lab.guest(director).out(*edit)
    deployment.wait_weight(director, KEY, real_server, 1, deadline=READY_SECONDS)
    wait_for(lambda: f"{VIP}/32" in deployment.addresses("server-1", "lo"), READY_SECONDS, "the VIP to be back")


# what it looked like


@pytest.fixture(scope="module")
def shown(run: Run) -> Shown:
    return show(read_board(), run.scrapes.told(), run.scrapes.seconds)


def seen(shown: Shown, title: str, second: float, **labels: str) -> list[float]:
    """The last values of a panel's series with these labels before a second, also where a scrape was missed."""
    steps = [int(second) // INTERVAL_SECONDS * INTERVAL_SECONDS - ago * INTERVAL_SECONDS for ago in range(MISSED + 1)]
    chosen = [line.values for line in shown.lines(shown.titled(title)) if labels.items() <= line.labels.items()]
    found = [[values[step] for step in steps if step in values] for values in chosen]
    return [values[0] for values in found if values]


def test_every_query_gives_data_and_the_labels_of_its_legend(shown: Shown) -> None:
    for panel in shown.panels:
        for number, query in enumerate(panel.queries):
            what = f"{panel.title}: {query.expression}"
            course = shown.course(panel, number)
            if (panel.title, number) in NEVER:
                assert not any(course), what
                continue
            assert any(course), what
            # A rate needs two scrapes, and a busy machine may have missed one.
            empty = [step for step, found in enumerate(course) if step > 2 and not found]
            assert panel.title in AT_TIMES or len(empty) <= MISSED, (what, empty)
            wanted = set(label_names(query.legend)) | set(panel.columns)
            for found in course:
                assert all(wanted == sample.labels.keys() for sample in found), what
        assert_told_apart(panel, shown.lines(panel))


def assert_told_apart(panel: Panel, lines: Sequence[Line]) -> None:
    names = [line.name for line in lines]
    assert panel.type in {"row", "table"} or len(names) == len(set(names)), (panel.title, names)


def test_variables_offer_the_services_and_narrow_the_panels(run: Run) -> None:
    board, told, seconds = read_board(), run.scrapes.told(), run.scrapes.seconds
    queries = variable_queries(board)
    expressions = [filled(query, {}) for query in queries.values()]
    courses = evaluate(told, expressions, step_seconds=INTERVAL_SECONDS, until_seconds=seconds)
    offered = {
        name: {sample.labels[name] for sample in course[-1]} for name, course in zip(queries, courses, strict=True)
    }
    assert offered == {"namespace": {"default", "shop"}, "service": {"web", "api"}}
    narrow = show(board, told, seconds, {"namespace": "shop"})
    narrowed = [panel for panel in narrow.panels if any("$namespace" in query.expression for query in panel.queries)]
    assert len(narrowed) >= 8
    for panel in narrowed:
        assert {line.labels.get("namespace", "shop") for line in narrow.lines(panel)} == {"shop"}, panel.title


def test_a_real_server_that_dies_and_returns_is_seen(run: Run, shown: Shown) -> None:
    healthy, returned, cut = (run.events[name].second for name in ("stopped", "returned", "cut"))
    two = {"service": "web", "member": "node.server-2"}
    assert [seen(shown, "Weight", second, **two) for second in (healthy, returned, cut)] == [[1.0], [0.0], [1.0]]
    rates = "New connections per second, by real server"
    (before,), (without,), (after,) = (seen(shown, rates, second, **two) for second in (healthy, returned, cut))
    assert without == 0
    assert min(before, after) > 5
    assert sum(seen(shown, "Active connections", healthy, service="web")) >= HELD
    (small,), (large,) = (seen(shown, rates, healthy, member=member) for member in ("small", "large"))
    assert large / small == pytest.approx(2, rel=0.2)


def test_a_take_over_is_seen(run: Run, shown: Shown) -> None:
    healthy, booted, end = run.events["stopped"].second, run.events["booted"].second, shown.seconds
    masters, rates = "Who is Master (VRRP)", "New connections per second, by director"
    for second, master in ((healthy, run.master), (booted, run.heir), (end, run.heir)):
        assert seen(shown, masters, second, node=master) == [1.0]
        assert sum(seen(shown, masters, second)) == 1
    assert seen(shown, rates, healthy, node=run.heir) == [0.0]
    # Rates look back for RATE_SECONDS, so that they end after the last scrape: at this moment, and not before it.
    carried = {line.labels["node"]: line.values for line in shown.lines(shown.titled(rates))}
    assert int(booted) // INTERVAL_SECONDS * INTERVAL_SECONDS not in carried[run.master]
    carrying = ((healthy, run.master), (booted, run.heir))
    (before,), (after,) = (seen(shown, rates, second, node=director) for second, director in carrying)
    assert after == pytest.approx(before, rel=0.4)  # a busy machine was seen to keep up with three quarters
    assert before == pytest.approx(sum(seen(shown, "New connections per second, by service", healthy)), rel=0.1)
    assert seen(shown, "API server within reach", booted, node=run.master) == []


def test_what_others_changed_is_seen(run: Run, shown: Shown) -> None:
    lines = shown.lines(shown.titled("Repairs of what others changed, per minute"))
    changed = run.events["changed"].second
    found = {(line.labels["node"], line.labels["kind"]) for line in lines if max(line.values) >= changed}
    assert found >= {(run.heir, "destination"), ("server-1", "address")}
    (count,) = seen(shown, "Foreign changes, last hour", shown.seconds)
    assert count > 1


def test_the_end_is_seen(run: Run, shown: Shown) -> None:
    """With a real server that is away, which the services can do without."""
    assert seen(shown, "Services ready", shown.seconds) == [2.0]
    assert seen(shown, "Services not ready", shown.seconds) == [0.0]
    table = shown.course(shown.titled("Real servers without weight"))
    assert table[int(run.events["stopped"].second) // INTERVAL_SECONDS] == []
    assert [sample.labels for sample in table[-1]] == [{"namespace": "shop", "service": "api", "member": "large"}]


def test_alerts_ask_for_what_is_exported_and_hold_still_while_all_is_well(run: Run) -> None:
    rules: list[Mapping[str, Any]] = [
        rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    ]
    courses = evaluate(
        run.scrapes.told(),
        [rule["expr"] for rule in rules],
        step_seconds=INTERVAL_SECONDS,
        until_seconds=run.scrapes.seconds,
    )
    healthy = int(run.events["stopped"].second) // INTERVAL_SECONDS
    well = {rule["alert"] for rule, course in zip(rules, courses, strict=True) if any(course[2:healthy])}
    ever = {rule["alert"] for rule, course in zip(rules, courses, strict=True) if any(course)}
    assert well == set()
    assert {"LvsForeignChange", "LvsAgentNotScraped"} <= ever
    stored = {dict(labels)["__name__"] for labels in run.scrapes.series}
    asked = {name for rule in rules for name in re.findall(r"\blvs_\w+", re.sub(r'"[^"]*"', "", rule["expr"]))}
    assert asked - stored == NONE_THERE


def test_a_picture_is_drawn(run: Run, shown: Shown, tmp_path: Path) -> None:
    file = Path(PICTURE) if PICTURE else tmp_path / "dashboard.png"
    draw(shown, list(run.events.values()), f"{read_board()['title']}: a run in the lab", file)
    assert 20_000 < file.stat().st_size < 200 * 1024
