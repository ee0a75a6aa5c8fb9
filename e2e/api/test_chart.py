"""The chart: rendered by real Helm, installed into a real API server; nodes are not needed for what is asked here."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lvs_agent.settings import Endpoint, parse_settings
from lvs_api.api_group import LABEL_NODE_AGENT, NODE_AGENT_WANTED
from lvs_api.kinds import ALL_KINDS
from lvs_operator.agent_daemonset import AgentDaemonSet, read_template
from lvs_operator.api_client import ApiClient, read_kubeconfig
from lvs_operator.settings import Listen, read_settings
from support.api_server import ApiServer, running_api_server
from support.chart_release import CHART, HELM_MAJORS, RELEASE, render, run_helm
from support.operator_process import NAMESPACE

Helm = Callable[..., subprocess.CompletedProcess[str]]


def only(objects: list[dict[str, Any]], kind: str, name: str | None = None) -> dict[str, Any]:
    """The one object of a kind, or of a kind and name."""
    (found,) = (one for one in objects if one["kind"] == kind and name in (None, one["metadata"]["name"]))
    return found


def agent_daemonset(objects: list[dict[str, Any]], directory: Path) -> Path:
    """The file that the operator's pod has mounted."""
    file = directory / "daemonset.yaml"
    file.write_text(only(objects, "ConfigMap")["data"]["daemonset.yaml"])
    return file


# --- rendering ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("major", HELM_MAJORS)
def test_helm_finds_nothing_to_complain_about(tmp_path: Path, major: int) -> None:
    assert run_helm(tmp_path, "version", "--short", major=major).stdout.startswith(f"v{major}.")
    done = run_helm(tmp_path, "lint", "--strict", CHART, major=major)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 chart(s) failed" in done.stdout


MISTAKES = [
    ("operater.replicas=1", "operater"),
    ("operator.replica=1", "replica"),
    ("operator.replicas=two", "replicas"),
    ("nodeAgent.image.pullPolicy=Sometimes", "pullPolicy"),
    ("nodeAgent.stateDirectory=relative", "stateDirectory"),
    ("nodeAgent.keepalived.directory=relative", "directory"),
    ("nodeAgent.metricsAddress=nowhere", "metricsAddress"),
    ("nodeAgent.wordPort=-1", "wordPort"),
    ("crds.keep=maybe", "keep"),
    ("directorGroup.nodes.selectors=x", "selectors"),
    ("operator.logLevel=loud", "logLevel"),
    ("admissionPolicies.enabled=perhaps", "enabled"),
    ("admissionPolicies.clusterController[0]=x", "clusterController"),
]


@pytest.mark.parametrize("major", HELM_MAJORS)
@pytest.mark.parametrize(("setting", "field"), MISTAKES)
def test_a_wrong_value_is_refused_and_named(tmp_path: Path, setting: str, field: str, major: int) -> None:
    done = run_helm(tmp_path, "template", RELEASE, CHART, f"--set={setting}", major=major)
    assert done.returncode != 0
    assert field in done.stderr


def test_crds_come_with_the_chart_or_not(tmp_path: Path) -> None:
    crds = [one for one in render(tmp_path) if one["kind"] == "CustomResourceDefinition"]
    assert len(crds) == len(ALL_KINDS)
    assert all(crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for crd in crds)
    going = [one for one in render(tmp_path, "--set=crds.keep=false") if one["kind"] == "CustomResourceDefinition"]
    assert all("annotations" not in crd["metadata"] for crd in going)
    assert not [
        one for one in render(tmp_path, "--set=crds.enabled=false") if one["kind"] == "CustomResourceDefinition"
    ]


def test_the_programs_understand_the_arguments_they_are_given(tmp_path: Path) -> None:
    objects = render(tmp_path)
    operator = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    settings = read_settings(operator["args"], {one["name"]: one["value"] for one in operator["env"]})
    # Of whichever family a pod's and a Node's first address is, they listen there.
    assert settings.listen == Listen(host="", port=operator["ports"][0]["containerPort"])
    assert str(settings.agent_daemonset_file).startswith(operator["volumeMounts"][0]["mountPath"])
    template = read_template(agent_daemonset(objects, tmp_path), NAMESPACE)
    agent = template["spec"]["template"]["spec"]["containers"][0]
    parsed = parse_settings([argument.replace("$(NODE_NAME)", "n1") for argument in agent["args"]])
    assert (parsed.verb, parsed.node_name, parsed.namespace) == ("run", "n1", NAMESPACE)
    assert parsed.health is not None
    assert parsed.health.host == "127.0.0.1"
    assert {agent[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")} == {
        parsed.health.port
    }
    assert [str(parsed.state_dir), str(parsed.vrrp_dir)] == [mount["mountPath"] for mount in agent["volumeMounts"]]
    daemon = template["spec"]["template"]["spec"]["containers"][1]
    started = parse_settings([argument.replace("$(NODE_NAME)", "n1") for argument in daemon["args"]])
    assert (started.verb, started.vrrp_dir) == ("vrrp", parsed.vrrp_dir)
    assert str(started.vrrp_dir) == daemon["volumeMounts"][0]["mountPath"]
    assert (parsed.word, parsed.shows_connections) == (Endpoint(host="", port=9462), False)
    assert parsed.metrics == Endpoint(host="", port=9460)
    changed = ("--set=nodeAgent.wordPort=0", "--set=nodeAgent.showConnections=true")
    other = read_template(agent_daemonset(render(tmp_path, *changed), tmp_path), NAMESPACE)
    arguments = other["spec"]["template"]["spec"]["containers"][0]["args"]
    parsed = parse_settings([argument.replace("$(NODE_NAME)", "n1") for argument in arguments])
    assert (parsed.word, parsed.shows_connections) == (None, True)


def test_nothing_is_restarted_for_being_slow(tmp_path: Path) -> None:
    objects = render(tmp_path)
    agent = read_template(agent_daemonset(objects, tmp_path), NAMESPACE)["spec"]["template"]["spec"]["containers"][0]
    operator = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    for container in (agent, operator):
        probe = container["livenessProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 120
        assert probe["timeoutSeconds"] >= 15


def test_agents_run_where_the_operator_wants_them_and_nothing_else_is_privileged(tmp_path: Path) -> None:
    objects = render(tmp_path)
    pod = read_template(agent_daemonset(objects, tmp_path), NAMESPACE)["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {LABEL_NODE_AGENT: NODE_AGENT_WANTED}
    assert pod["hostNetwork"] is True
    contexts = {one["name"]: one["securityContext"] for one in pod["containers"]}
    assert {name: one["readOnlyRootFilesystem"] for name, one in contexts.items()} == {"agent": True, "vrrp": True}
    assert {name for name, one in contexts.items() if one.get("privileged")} == {"agent"}
    operator = only(objects, "Deployment")["spec"]["template"]["spec"]
    assert operator["securityContext"]["runAsNonRoot"] is True
    (container,) = operator["containers"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "hostNetwork" not in operator


def test_what_shares_a_directory_of_the_node_is_unconfined_by_selinux(tmp_path: Path) -> None:
    """A container of type container_t may not touch what a privileged one, of type spc_t, has written there."""
    objects = render(tmp_path)
    pods = [read_template(agent_daemonset(objects, tmp_path), NAMESPACE)["spec"]["template"]["spec"]]
    pods += [one["spec"]["template"]["spec"] for one in objects if one["kind"] in {"Deployment", "Job"}]
    pods += [one["spec"] for one in objects if one["kind"] == "Pod"]
    assert len(pods) == 4
    sharing = [
        (container["name"], container["securityContext"])
        for pod in pods
        for container in (*pod.get("initContainers", ()), *pod["containers"])
        if {mount["name"] for mount in container.get("volumeMounts", ())}
        & {volume["name"] for volume in pod.get("volumes", ()) if "hostPath" in volume}
    ]
    assert {name for name, _ in sharing} == {"agent", "vrrp"}
    confined = [
        name
        for name, context in sharing
        if not context.get("privileged") and context.get("seLinuxOptions") != {"type": "spc_t"}
    ]
    assert confined == []


# --- a release in a real API server ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server of our own: other tests put CRDs into theirs."""
    with running_api_server(tmp_path_factory.mktemp("chart"), extra_flags=("--allow-privileged=true",)) as server:
        yield server


@pytest.fixture(scope="module")
def helm(cluster: ApiServer) -> Helm:
    """Helm at that API server; it must succeed."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = run_helm(cluster.directory, *arguments, environment={"KUBECONFIG": str(cluster.kubeconfig)})
        assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def release(helm: Helm) -> str:
    """The chart, installed as a newcomer does, without waiting for pods that no node runs."""
    helm("install", RELEASE, CHART, f"--namespace={NAMESPACE}", "--create-namespace")
    return RELEASE


def get(cluster: ApiServer, *arguments: str) -> dict[str, Any]:
    """What kubectl gets."""
    done = cluster.kubectl("get", *arguments, "--output=json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def can(cluster: ApiServer, who: str, verb: str, resource: str, *, namespace: str = "default") -> bool:
    """Whether a ServiceAccount of the release may do it."""
    account = f"system:serviceaccount:{NAMESPACE}:{who}"
    name, slash, status = resource.partition("/status")
    part = ["--subresource=status"] if slash and not status else []
    done = cluster.kubectl("auth", "can-i", verb, name, *part, f"--as={account}", f"--namespace={namespace}")
    assert done.stdout.strip() in {"yes", "no"}, done.stderr
    return done.stdout.strip() == "yes"


@pytest.mark.usefixtures("release")
def test_the_default_director_group_is_there_after_the_first_install(cluster: ApiServer) -> None:
    group = get(cluster, "lvsdirectorgroup", "default")
    assert group["spec"]["nodes"]["selector"]["matchLabels"] == {"lvs-operator.io/role": "director"}


OPERATOR_MAY = [
    ("watch", "nodes", "default"),
    ("patch", "nodes", "default"),
    ("list", "lvsvirtualservices.lvs-operator.io", "default"),
    ("patch", "lvsvirtualservices.lvs-operator.io/status", "default"),
    ("patch", "lvsrealserverpools.lvs-operator.io", "default"),  # what it made of Services: a policy sees to that
    ("patch", "services/status", "shop"),
    ("patch", "lvsdirectorgroups.lvs-operator.io/status", "default"),
    ("create", "lvsserviceslices.lvs-operator.io", "default"),
    ("delete", "lvsnodes.lvs-operator.io", "default"),
    ("update", "leases.coordination.k8s.io", NAMESPACE),
    ("patch", f"daemonsets.apps/{RELEASE}-agent", NAMESPACE),
    ("create", "events", "shop"),
    ("patch", "events", "default"),
]
OPERATOR_MAY_NOT = [
    ("update", "lvsvirtualservices.lvs-operator.io", "default"),
    ("patch", "services", "default"),
    ("create", "lvsaddresspools.lvs-operator.io", "default"),
    ("delete", "lvsdirectorgroups.lvs-operator.io", "default"),
    ("patch", "lvsnodes.lvs-operator.io/status", "default"),
    ("get", "secrets", NAMESPACE),
    ("list", "events", "default"),
    ("create", "pods", NAMESPACE),
    ("delete", "nodes", "default"),
    ("update", "leases.coordination.k8s.io", "kube-system"),
    ("patch", "daemonsets.apps/another", NAMESPACE),
]
AGENT_MAY = [
    ("watch", "lvsserviceslices.lvs-operator.io", "default"),
    ("watch", "lvsnodes.lvs-operator.io", "default"),
    ("list", "lvsdirectorgroups.lvs-operator.io", "default"),
    ("patch", "lvsnodes.lvs-operator.io/status", "default"),
    ("get", "namespaces/kube-system", "default"),
    ("patch", "leases.coordination.k8s.io", NAMESPACE),
    ("create", "events", "default"),
    ("patch", "events", "default"),
]
AGENT_MAY_NOT = [
    ("create", "events", "shop"),
    ("patch", "lvsnodes.lvs-operator.io", "default"),
    ("create", "lvsnodes.lvs-operator.io", "default"),
    ("patch", "lvsserviceslices.lvs-operator.io", "default"),
    ("list", "lvsvirtualservices.lvs-operator.io", "default"),
    ("get", "nodes", "default"),
    ("list", "secrets", NAMESPACE),
    ("patch", "leases.coordination.k8s.io", "kube-node-lease"),
    ("create", "pods", NAMESPACE),
]


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize(
    ("who", "allowed", "rights"),
    [
        (RELEASE, True, OPERATOR_MAY),
        (RELEASE, False, OPERATOR_MAY_NOT),
        (f"{RELEASE}-agent", True, AGENT_MAY),
        (f"{RELEASE}-agent", False, AGENT_MAY_NOT),
    ],
)
def test_rights_are_what_each_needs_and_no_more(
    cluster: ApiServer, who: str, allowed: bool, rights: list[tuple[str, str, str]]
) -> None:
    wrong = [right for right in rights if can(cluster, who, right[0], right[1], namespace=right[2]) is not allowed]
    assert wrong == []


@pytest.mark.usefixtures("release")
async def test_the_operator_applies_the_agents_daemonset_once(cluster: ApiServer, tmp_path: Path) -> None:
    file = tmp_path / "daemonset.yaml"
    file.write_text(
        get(cluster, "configmap", f"{RELEASE}-agent-daemonset", f"--namespace={NAMESPACE}")["data"][file.name]
    )
    async with ApiClient(read_kubeconfig(cluster.kubeconfig)) as client:
        daemonset = AgentDaemonSet(client, file, NAMESPACE, lambda: None)
        assert await daemonset.ensure() is True
        assert await daemonset.ensure() is False
    found = get(cluster, "daemonset", f"{RELEASE}-agent", f"--namespace={NAMESPACE}")
    pod = found["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == f"{RELEASE}-agent"
    labels = {one["name"]: one["securityContext"].get("seLinuxOptions") for one in pod["containers"]}
    assert labels == {"agent": None, "vrrp": {"type": "spc_t"}}


def test_a_rollback_to_the_first_revision_leaves_the_director_group(
    cluster: ApiServer, helm: Helm, release: str
) -> None:
    before = get(cluster, "lvsdirectorgroup", "default")
    for words in (("upgrade", release, CHART), ("rollback", release, "1"), ("upgrade", release, CHART)):
        helm(*words, f"--namespace={NAMESPACE}")
        group = get(cluster, "lvsdirectorgroup", "default")
        assert (group["metadata"]["uid"], group["spec"]) == (before["metadata"]["uid"], before["spec"])


def test_an_upgrade_takes_the_director_group_over_and_uninstalling_leaves_it_and_the_crds(
    cluster: ApiServer, helm: Helm, release: str
) -> None:
    uid = get(cluster, "lvsdirectorgroup", "default")["metadata"]["uid"]
    values = ("interface=bond0", "timeouts.tcpSeconds=30", "sysctls.conntrack=false", "connectionSync.interface=bond1")
    more = ("connectionSync.syncId=7", "failover=VRRP", "vrrp.advertIntervalMilliseconds=200")
    ignored = "ignoreAnswersFrom={02:00:5e:00:01:af}"
    said = [f"--set=directorGroup.{value}" for value in (*values, *more, ignored)]
    by_hand = ("patch", "lvsdirectorgroup", "default", "--type=merge", '--patch={"spec": {"maintenance": ["lb1"]}}')
    assert cluster.kubectl(*by_hand).returncode == 0
    helm("upgrade", release, CHART, f"--namespace={NAMESPACE}", *said)
    group = get(cluster, "lvsdirectorgroup", "default")
    assert group["metadata"]["uid"] == uid
    assert group["spec"]["interface"] == "bond0"
    assert group["spec"]["maintenance"] == ["lb1"]
    assert group["spec"]["timeouts"] == {"tcpSeconds": 30}
    assert group["spec"]["ignoreAnswersFrom"] == ["02:00:5e:00:01:af"]
    assert group["spec"]["sysctls"] == {"conntrack": False}
    assert (group["spec"]["failover"], group["spec"]["vrrp"]["advertIntervalMilliseconds"]) == ("VRRP", 200)
    sync = group["spec"]["connectionSync"]
    assert (sync["interface"], sync["syncId"], sync["multicastGroup"]) == ("bond1", 7, "224.0.0.81")
    helm("uninstall", release, f"--namespace={NAMESPACE}", "--no-hooks")  # nobody runs Jobs here
    assert cluster.kubectl("get", "lvsdirectorgroups").returncode == 0
    assert not get(cluster, "deployments", f"--namespace={NAMESPACE}")["items"]
    helm("install", release, CHART, f"--namespace={NAMESPACE}")
    assert get(cluster, "lvsdirectorgroup", "default")["spec"].get("interface") is None
