"""Who may write what: the chart's policies in a real API server, real tokens, everybody with every right of RBAC."""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lvs_api.api_group import GROUP, LOAD_BALANCER_CLASS
from lvs_api.kinds import ALL_KINDS, VIRTUAL_SERVICE
from lvs_api.testing import address_pool, director_group, lvs_node, real_server_pool, service_slice, virtual_service
from lvs_lab.waiting import wait_for
from support.api_server import MERGE, ApiServer, collection_path, object_path, running_api_server
from support.chart_release import (
    CHART,
    OPERATOR,
    POLICIES,
    RELEASE,
    RIGHTS,
    account_token,
    install_parts,
    render,
    run_helm,
)
from support.guarded_requests import (
    ACCEPTED,
    ALL,
    BALANCED,
    CORE_SERVICES,
    ELSEWHERE,
    FORMER,
    MADE,
    NODES,
    OF_OTHERS,
    SLICE,
    TEAM,
    WRITERS,
    Account,
    Guarded,
    pod_name,
    requests,
)
from support.operator_process import NAMESPACE

REQUESTS = requests()
SECONDS = 30.0
FORBIDDEN = 403
CONTROLLERS = (
    "garbage-collector-controller",
    "namespace-controller",
    "clusterrole-aggregation-controller",
    "validatingadmissionpolicy-status-controller",
)
GENERATED = ("lvsserviceslices", "lvsnodes", "lvsnodes/status")
WRITES = ("create", "update", "patch", "delete", "deletecollection")
Json = dict[str, Any]
Tokens = Mapping[str, str]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server with the policies in force, in which every ServiceAccount has every right."""
    with running_api_server(tmp_path_factory.mktemp("admission")) as server:
        server.install_crds()
        for namespace in (NAMESPACE, TEAM, ELSEWHERE):
            make_namespace(server, namespace)
        for node in NODES:
            server.request("POST", "/api/v1/nodes", {"metadata": {"name": node}}).raise_for_status()
        install_parts(server, RIGHTS | POLICIES)
        everything = {
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:serviceaccounts"}],
            "metadata": {"name": "everything-for-everybody"},
        }
        path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
        server.request("POST", path, everything).raise_for_status()
        yield server


@pytest.fixture(scope="module")
def tokens(cluster: ApiServer) -> Tokens:
    """A token of each writer."""
    accounts = [account for account in WRITERS.values() if account]
    for name, namespace in sorted({(one.name, one.namespace) for one in accounts if one.namespace != NAMESPACE}):
        make_account(cluster, name, namespace)
    make_account(cluster, "default", NAMESPACE)
    for account in accounts:
        if account.pod_on:
            make_pod(cluster, account, account.pod_on)
    return {name: account.token(cluster) if account else cluster.token for name, account in WRITERS.items()}


@pytest.fixture(scope="module")
def objects(cluster: ApiServer, tokens: Tokens) -> None:
    """What the requests are about, each made by who may; afterwards every policy is in force."""
    of_nobody = (director_group("web"), address_pool("web"))
    for raw in (real_server_pool(namespace=TEAM), virtual_service(namespace=TEAM), MADE, *of_nobody):
        cluster.create(raw).raise_for_status()
    for name, balancer in ((BALANCED, LOAD_BALANCER_CLASS), (OF_OTHERS, "example.org/lb"), (FORMER, "example.org/lb")):
        spec = {"type": "LoadBalancer", "loadBalancerClass": balancer, "ports": [{"port": 80}]}
        cluster.request("POST", CORE_SERVICES, {"metadata": {"name": name}, "spec": spec}).raise_for_status()
    said = {"status": {"conditions": [{**ACCEPTED, "type": f"{GROUP}/Accepted"}]}}
    cluster.request("PATCH", f"{CORE_SERVICES}/{FORMER}/status", said, content_type=MERGE).raise_for_status()
    for raw in (SLICE, *(lvs_node(node) for node in NODES)):
        # Rights take a moment to be known, like policies.
        wait_for(partial(create_as, cluster, tokens["operator"], raw), SECONDS, "the operator to have its rights")
    for name, guarded in REQUESTS.items():
        for writer in sorted(ALL - guarded.may)[:1]:
            wait_for(partial(refuses, cluster, guarded, tokens[writer]), SECONDS, f"{writer} to be refused to {name}")


def refuses(server: ApiServer, guarded: Guarded, token: str) -> bool:
    """Whether a policy, not a missing right, forbids a request."""
    answer = guarded.send(server, token)
    return answer.status == FORBIDDEN and "ValidatingAdmissionPolicy" in answer.message


def make_namespace(server: ApiServer, name: str) -> None:
    server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}}).raise_for_status()


def make_account(server: ApiServer, name: str, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    server.request("POST", path, {"metadata": {"name": name}}).raise_for_status()


def make_pod(server: ApiServer, account: Account, node: str) -> None:
    pod = {
        "metadata": {"name": pod_name(account.name, node)},
        "spec": {
            "nodeName": node,
            "serviceAccountName": account.name,
            "containers": [{"name": "program", "image": "example.com/program"}],
        },
    }
    server.request("POST", f"/api/v1/namespaces/{account.namespace}/pods", pod).raise_for_status()


def create_as(server: ApiServer, token: str, raw: Json) -> Json:
    """An object as the API server made it."""
    given = {"uid", "resourceVersion", "generation", "creationTimestamp"}
    metadata = {name: value for name, value in raw["metadata"].items() if name not in given}
    return server.request("POST", collection_path(raw), raw | {"metadata": metadata}, token=token).raise_for_status()


# --- the table ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("objects")
@pytest.mark.parametrize("name", REQUESTS)
def test_only_who_may_is_let(cluster: ApiServer, tokens: Tokens, name: str) -> None:
    guarded = REQUESTS[name]
    answers = {writer: guarded.send(cluster, token) for writer, token in tokens.items()}
    assert {writer for writer, answer in answers.items() if answer.status < 300} == guarded.may
    for writer in ALL - guarded.may:
        answer = answers[writer]
        assert answer.status == FORBIDDEN
        assert f"ValidatingAdmissionPolicy '{RELEASE}-{guarded.policy}'" in answer.message
        assert user_name(writer) in answer.message
        assert guarded.advice in answer.message


def user_name(writer: str) -> str:
    account = WRITERS[writer]
    return f"system:serviceaccount:{account.namespace}:{account.name}" if account else "admin"


def test_the_table_has_every_kind_and_every_policy(tmp_path: Path) -> None:
    """So that none that is added later goes without."""
    assert sum(len(ALL - one.may) for one in REQUESTS.values()) >= 40
    assert sum(len(one.may) for one in REQUESTS.values()) >= 40
    guarded = {one.path for one in REQUESTS.values() if one.may != ALL}
    for kind in ALL_KINDS:
        assert kind.has_status or any(f"/{kind.plural}/" in path for path in guarded)
        assert not kind.has_status or any(f"/{kind.plural}/" in path and path.endswith("/status") for path in guarded)
    names = {one["metadata"]["name"] for one in render(tmp_path) if one["kind"] == "ValidatingAdmissionPolicy"}
    assert names == {f"{RELEASE}-{one.policy}" for one in REQUESTS.values() if one.may != ALL}


@pytest.mark.usefixtures("objects")
def test_an_administrator_is_told_by_name_what_to_do_instead(cluster: ApiServer) -> None:
    done = cluster.kubectl("--namespace", TEAM, "label", "lvsserviceslice", SLICE["metadata"]["name"], "mine=true")
    assert done.returncode != 0
    operator = f"system:serviceaccount:{NAMESPACE}:{OPERATOR}"
    assert f"only {operator} may create, change or delete it, not admin; edit or delete the" in done.stderr


# --- around the table --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("objects")
def test_a_report_changes_nothing_but_the_status(cluster: ApiServer, tokens: Tokens) -> None:
    before = cluster.get(lvs_node("n1")).raise_for_status()
    report = {
        "metadata": {"labels": {"forged": "true"}, "annotations": {"forged": "true"}, "finalizers": ["example.com/f"]},
        "spec": {"addresses": [], "directorGroups": ["default"]},
        "status": {"bootId": "of-n1"},
    }
    path = f"{object_path(before)}/status"
    token = tokens["agent of n1"]
    cluster.request("PATCH", path, report, content_type=MERGE, token=token).raise_for_status()
    after = cluster.get(lvs_node("n1")).raise_for_status()
    assert after["status"]["bootId"] == "of-n1"
    assert after["spec"] == before["spec"]
    differs = {name for name in after["metadata"] if after["metadata"][name] != before["metadata"].get(name)}
    assert differs == {"resourceVersion", "managedFields"}


@pytest.mark.usefixtures("objects")
def test_a_status_that_comes_with_the_object_is_dropped(cluster: ApiServer, tokens: Tokens) -> None:
    forged = virtual_service("forged", namespace=TEAM) | {"status": {"conditions": [ACCEPTED]}}
    made = create_as(cluster, tokens["editor"], forged)
    assert [one["type"] for one in made["status"]["conditions"]] == ["Ready"]
    again = made | {"status": {"conditions": [ACCEPTED]}}
    stored = cluster.request("PUT", object_path(made), again, token=tokens["editor"]).raise_for_status()
    assert stored["status"] == made["status"]
    cluster.delete(made).raise_for_status()


@pytest.fixture(scope="module")
def controllers(cluster: ApiServer, tokens: Tokens) -> None:
    """The cluster's own controllers, with the tokens that they ask for."""
    assert tokens  # their accounts are there
    cluster.start_controllers(*CONTROLLERS)


@pytest.mark.usefixtures("controllers")
@pytest.mark.parametrize("role", ["view", "edit", "admin"])
def test_the_clusters_own_roles_write_nothing_generated_and_no_status(cluster: ApiServer, role: str) -> None:
    binding = {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": f"who-may-{role}"}],
        "metadata": {"name": role},
    }
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{TEAM}/rolebindings"
    cluster.request("POST", path, binding).raise_for_status()

    def may(verb: str, resource: str) -> bool:
        plural, _, subresource = resource.partition("/")
        attributes = {"namespace": TEAM, "verb": verb, "resource": plural, "subresource": subresource}
        spec = {"user": f"who-may-{role}", "resourceAttributes": attributes | {"group": "lvs-operator.io"}}
        answer = cluster.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": spec})
        return bool(answer.raise_for_status()["status"]["allowed"])

    wait_for(lambda: may("list", "lvsvirtualservices"), SECONDS, f"{role} to be put together")
    writes = [verb for verb in WRITES if may(verb, "lvsvirtualservices")]
    assert writes == ([] if role == "view" else list(WRITES))
    statuses = [f"{kind.plural}/status" for kind in ALL_KINDS if kind.has_status]
    assert [one for one in {*GENERATED, *statuses} for verb in WRITES if may(verb, one)] == []


@pytest.mark.usefixtures("objects", "controllers")
def test_the_api_server_has_nothing_to_warn_of(cluster: ApiServer) -> None:
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"

    def looked_through() -> list[Json]:
        found: list[Json] = cluster.request("GET", path).raise_for_status()["items"]
        assert all(one["status"].get("observedGeneration") == one["metadata"]["generation"] for one in found)
        return found

    found = wait_for(looked_through, SECONDS, "the policies to be looked through")
    assert [one["status"].get("typeChecking", {}).get("expressionWarnings") for one in found] == [None] * len(found)


def test_the_agents_role_is_what_agents_do(tmp_path: Path) -> None:
    rules = [
        (resource, verb)
        for one in render(tmp_path)
        if one["kind"] in {"ClusterRole", "Role"} and one["metadata"]["name"] == f"{RELEASE}-agent"
        for rule in one["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    assert {rule for rule in rules if rule[1] not in {"get", "list", "watch"}} == {
        ("lvsnodes/status", "patch"),
        ("leases", "create"),
        ("leases", "patch"),
    }


# --- what must go on working -------------------------------------------------------------------------------------


def make_service(cluster: ApiServer, tokens: Tokens, name: str, namespace: str = TEAM) -> tuple[Json, Json]:
    """A service and a slice that it owns."""
    service = cluster.create(virtual_service(name, namespace=namespace)).raise_for_status()
    raw = service_slice(name, namespace=namespace)
    raw["metadata"]["ownerReferences"] = [
        {
            "apiVersion": service["apiVersion"],
            "kind": VIRTUAL_SERVICE.name,
            "name": name,
            "uid": service["metadata"]["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    return service, create_as(cluster, tokens["operator"], raw)


@pytest.mark.usefixtures("objects", "controllers")
@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
def test_slices_go_with_their_service(cluster: ApiServer, tokens: Tokens, propagation: str) -> None:
    service, owned = make_service(cluster, tokens, f"gone-{propagation.lower()}")
    path = f"{object_path(service)}?propagationPolicy={propagation}"
    cluster.request("DELETE", path, token=tokens["editor"]).raise_for_status()
    wait_for(lambda: cluster.get(owned).status == 404, SECONDS, "the slice to go")
    wait_for(lambda: cluster.get(service).status == 404, SECONDS, "the service to go")


@pytest.mark.usefixtures("objects", "controllers")
def test_slices_that_shall_stay_lose_their_owner(cluster: ApiServer, tokens: Tokens) -> None:
    service, owned = make_service(cluster, tokens, "left")
    cluster.request("DELETE", f"{object_path(service)}?propagationPolicy=Orphan").raise_for_status()
    wait_for(lambda: cluster.get(service).status == 404, SECONDS, "the service to go")
    assert "ownerReferences" not in cluster.get(owned).raise_for_status()["metadata"]


@pytest.mark.usefixtures("objects", "controllers")
def test_a_namespace_goes_with_all_that_is_in_it(cluster: ApiServer, tokens: Tokens) -> None:
    make_namespace(cluster, "doomed")
    service, owned = make_service(cluster, tokens, "doomed", "doomed")
    cluster.request("DELETE", "/api/v1/namespaces/doomed").raise_for_status()
    path = "/api/v1/namespaces/doomed"
    wait_for(lambda: cluster.request("GET", path).status == 404, SECONDS, "the namespace to go")
    assert {cluster.get(raw).status for raw in (service, owned)} == {404}


@pytest.fixture
def helm(tmp_path: Path) -> Iterator[tuple[ApiServer, Callable[..., None]]]:
    """An API server with the release installed by Helm, and Helm for more."""
    with running_api_server(tmp_path / "server") as server:

        def run(verb: str, *options: str) -> None:
            chart = [] if verb == "uninstall" else [CHART]
            arguments = [verb, RELEASE, *chart, f"--namespace={NAMESPACE}", *options]
            done = run_helm(tmp_path, *arguments, environment={"KUBECONFIG": str(server.kubeconfig)})
            assert done.returncode == 0, done.stderr

        run("install", "--create-namespace")
        yield server, run


def test_a_release_can_be_changed_and_removed_by_an_administrator(
    helm: tuple[ApiServer, Callable[..., None]],
) -> None:
    server, run = helm
    token = account_token(server, OPERATOR)
    raw = service_slice()
    create_as(server, token, raw)
    create_as(server, token, lvs_node("n1"))

    def refused() -> bool:
        return server.create(service_slice("other"), dry_run=True).status == FORBIDDEN

    wait_for(refused, SECONDS, "the policies to be in force")
    done = server.kubectl("delete", "crd", "lvsnodes.lvs-operator.io", "--timeout=30s")
    assert done.returncode == 0, done.stderr
    assert server.get(lvs_node("n1")).status == 404

    run("upgrade", "--set=admissionPolicies.enabled=false")
    wait_for(lambda: not refused(), SECONDS, "the policies to be off")
    run("upgrade", "--set=admissionPolicies.enabled=true")
    wait_for(refused, SECONDS, "the policies to be on again")
    run("uninstall", "--no-hooks")  # nobody runs Jobs here
    wait_for(lambda: server.delete(raw).status == 200, SECONDS, "an administrator to tidy up")


def test_other_names_of_accounts_are_the_names_in_the_policies(tmp_path: Path) -> None:
    options = ["--set=operator.serviceAccount.name=boss", "--set=nodeAgent.serviceAccount.name=hand"]
    options += ["--set=fullnameOverride=other", "--set=admissionPolicies.clusterControllers={system:mine}"]
    text = "\n".join(str(one["spec"]) for one in render(tmp_path, *options) if one["kind"] in POLICIES)
    assert {"boss", "hand"} == {name.split(":")[-1] for name in _users(text)}
    assert '"system:mine"' in text
    assert "generic-garbage-collector" not in text


def _users(text: str) -> set[str]:
    return set(re.findall(rf"system:serviceaccount:{NAMESPACE}:[\w-]+", text))
