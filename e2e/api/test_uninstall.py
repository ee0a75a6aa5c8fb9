"""Uninstalling in the right order and in others: what the hook of `helm uninstall` does, and what Helm does with it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from lvs_api.api_group import GROUP, LABEL_NODE_AGENT, LOAD_BALANCER_CLASS
from lvs_api.conditions import Reason
from lvs_api.kinds import ALL_KINDS, DIRECTOR_GROUP, NODE, REAL_SERVER_POOL, SERVICE_SLICE, VIRTUAL_SERVICE
from lvs_api.lvs_node import ServiceException
from lvs_api.testing import address_pool, director_group, real_server_pool, virtual_service
from lvs_operator.agent_daemonset import read_template
from support.api_server import ApiServer, running_api_server
from support.chart_release import CHART, HELM_MAJORS, RELEASE, account_token, helm_command, render, run_helm
from support.operator_process import NAMESPACE, running_operator
from support.operator_world import DIRECTORS, SERVERS, World, world

ACCOUNT: Final = f"{RELEASE}-uninstall"
HOOK_SECONDS: Final = 90.0
OWN: Final = ",".join(f"{kind.plural}.{GROUP}" for kind in ALL_KINDS)
OF_THE_RELEASE: Final = (
    "deployments,daemonsets,configmaps,services,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,jobs,"
    "leases,validatingadmissionpolicies,validatingadmissionpolicybindings,poddisruptionbudgets"
)
MINE: Final = f"--selector=app.kubernetes.io/instance={RELEASE}"
Json = dict[str, Any]


def kubectl(server: ApiServer, *arguments: str, stdin: str | None = None) -> str:
    done = server.kubectl(*arguments, stdin=stdin)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def hooks(directory: Path, *options: str) -> list[Json]:
    """What Helm makes before it uninstalls."""
    return [one for one in render(directory, *options) if hook_of(one) == "pre-delete"]


def hook_of(raw: Json) -> str:
    return str(raw["metadata"].get("annotations", {}).get("helm.sh/hook", ""))


def with_finalizers(server: ApiServer, *kinds: str) -> list[str]:
    """Objects that somebody would have to be there for to let go."""
    found = [json.loads(kubectl(server, "get", kind, "--all-namespaces", "--output=json")) for kind in kinds]
    items = [item for one in found for item in one["items"]]
    assert items
    return [f"{one['kind']} {one['metadata']['name']}" for one in items if one["metadata"].get("finalizers")]


# --- what the Job runs ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A world with an operator, the chart's Deployment and DaemonSet as objects, and the rights of the hook."""

    world: World
    kubeconfig: Path
    arguments: tuple[str, ...]

    @property
    def server(self) -> ApiServer:
        return self.world.server

    def start(self, *, seconds: float = HOOK_SECONDS, kubeconfig: Path | None = None) -> subprocess.Popen[str]:
        """The Job's program, as its pod runs it."""
        given = [one for one in self.arguments if not one.startswith("--seconds=")]
        command = [sys.executable, "-m", "lvs_operator.uninstall", *given, f"--seconds={seconds}"]
        return subprocess.Popen(
            [*command, f"--kubeconfig={kubeconfig or self.kubeconfig}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *, seconds: float = HOOK_SECONDS, kubeconfig: Path | None = None) -> tuple[int, str]:
        """Exit code, and all that it said."""
        process = self.start(seconds=seconds, kubeconfig=kubeconfig)
        said, wrong = process.communicate(timeout=HOOK_SECONDS * 2)
        return process.returncode, said + wrong

    def scale(self) -> int:
        """How many replicas of the operator are wanted."""
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{RELEASE}"
        return int(self.server.request("GET", path).raise_for_status()["spec"]["replicas"])

    def daemonset(self) -> int:
        """The HTTP status of asking for it."""
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/{RELEASE}-agent"
        return self.server.request("GET", path).status

    def labelled(self) -> set[str]:
        """The Nodes on which agents run."""
        body = self.server.request("GET", f"/api/v1/nodes?labelSelector={LABEL_NODE_AGENT}").raise_for_status()
        return {node["metadata"]["name"] for node in body["items"]}

    def untouched(self) -> bool:
        """Whether a refused attempt has left everything as it was."""
        return (self.scale(), self.daemonset(), bool(self.world.names(DIRECTOR_GROUP))) == (2, 200, True)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with world(tmp_path, policies=True, extra_flags=("--allow-privileged=true",)) as made:
        found = hooks(tmp_path)
        (job,) = [one for one in found if one["kind"] == "Job"]
        file = tmp_path / "daemonset.yaml"
        rendered = render(tmp_path)
        (template,) = [one for one in rendered if one["kind"] == "ConfigMap"]
        file.write_text(template["data"][file.name])
        objects = [
            *(one for one in found if one["kind"] != "Job"),
            *(one for one in rendered if one["kind"] == "Deployment"),
            read_template(file, NAMESPACE),
        ]
        kubectl(made.server, "apply", "--server-side", "--filename=-", stdin=yaml.safe_dump_all(objects))
        token = account_token(made.server, ACCOUNT)
        with running_operator(tmp_path, made.operator_kubeconfig, "--check-seconds=5", "--count-seconds=1"):
            yield Scene(
                world=made,
                kubeconfig=made.server.write_kubeconfig(tmp_path / "uninstall.kubeconfig", token=token),
                arguments=tuple(job["spec"]["template"]["spec"]["containers"][0]["args"]),
            )


def started(scene: World) -> tuple[Json, Json]:
    """A service that is Ready."""
    service, pool = scene.create_web()
    scene.wait_condition(service, "Ready", "True", "Ready")
    return service, pool


def test_nobodys_traffic_is_taken_away_by_an_uninstall(scene: Scene) -> None:
    service, _ = started(scene.world)
    before = scene.world.generated()
    code, said = scene.run()
    assert (code, "LvsVirtualServices: default/web." in said) == (1, True), said
    assert "kubectl delete lvsvirtualservices --all --all-namespaces" in said
    assert scene.untouched()
    assert scene.world.generated() == before

    scene.server.delete(service).raise_for_status()
    scene.server.create(director_group("edge")).raise_for_status()
    code, said = scene.run()
    assert (code, "LvsDirectorGroups that are none of this release's values: edge." in said) == (1, True), said
    assert scene.untouched()


def test_services_of_type_load_balancer_are_named(scene: Scene) -> None:
    scene.server.create(address_pool()).raise_for_status()
    spec = {"type": "LoadBalancer", "loadBalancerClass": LOAD_BALANCER_CLASS, "ports": [{"port": 80}]}
    services = "/api/v1/namespaces/default/services"
    scene.server.request("POST", services, {"metadata": {"name": "web"}, "spec": spec}).raise_for_status()
    scene.world.wait_until(lambda: scene.world.names(VIRTUAL_SERVICE), "a virtual service to be made")
    code, said = scene.run()
    assert (code, f"Services of type LoadBalancer and class {LOAD_BALANCER_CLASS}: default/web." in said) == (
        1,
        True,
    ), said
    assert scene.untouched()
    scene.server.request("DELETE", f"{services}/web").raise_for_status()
    scene.world.wait_until(lambda: not scene.world.names(VIRTUAL_SERVICE), "it to go")
    assert scene.run()[0] == 0


def test_nodes_are_clean_before_the_operator_goes(scene: Scene) -> None:
    service, _ = started(scene.world)
    assert scene.labelled() == {*DIRECTORS, *SERVERS}
    assert with_finalizers(scene.server, *(kind.plural for kind in ALL_KINDS)) == []
    last = ServiceException(
        namespace="default",
        name="web",
        reason=Reason.MEMBERS_NOT_READY,
        message="draining",
        programmed=True,
        draining=1,
    )
    scene.world.agents.exceptions = {"d1": [last]}
    scene.server.delete(service).raise_for_status()
    process = scene.start()
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert "d1" in next(line for line in lines if "let go of deleted services" in line)
    assert scene.untouched()
    scene.world.agents.exceptions = {}
    said, wrong = process.communicate(timeout=HOOK_SECONDS * 2)
    assert (process.returncode, wrong) == (0, ""), said + wrong
    assert said.endswith("No node holds anything any more.\n")
    assert scene.labelled() == set()
    assert [scene.world.names(kind) for kind in (NODE, SERVICE_SLICE, DIRECTOR_GROUP)] == [set(), set(), set()]
    assert (scene.scale(), scene.daemonset()) == (0, 404)
    assert scene.world.names(REAL_SERVER_POOL) == {"web"}
    assert scene.run()[0] == 0  # again, as after an uninstall that Helm did not end


def test_who_does_not_answer_is_named_when_the_time_is_over(scene: Scene) -> None:
    service, _ = started(scene.world)
    scene.world.agents.silent = {"s1"}
    scene.server.delete(service).raise_for_status()
    code, said = scene.run(seconds=6)
    assert (code, "Not done within 6 s, still waiting for" in said) == (1, True), said
    assert "s1." in said
    assert "lvs-agent cleanup" in said
    assert scene.untouched()


def test_without_rights_or_kinds_it_says_so_at_once(scene: Scene, tmp_path: Path) -> None:
    token = account_token(scene.server, f"{RELEASE}-agent")
    other = scene.server.write_kubeconfig(tmp_path / "other.kubeconfig", token=token)
    code, said = scene.run(kubeconfig=other)
    assert (code, "403" in said, "lvsvirtualservices" in said) == (1, True, True), said
    # CRDs first: all objects go with them, for nobody has to let them go.
    started(scene.world)
    names = [f"crd/{kind.plural}.{GROUP}" for kind in ALL_KINDS]
    kubectl(scene.server, "delete", "--wait", "--timeout=50s", *names)
    code, said = scene.run()
    assert (code, "does not know lvsvirtualservices" in said) == (1, True), said
    assert (scene.scale(), scene.daemonset()) == (2, 200)


# --- what Helm does with it ----------------------------------------------------------------------------------------


def test_its_rights_are_there_only_while_helm_uninstalls(tmp_path: Path) -> None:
    found = hooks(tmp_path)
    assert {one["kind"] for one in found} == {
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "Job",
    }
    weights = {one["kind"]: int(one["metadata"]["annotations"]["helm.sh/hook-weight"]) for one in found}
    assert max(weight for kind, weight in weights.items() if kind != "Job") < weights["Job"]
    assert hooks(tmp_path, "--set=uninstall.drain.enabled=false") == []
    (job,) = [one for one in found if one["kind"] == "Job"]
    assert job["spec"]["activeDeadlineSeconds"] < 300  # what Helm waits for


def test_it_reaches_the_api_server_as_the_operator_does(tmp_path: Path) -> None:
    host = {"name": "KUBERNETES_SERVICE_HOST", "value": "192.0.2.1"}
    found = render(tmp_path, f"--set-json=operator.extraEnv=[{json.dumps(host)}]")
    (job,) = [one for one in found if one["kind"] == "Job"]
    (deployment,) = [one for one in found if one["kind"] == "Deployment"]
    for one in (job, deployment):
        (container,) = one["spec"]["template"]["spec"]["containers"]
        assert host in container["env"]
    (job,) = [one for one in hooks(tmp_path) if one["kind"] == "Job"]
    assert "env" not in job["spec"]["template"]["spec"]["containers"][0]


def test_it_runs_where_the_operator_may(tmp_path: Path) -> None:
    term = {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    values = json.dumps({"nodeAffinity": required, "podAntiAffinity": {}})
    (job,) = [one for one in hooks(tmp_path, f"--set-json=operator.affinity={values}") if one["kind"] == "Job"]
    affinity = job["spec"]["template"]["spec"]["affinity"]
    assert affinity["nodeAffinity"] == required
    assert affinity.keys() == {"nodeAffinity", "podAffinity"}


Helm = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    """A release in an API server where nobody runs Jobs."""

    server: ApiServer
    major: int

    def helm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_helm(self.server.directory, *arguments, environment=self._environment, major=self.major)

    def start_uninstall(self) -> subprocess.Popen[str]:
        """`helm uninstall`, which waits for its hook."""
        command, environment = helm_command(
            self.server.directory,
            *("uninstall", RELEASE, f"--namespace={NAMESPACE}", "--timeout=60s"),
            environment=self._environment,
            major=self.major,
        )
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @property
    def _environment(self) -> dict[str, str]:
        return {"KUBECONFIG": str(self.server.kubeconfig)}

    def status(self) -> str:
        """What Helm calls the release."""
        done = self.helm("status", RELEASE, f"--namespace={NAMESPACE}", "--output=json")
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["info"]["status"])

    def end_job(self, *conditions: str) -> None:
        """Be the controller that says how the Job ended; it is there soon."""
        time = "2030-01-01T00:00:00Z"
        said = [
            {"type": one, "status": "True", "reason": "Test", "lastProbeTime": time, "lastTransitionTime": time}
            for one in conditions
        ]
        counts = {"succeeded": 1, "completionTime": time} if "Complete" in conditions else {"failed": 1}
        patch = {"status": {"startTime": time, "conditions": said, **counts}}
        flags = (f"--namespace={NAMESPACE}", f"job/{ACCOUNT}")
        kubectl(self.server, "wait", "--for=create", "--timeout=30s", *flags)
        kubectl(self.server, "patch", "--subresource=status", "--type=merge", f"--patch={json.dumps(patch)}", *flags)

    def left(self, *kinds: str) -> list[str]:
        """What is there of the release."""
        return kubectl(self.server, "get", *kinds, MINE, "--all-namespaces", "--output=name").split()


@pytest.fixture(params=HELM_MAJORS)
def installed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installed]:
    with running_api_server(tmp_path, extra_flags=("--allow-privileged=true",)) as server:
        made = Installed(server=server, major=request.param)
        done = made.helm("install", RELEASE, CHART, f"--namespace={NAMESPACE}", "--create-namespace")
        assert done.returncode == 0, done.stderr
        yield made


def test_helm_uninstalls_when_the_nodes_are_clean(installed: Installed) -> None:
    assert with_finalizers(installed.server, OF_THE_RELEASE, DIRECTOR_GROUP.plural) == []
    process = installed.start_uninstall()
    installed.end_job("SuccessCriteriaMet", "Complete")
    _, wrong = process.communicate(timeout=120)
    assert process.returncode == 0, wrong
    assert installed.left(OF_THE_RELEASE) == []


def test_a_refused_uninstall_is_taken_back_tried_again_or_done_without(installed: Installed) -> None:
    server = installed.server
    for one in (real_server_pool("web"), virtual_service("web")):
        server.create(one).raise_for_status()
    process = installed.start_uninstall()
    installed.end_job("FailureTarget", "Failed")
    _, wrong = process.communicate(timeout=120)
    assert (process.returncode, ACCOUNT in wrong) == (1, True), wrong
    assert installed.status() == "uninstalling"
    assert f"deployment.apps/{RELEASE}" in installed.left(OF_THE_RELEASE)

    done = installed.helm("rollback", RELEASE, "1", f"--namespace={NAMESPACE}")
    assert done.returncode == 0, done.stderr
    assert installed.status() == "deployed"

    # The image cannot be pulled, say: nobody tells of the Job, and Helm stops waiting.
    done = installed.helm("uninstall", RELEASE, f"--namespace={NAMESPACE}", "--timeout=3s")
    assert done.returncode == 1, done.stdout
    done = installed.helm("uninstall", RELEASE, f"--namespace={NAMESPACE}", "--no-hooks")
    assert done.returncode == 0, done.stderr
    assert installed.left("deployments,configmaps,validatingadmissionpolicies,poddisruptionbudgets") == []

    # The operator first, then the objects: all of them can go.
    assert [one["metadata"]["name"] for one in listed(server, VIRTUAL_SERVICE.plural)] == ["web"]
    kubectl(server, "delete", "--wait", "--timeout=50s", "--all", "--all-namespaces", VIRTUAL_SERVICE.plural)
    kubectl(server, "delete", "--wait", "--timeout=50s", *(f"crd/{kind.plural}.{GROUP}" for kind in ALL_KINDS))


def listed(server: ApiServer, kind: str) -> list[Json]:
    items: list[Json] = json.loads(kubectl(server, "get", kind, "--all-namespaces", "--output=json"))["items"]
    return items
