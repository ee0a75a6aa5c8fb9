"""What the chart brings when asked for: guards, monitors, `helm test`; rendered, and at a real API server."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvs_operator.agent_daemonset import read_template
from lvs_operator.settings import read_settings
from support.api_server import free_port
from support.chart_release import CHART, HELM_MAJORS, OPERATOR, RELEASE, account_token, render, run_helm
from support.operator_process import NAMESPACE, running_operator
from support.operator_world import World, world

VALUES = sorted((Path(CHART) / "ci").glob("*-values.yaml"))
EVERYTHING = f"--values={CHART}/ci/everything-values.yaml"
OF_OTHERS = "monitoring.coreos.com/v1"
Json = dict[str, Any]


def named(objects: list[Json], kind: str, name: str = RELEASE) -> Json:
    """The object of a kind and name."""
    (found,) = [one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def agents(objects: list[Json], directory: Path) -> Json:
    """The agents' DaemonSet as the operator applies it."""
    file = directory / "daemonset.yaml"
    file.write_text(named(objects, "ConfigMap", f"{RELEASE}-agent-daemonset")["data"][file.name])
    return read_template(file, NAMESPACE)


def selects(selector: Mapping[str, Any], template: Mapping[str, Any]) -> bool:
    """Whether a label selector finds the pods of a template."""
    labels, further = template["metadata"]["labels"], selector.get("matchExpressions", ())
    assert {one["operator"] for one in further} <= {"In"}
    return bool(selector["matchLabels"].items() <= labels.items()) and all(
        labels.get(one["key"]) in one["values"] for one in further
    )


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[Json]:
    """What is rendered with everything asked for."""
    return render(tmp_path_factory.mktemp("everything"), EVERYTHING)


# --- rendering ---------------------------------------------------------------------------------------------------


def test_there_are_values_to_be_tried() -> None:
    assert {file.name for file in VALUES} == {"bare-values.yaml", "everything-values.yaml"}


@pytest.mark.parametrize("values", VALUES, ids=lambda file: file.stem)
def test_both_helms_lint_and_render_the_same_with(values: Path, tmp_path: Path) -> None:
    for major in HELM_MAJORS:
        done = run_helm(tmp_path, "lint", "--strict", CHART, f"--values={values}", major=major)
        assert done.returncode == 0, done.stdout + done.stderr
    third, fourth = (render(tmp_path, f"--values={values}", major=major) for major in HELM_MAJORS)
    assert third
    assert third == fourth


MISTAKES = [
    ("podMonitor.interval=often", "interval"),
    ("prometheusRule.runbookPrefix=no-slash", "runbookPrefix"),
    ("dashboard.label=x", "label"),
    ("networkPolicy.apiServerPorts[0]=0", "apiServerPorts"),
    ("flowSchema.matchingPrecedence=0", "matchingPrecedence"),
    ("operator.podDisruptionBudget.maxUnavailable=0", "maxUnavailable"),
    ("addressPools.required=perhaps", "required"),
    ("userRoles.aggregateToAdmin=false", "aggregateToAdmin"),
]


@pytest.mark.parametrize("major", HELM_MAJORS)
@pytest.mark.parametrize(("setting", "field"), MISTAKES)
def test_a_wrong_value_is_refused_and_named(tmp_path: Path, setting: str, field: str, major: int) -> None:
    done = run_helm(tmp_path, "template", RELEASE, CHART, f"--set={setting}", major=major)
    assert done.returncode != 0
    assert field in done.stderr


def test_nothing_of_others_comes_unasked(tmp_path: Path, everything: list[Json]) -> None:
    unasked = {one["kind"] for one in render(tmp_path)}
    assert not unasked & {"PodMonitor", "PrometheusRule", "NetworkPolicy", "FlowSchema"}
    assert "PodDisruptionBudget" in unasked
    of_others = {one["kind"] for one in everything if one["apiVersion"] == OF_OTHERS}
    assert of_others == {"PodMonitor", "PrometheusRule"}


def test_guards_are_of_the_operator_and_leave_agents_alone(tmp_path: Path, everything: list[Json]) -> None:
    operator, agent = (
        named(everything, "Deployment")["spec"]["template"],
        agents(everything, tmp_path)["spec"]["template"],
    )
    budget, policy = named(everything, "PodDisruptionBudget")["spec"], named(everything, "NetworkPolicy")["spec"]
    for selector in (budget["selector"], policy["podSelector"]):
        assert selects(selector, operator)
        assert not selects(selector, agent)
    uninstall = named(everything, "Job", f"{RELEASE}-uninstall")["spec"]["template"]
    assert selects(policy["podSelector"], uninstall)  # else it does not reach the API server where all is denied
    assert not selects(budget["selector"], uninstall)
    (ingress,) = policy["ingress"]
    names = {port["name"] for port in operator["spec"]["containers"][0]["ports"]}
    assert {port["port"] for port in ingress["ports"]} <= names
    asking = named(everything, "Pod", f"{RELEASE}-test")
    assert any(selects(one["podSelector"], asking) for one in ingress["from"] if "podSelector" in one)


@pytest.mark.parametrize("required", [False, True])
def test_the_operator_is_told_whether_a_pool_is_required(tmp_path: Path, required: bool) -> None:
    objects = render(tmp_path, f"--set=addressPools.required={str(required).lower()}")
    (container,) = named(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert read_settings(container["args"], {}).require_address_pool is required


def test_the_role_that_writes_is_there_whether_or_not_edit_and_admin_have_it(tmp_path: Path) -> None:
    def labels_and_rules(*options: str) -> tuple[set[str], Json]:
        role = named(render(tmp_path, *options), "ClusterRole", f"{RELEASE}-edit")
        aggregated = {name for name in role["metadata"]["labels"] if name.startswith("rbac.authorization.k8s.io/")}
        return {name.rpartition("-")[2] for name in aggregated}, role["rules"]

    labels, rules = labels_and_rules()
    assert labels == {"edit", "admin"}
    assert labels_and_rules("--set=userRoles.aggregateToEdit=false") == (set(), rules)
    view = named(render(tmp_path, "--set=userRoles.aggregateToEdit=false"), "ClusterRole", f"{RELEASE}-view")
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"


@pytest.mark.parametrize(
    ("options", "warned", "advised"),
    [
        ((), True, False),
        (("--set=addressPools.required=true",), False, True),
        (("--set=userRoles.aggregateToEdit=false",), False, False),
    ],
)
def test_who_installs_is_told_what_editors_may(
    tmp_path: Path, options: tuple[str, ...], warned: bool, advised: bool
) -> None:
    done = run_helm(tmp_path, "install", RELEASE, CHART, "--dry-run=client", *options)
    assert done.returncode == 0, done.stderr
    notes = done.stdout.rpartition("NOTES:")[2]
    assert ("whoever has the role edit in any namespace may take any address on every node" in notes) is warned
    assert ("nothing is permitted without one" in notes) is advised


def test_everybody_may_read_metrics_where_nobody_is_named(tmp_path: Path) -> None:
    (ingress,) = named(render(tmp_path, "--set=networkPolicy.enabled=true"), "NetworkPolicy")["spec"]["ingress"]
    assert "from" not in ingress


def relabelled(rules: list[Json], source: Mapping[str, str]) -> dict[str, str]:
    """Labels of a target after relabelling as Prometheus does it; empty where it is dropped."""
    labels = dict(source)
    for rule in rules:
        value = ";".join(labels.get(name, "") for name in rule.get("sourceLabels", ()))
        match = re.fullmatch(rule.get("regex", "(.*)"), value)
        if rule.get("action") == "keep":
            if match is None:
                return {}
        elif match is not None:
            labels[rule["targetLabel"]] = match.expand(rule.get("replacement", "$1").replace("$", "\\"))
    return labels


@pytest.mark.parametrize("listens", [":9999", "0.0.0.0:9999", "[::]:9999"])
@pytest.mark.parametrize(
    ("address", "target"), [("192.168.4.1", "192.168.4.1:9999"), ("fd00:4::1", "[fd00:4::1]:9999")]
)
def test_agents_are_scraped_where_they_listen(tmp_path: Path, address: str, target: str, listens: str) -> None:
    objects = render(tmp_path, EVERYTHING, f"--set=nodeAgent.metricsAddress={listens}")
    template = agents(objects, tmp_path)["spec"]["template"]
    monitor = named(objects, "PodMonitor", f"{RELEASE}-agent")["spec"]
    assert selects(monitor["selector"], template)
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is True
    assert f"--metrics-address={listens}" in template["spec"]["containers"][0]["args"]

    def scraped(container: str) -> dict[str, str]:
        meta = {"pod_ip": address, "pod_node_name": "n1", "pod_container_name": container}
        found = {f"__meta_kubernetes_{name}": value for name, value in meta.items()}
        return relabelled(endpoint["relabelings"], {**found, "__address__": address})

    labels = scraped(template["spec"]["containers"][0]["name"])
    assert (labels["__address__"], labels["job"], labels["node"]) == (target, "lvs-agent", "n1")
    assert scraped("another") == {}


def test_the_operator_is_scraped_where_it_listens(everything: list[Json]) -> None:
    template, monitor = named(everything, "Deployment")["spec"]["template"], named(everything, "PodMonitor")["spec"]
    assert selects(monitor["selector"], template)
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    assert relabelled(endpoint["relabelings"], {})["job"] == "lvs-operator"


def test_agents_without_metrics_are_not_scraped(tmp_path: Path) -> None:
    objects = render(tmp_path, EVERYTHING, "--set=nodeAgent.metricsAddress=")
    assert [one["metadata"]["name"] for one in objects if one["kind"] == "PodMonitor"] == [RELEASE]


def test_alerts_and_dashboard_are_the_files(everything: list[Json]) -> None:
    groups = deepcopy(named(everything, "PrometheusRule")["spec"]["groups"])
    file = yaml.safe_load((Path(CHART) / "files/alerts.yaml").read_text())["groups"]
    links = [rule["annotations"].pop("runbook_url") for group in groups for rule in group["rules"]]
    original = [rule["annotations"].pop("runbook_url") for group in file for rule in group["rules"]]
    assert groups == file
    assert links == [f"https://docs.example.com/lvs-operator/{link}" for link in original]
    dashboard = named(everything, "ConfigMap", f"{RELEASE}-dashboard")["data"]["lvs.json"]
    assert dashboard.strip() == (Path(CHART) / "files/dashboard.json").read_text().strip()


# --- at a real API server ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("options")) as made:
        yield made


def test_the_api_server_takes_what_is_of_its_own_kinds(scene: World, everything: list[Json]) -> None:
    wanted = {"PodDisruptionBudget", "NetworkPolicy", "FlowSchema", "ConfigMap", "Service", "Pod", "Deployment"}
    objects = [one for one in everything if one["kind"] in wanted]
    assert {one["kind"] for one in objects} == wanted
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": NAMESPACE}}
    flags = ("apply", "--server-side", "--validate=strict", "--filename=-")
    for documents, dry in (([account], "none"), (objects, "server")):
        done = scene.server.kubectl(*flags, f"--dry-run={dry}", stdin=yaml.safe_dump_all(documents))
        assert done.returncode == 0, done.stderr


def test_requests_of_operator_and_agents_have_their_own_flow(scene: World, everything: list[Json]) -> None:
    flow = named(everything, "FlowSchema")
    done = scene.server.kubectl("apply", "--server-side", "--filename=-", stdin=yaml.safe_dump(flow))
    assert done.returncode == 0, done.stderr

    def served() -> float:
        lines = scene.server.request("GET", "/metrics").message.splitlines()
        name = "apiserver_flowcontrol_dispatched_requests_total{"
        mine = [line for line in lines if line.startswith(name) and f'flow_schema="{RELEASE}"' in line]
        return sum(float(line.rpartition(" ")[2]) for line in mine)

    def dispatched() -> bool:
        before = served()
        for account in (OPERATOR, f"{RELEASE}-agent"):
            token = account_token(scene.server, account)
            path = "/apis/lvs-operator.io/v1alpha1/lvsserviceslices"
            scene.server.request("GET", path, token=token).raise_for_status()
        return served() >= before + 2

    scene.wait_until(dispatched, "the requests to pass by the FlowSchema")


def ask_ready(directory: Path, url: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run what the pod of `helm test` runs, at another address."""
    (container,) = named(render(directory), "Pod", f"{RELEASE}-test")["spec"]["containers"]
    python, dash, program = container["command"]
    assert (python, dash) == ("/usr/bin/python3", "-c")
    assert container["args"][0] == f"http://{RELEASE}.{NAMESPACE}.svc:8080/readyz"
    command = [sys.executable, dash, program, url, str(seconds)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_helm_test_passes_with_a_ready_operator_and_says_why_not_otherwise(scene: World, tmp_path: Path) -> None:
    with running_operator(scene.directory, scene.operator_kubeconfig, name="ready") as operator:
        done = ask_ready(tmp_path, f"http://127.0.0.1:{operator.port}/readyz", 30)
        assert (done.returncode, "200" in done.stdout) == (0, True), done.stderr
    done = ask_ready(tmp_path, f"http://127.0.0.1:{free_port()}/readyz", 0)
    assert done.returncode == 1
    assert "not ready within 0 s" in done.stderr
