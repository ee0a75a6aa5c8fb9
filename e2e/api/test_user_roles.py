"""The chart's ClusterRoles for users: parts of the cluster's own roles, or bound by hand where they are not."""

from collections.abc import Iterator
from typing import Any

import pytest

from lvs_lab.waiting import wait_for
from support.api_server import ApiServer, running_api_server
from support.chart_release import RELEASE, RIGHTS, install_parts
from support.operator_process import NAMESPACE

WRITES = {"create", "update", "patch", "delete", "deletecollection"}
READS = {"get", "list", "watch"}
TEAM = "team-a"
SECONDS = 30.0
RBAC = "rbac.authorization.k8s.io"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server that puts roles together, in which a user has each of them."""
    with running_api_server(tmp_path_factory.mktemp("roles")) as server:
        for name in (NAMESPACE, TEAM):
            server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}}).raise_for_status()
        for role in ("view", "edit", "admin"):
            bind(server, user=role, role=role)
        server.start_controllers("clusterrole-aggregation-controller")
        yield server


def bind(server: ApiServer, *, user: str, role: str) -> None:
    body: dict[str, Any] = {
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
        "metadata": {"name": f"{user}-has-{role}"},
    }
    server.request("POST", f"/apis/{RBAC}/v1/namespaces/{TEAM}/rolebindings", body).raise_for_status()


def may(server: ApiServer, user: str, resource: str, *, namespace: str = TEAM) -> set[str]:
    """The verbs that a user has on a resource of ours."""

    def allowed(verb: str) -> bool:
        attributes = {"namespace": namespace, "verb": verb, "group": "lvs-operator.io", "resource": resource}
        body = {"spec": {"user": user, "resourceAttributes": attributes}}
        answer = server.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
        return bool(answer.raise_for_status()["status"]["allowed"])

    return {verb for verb in WRITES | READS if allowed(verb)}


def wait_rights(server: ApiServer, expected: dict[str, set[str]]) -> None:
    """Wait until users have these rights on pools and virtual services."""

    def has() -> bool:
        for resource in ("lvsvirtualservices", "lvsrealserverpools"):
            assert {user: may(server, user, resource) for user in expected} == expected
        return True

    wait_for(has, SECONDS, "the roles to be put together")


def test_edit_and_admin_write_services_unless_the_chart_is_told_otherwise(cluster: ApiServer) -> None:
    install_parts(cluster, RIGHTS)
    wait_rights(cluster, {"view": READS, "edit": READS | WRITES, "admin": READS | WRITES})
    install_parts(cluster, RIGHTS, "--set=userRoles.aggregateToEdit=false")
    wait_rights(cluster, {"view": READS, "edit": READS, "admin": READS})
    bind(cluster, user="edit", role=f"{RELEASE}-edit")
    wait_rights(cluster, {"edit": READS | WRITES, "admin": READS})
    for resource in ("lvsserviceslices", "lvsaddresspools", "lvsdirectorgroups"):
        assert may(cluster, "edit", resource) <= READS
    assert may(cluster, "edit", "lvsvirtualservices", namespace=NAMESPACE) == set()
