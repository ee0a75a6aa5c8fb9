"""Who of us may do what, with the chart's rights and no others: asked with real tokens, and printed as a table."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from lvs_api.api_group import FIELD_MANAGER_OPERATOR, LABEL_MANAGED_BY, LEASE_AGENT_PREFIX, LOAD_BALANCER_CLASS
from lvs_api.testing import director_group, lvs_node, real_server_pool, service_slice, virtual_service
from lvs_lab.waiting import wait_for
from support.api_server import MERGE, Answer, ApiServer, collection_path, object_path, running_api_server
from support.chart_release import AGENT, OPERATOR, POLICIES, RIGHTS, install_parts
from support.guarded_requests import Account
from support.operator_process import NAMESPACE

Json = dict[str, Any]
FORBIDDEN: Final = 403
SECONDS: Final = 30.0
NODES: Final = ("n1", "n2")
WHO: Final = {
    "operator": Account(name=OPERATOR),
    "agent of n1": Account(name=AGENT, node="n1"),
    "agent of n2": Account(name=AGENT, node="n2"),
    "another pod": Account(name="default"),
}
OPERATOR_ONLY: Final = frozenset({"operator"})
AGENTS: Final = frozenset({"agent of n1", "agent of n2"})
NOBODY: Final[frozenset[str]] = frozenset()
APPS: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}"
LEASES: Final = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
ADDRESS: Final[Json] = {"status": {"loadBalancer": {"ingress": [{"ip": "192.168.4.15", "ipMode": "Proxy"}]}}}
LABEL: Final[Json] = {"metadata": {"labels": {"mine": "true"}}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Try:
    """A request; writes are dry runs, which pass authorization and admission like any other."""

    method: str
    path: str
    body: Json | None = None
    may: frozenset[str]

    def send(self, server: ApiServer, token: str) -> Answer:
        """Make it."""
        query = "" if self.method == "GET" else "?dryRun=All"
        content_type = MERGE if self.method == "PATCH" else "application/json"
        return server.request(self.method, f"{self.path}{query}", self.body, content_type=content_type, token=token)


def patch(path: str, body: Json, may: frozenset[str]) -> Try:
    return Try(method="PATCH", path=path, body=body, may=may)


def read(path: str, may: frozenset[str]) -> Try:
    return Try(method="GET", path=path, may=may)


def delete(path: str, may: frozenset[str]) -> Try:
    return Try(method="DELETE", path=path, may=may)


def workload(kind: str, name: str) -> Json:
    """A DaemonSet or a Deployment."""
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "a", "image": "example.com/a"}]},
    }
    spec = {"selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


POOL, SERVICE, SLICE = real_server_pool(), virtual_service(), service_slice()
MAKER: Final = {"apiVersion": "v1", "kind": "Service", "name": "made", "uid": "of-a-service", "controller": True}
MADE: Final = {
    **POOL,
    "metadata": {
        **POOL["metadata"],
        "name": "made",
        "labels": {LABEL_MANAGED_BY: FIELD_MANAGER_OPERATOR},
        "ownerReferences": [MAKER],
    },
}
REPORT: Final[Json] = {"status": {"bootId": "of-a-node"}}
TRIES: Final = {
    "list slices": read(collection_path(SLICE), OPERATOR_ONLY | AGENTS),
    "list virtual services": read(collection_path(SERVICE), OPERATOR_ONLY),
    "list Nodes": read("/api/v1/nodes", OPERATOR_ONLY | AGENTS),
    "list Secrets": read(f"/api/v1/namespaces/{NAMESPACE}/secrets", NOBODY),
    "report on n1": patch(f"{object_path(lvs_node('n1'))}/status", REPORT, frozenset({"agent of n1"})),
    "report on n2": patch(f"{object_path(lvs_node('n2'))}/status", REPORT, frozenset({"agent of n2"})),
    "tell n1 what to be": patch(object_path(lvs_node("n1")), {"spec": {"directorGroups": ["web"]}}, OPERATOR_ONLY),
    "delete LvsNode n1": delete(object_path(lvs_node("n1")), OPERATOR_ONLY),
    "edit a slice": patch(object_path(SLICE), {"spec": {"members": []}}, OPERATOR_ONLY),
    "edit a pool": patch(object_path(POOL), {"spec": {"weight": 9}}, NOBODY),
    "edit a pool of a Service": patch(object_path(MADE), {"spec": {"weight": 9}}, OPERATOR_ONLY),
    "say a Service's address": patch("/api/v1/namespaces/default/services/web/status", ADDRESS, OPERATOR_ONLY),
    "say the address of a Service of others": patch(
        "/api/v1/namespaces/default/services/others/status", ADDRESS, NOBODY
    ),
    "edit a Service": patch("/api/v1/namespaces/default/services/web", LABEL, NOBODY),
    "edit a virtual service": patch(object_path(SERVICE), {"spec": {"scheduler": "rr"}}, NOBODY),
    "delete a virtual service": delete(object_path(SERVICE), NOBODY),
    "edit a director group": patch(object_path(director_group()), LABEL, NOBODY),
    "say a pool's status": patch(f"{object_path(POOL)}/status", {"status": {"conditions": []}}, OPERATOR_ONLY),
    "label a Node": patch("/api/v1/nodes/n1", LABEL, OPERATOR_ONLY),
    "taint a Node": patch("/api/v1/nodes/n1/status", LABEL, NOBODY),
    "make a DaemonSet": Try(
        method="POST", path=f"{APPS}/daemonsets", body=workload("DaemonSet", "new"), may=OPERATOR_ONLY
    ),
    "edit the agents' DaemonSet": patch(f"{APPS}/daemonsets/{AGENT}", LABEL, OPERATOR_ONLY),
    "edit another DaemonSet": patch(f"{APPS}/daemonsets/another", LABEL, NOBODY),
    "delete the agents' DaemonSet": delete(f"{APPS}/daemonsets/{AGENT}", NOBODY),
    "make a pod": Try(
        method="POST",
        path=f"/api/v1/namespaces/{NAMESPACE}/pods",
        body={"metadata": {"name": "new"}, "spec": {"containers": [{"name": "a", "image": "example.com/a"}]}},
        may=NOBODY,
    ),
    "make Lease of n1's agent": Try(
        method="POST",
        path=LEASES,
        body={"metadata": {"name": f"{LEASE_AGENT_PREFIX}n1"}, "spec": {}},
        may=OPERATOR_ONLY | {"agent of n1"},
    ),
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server with the rights and policies of the chart, and with what the requests are about."""
    with running_api_server(tmp_path_factory.mktemp("rights")) as server:
        server.install_crds()
        server.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}}).raise_for_status()
        for node in NODES:
            server.request("POST", "/api/v1/nodes", {"metadata": {"name": node}}).raise_for_status()
        accounts = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
        server.request("POST", accounts, {"metadata": {"name": "default"}}).raise_for_status()
        for raw in (POOL, MADE, SERVICE, SLICE, director_group(), *(lvs_node(node) for node in NODES)):
            server.create(raw).raise_for_status()
        for name, balancer in (("web", LOAD_BALANCER_CLASS), ("others", "example.org/lb")):
            spec = {"type": "LoadBalancer", "loadBalancerClass": balancer, "ports": [{"port": 80}]}
            service = {"metadata": {"name": name}, "spec": spec}
            server.request("POST", "/api/v1/namespaces/default/services", service).raise_for_status()
        for name in (AGENT, "another"):
            server.request("POST", f"{APPS}/daemonsets", workload("DaemonSet", name)).raise_for_status()
        install_parts(server, RIGHTS | POLICIES)
        yield server


@pytest.fixture(scope="module")
def tokens(cluster: ApiServer) -> dict[str, str]:
    """A token of each, whose rights are known to the API server."""
    found = {who: account.token(cluster) for who, account in WHO.items()}

    def known() -> bool:
        return all(TRIES["list slices"].send(cluster, found[who]).status < 300 for who in ("operator", *sorted(AGENTS)))

    wait_for(known, SECONDS, "the rights to be known")
    return found


def said(answer: Answer) -> str:
    """How the table tells it."""
    if answer.status < 300:
        return "yes"
    return "no (policy)" if "ValidatingAdmissionPolicy" in answer.message else "no (RBAC)"


def test_each_may_do_what_it_is_for_and_nothing_else(
    cluster: ApiServer, tokens: dict[str, str], record_property: Callable[[str, object], None]
) -> None:
    answers = {(what, who): one.send(cluster, tokens[who]) for what, one in TRIES.items() for who in WHO}
    rows = [["who tries what", *WHO], *([what, *(said(answers[what, who]) for who in WHO)] for what in TRIES)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    record_property("printed", "\n".join(line.rstrip() for line in lines))
    assert {what: {who for who in WHO if answers[what, who].status < 300} for what in TRIES} == {
        what: one.may for what, one in TRIES.items()
    }
    for (what, who), answer in answers.items():
        if who not in TRIES[what].may:
            assert answer.status == FORBIDDEN, (what, who, answer.message)
            assert f"system:serviceaccount:{NAMESPACE}:{WHO[who].name}" in answer.message
