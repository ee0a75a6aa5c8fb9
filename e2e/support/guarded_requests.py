"""Who may write what, as data: requests, and of a list of writers with real credentials those that may make each.

Every request is a dry run, which passes admission like any other and leaves all as it was.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lvs_api.api_group import API_VERSION, LABEL_DIRECTOR_GROUP, LEASE_AGENT_PREFIX, LEASE_OPERATOR
from lvs_api.testing import lvs_node, real_server_pool, service_slice, slice_member, virtual_service
from support.api_server import APPLY, MERGE, Answer, ApiServer, collection_path, object_path
from support.chart_release import AGENT, OPERATOR, account_token
from support.operator_process import NAMESPACE

TEAM: Final = "team-a"
"""A namespace of users."""
ELSEWHERE: Final = "elsewhere"
"""A namespace with ServiceAccounts of the names that the release has."""
NODES: Final = ("n1", "n2")
JSON: Final = "application/json"
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """A ServiceAccount and what its token is bound to."""

    name: str
    namespace: str = NAMESPACE
    pod_on: str | None = None
    """Bound to a pod on this Node, as the kubelet asks for its pods."""
    node: str | None = None
    """Bound to this Node itself."""

    def token(self, server: ApiServer) -> str:
        """A token from the API server."""
        bound_to = {"kind": "Node", "name": self.node} if self.node else None
        if self.pod_on:
            bound_to = {"kind": "Pod", "name": pod_name(self.name, self.pod_on)}
        return account_token(server, self.name, namespace=self.namespace, bound_to=bound_to)


def pod_name(account: str, node: str) -> str:
    """The pod of an account on a Node."""
    return f"{account}-{node}"


WRITERS: Final[Mapping[str, Account | None]] = {
    "admin": None,
    "editor": Account(name="editor", namespace=TEAM),
    "operator": Account(name=OPERATOR, pod_on="n2"),
    "operator without a pod": Account(name=OPERATOR),
    "agent of n1": Account(name=AGENT, pod_on="n1"),
    "agent of n1 without a pod": Account(name=AGENT, node="n1"),
    "agent of n2": Account(name=AGENT, pod_on="n2"),
    "agent of no node": Account(name=AGENT),
    "namesake of the operator": Account(name=OPERATOR, namespace=ELSEWHERE),
    "namesake of the agent of n1": Account(name=AGENT, namespace=ELSEWHERE, node="n1"),
    "another account on n1": Account(name="default", node="n1"),
    "garbage collector": Account(name="generic-garbage-collector", namespace="kube-system"),
    "namespace controller": Account(name="namespace-controller", namespace="kube-system"),
}
"""None: the administrator's own credentials."""
ALL: Final = frozenset(WRITERS)
OPERATORS: Final = frozenset({"operator", "operator without a pod"})
OF_N1: Final = frozenset({"agent of n1", "agent of n1 without a pod"})
OF_N2: Final = frozenset({"agent of n2"})
AGENTS: Final = OF_N1 | OF_N2 | {"agent of no node"}
CONTROLLERS: Final = frozenset({"garbage collector", "namespace controller"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Guarded:
    """A request that a policy guards."""

    method: str
    path: str
    body: Json = field(default_factory=dict)
    content_type: str = JSON
    may: frozenset[str]
    policy: str
    """The end of its name."""
    advice: str
    """Of what the refusal tells: whom to ask, what to do."""

    def send(self, server: ApiServer, token: str) -> Answer:
        """Make it. What is replaced is first read, so that it is what is there, with `body` laid over."""
        body: Json | None = self.body
        if self.method == "PUT":
            body = server.request("GET", self.path).raise_for_status() | self.body
        query = "?dryRun=All" + ("&fieldManager=test&force=true" if self.content_type == APPLY else "")
        return server.request(
            self.method, f"{self.path}{query}", body or None, content_type=self.content_type, token=token
        )


SLICE: Final = service_slice("web", namespace=TEAM)
BY_OPERATOR: Final = {"app.kubernetes.io/managed-by": "lvs-operator"}
MAKER: Final = {"apiVersion": "v1", "kind": "Service", "name": "made", "uid": "of-a-service", "controller": True}
MADE: Final = {
    **(_pool := real_server_pool("made", namespace=TEAM)),
    "metadata": {**_pool["metadata"], "labels": BY_OPERATOR, "ownerReferences": [MAKER]},
}
"""What the operator made of a Service."""
CORE_SERVICES: Final = f"/api/v1/namespaces/{TEAM}/services"
BALANCED, OF_OTHERS, FORMER = "balanced", "of-others", "former"
"""Services of type LoadBalancer: of our class, of another one, and of another one with a condition of ours."""
FORGED_OWNER: Final = {"apiVersion": API_VERSION, "kind": "LvsVirtualService", "name": "web", "uid": "forged"}
ACCEPTED: Final = {
    "type": "Accepted",
    "status": "True",
    "reason": "Accepted",
    "message": "forged",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
_ONLY_SLICES: Final[Json] = {
    "policy": "slices",
    "advice": "edit or delete the LvsVirtualService or the LvsRealServerPool",
}
_ONLY_NODES: Final[Json] = {
    "policy": "lvsnodes",
    "advice": "which Nodes are directors is said by LvsDirectorGroup.spec.nodes",
}
_ONLY_MADE: Final[Json] = {"policy": "made-of-services", "advice": "made of a Service of type LoadBalancer"}
_ONLY_BALANCED: Final[Json] = {
    "policy": "service-status",
    "advice": "Services with loadBalancerClass lvs-operator.io/lvs",
}
_ONLY_STATUS: Final[Json] = {"policy": "status", "advice": "edit spec, and status follows"}


def requests() -> dict[str, Guarded]:
    """All of them, by what they do."""
    groups = (_slices(), _lvs_nodes(), _reports(), _statuses(), _of_users(), _made(), _services(), _leases())
    return {name: request for group in groups for name, request in group}


def _slices() -> Iterator[tuple[str, Guarded]]:
    path, collection = object_path(SLICE), collection_path(SLICE)
    new = service_slice("new", namespace=TEAM)
    bare = _bare(new)
    owned = bare | {"metadata": bare["metadata"] | {"ownerReferences": [FORGED_OWNER]}}
    by_operator: Any = {"may": OPERATORS, **_ONLY_SLICES}
    by_controllers: Any = {"may": OPERATORS | CONTROLLERS, **_ONLY_SLICES}
    yield "create a slice", Guarded(method="POST", path=collection, body=bare, **by_operator)
    yield "create a slice with an owner", Guarded(method="POST", path=collection, body=owned, **by_operator)
    yield (
        "apply a new slice",
        Guarded(method="PATCH", path=object_path(new), body=bare, content_type=APPLY, **by_operator),
    )
    more = _bare(SLICE) | {"spec": SLICE["spec"] | {"members": [slice_member("forged", "192.168.4.66")]}}
    yield "apply one more member", Guarded(method="PATCH", path=path, body=more, content_type=APPLY, **by_operator)
    yield "patch a slice's members", _patch(path, {"spec": {"members": []}}, **by_operator)
    yield "patch a slice's group", _patch(path, _metadata(labels={LABEL_DIRECTOR_GROUP: "mine"}), **by_operator)
    yield "annotate a slice", _patch(path, _metadata(annotations={"note": "mine"}), **by_operator)
    yield "give a slice an owner", _patch(path, _metadata(ownerReferences=[FORGED_OWNER]), **by_controllers)
    yield "hold a slice by a finalizer", _patch(path, _metadata(finalizers=["example.com/mine"]), **by_controllers)
    yield "replace a slice by itself", Guarded(method="PUT", path=path, may=ALL, **_ONLY_SLICES)
    yield "delete a slice", Guarded(method="DELETE", path=path, **by_controllers)
    yield "delete all slices", Guarded(method="DELETE", path=collection, **by_controllers)


def _lvs_nodes() -> Iterator[tuple[str, Guarded]]:
    node, new = lvs_node("n1"), lvs_node("n3")
    path, collection = object_path(node), collection_path(node)
    by_operator: Any = {"may": OPERATORS, **_ONLY_NODES}
    by_all: Any = {"may": ALL, **_ONLY_NODES}
    yield "create an LvsNode", Guarded(method="POST", path=collection, body=_bare(new), **by_operator)
    yield (
        "apply a new LvsNode",
        Guarded(method="PATCH", path=object_path(new), body=_bare(new), content_type=APPLY, **by_operator),
    )
    yield "patch what a node binds", _patch(path, {"spec": {"addresses": []}}, **by_operator)
    yield "make a node a director", _patch(path, {"spec": {"directorGroups": ["default"]}}, **by_operator)
    yield "annotate an LvsNode", _patch(path, _metadata(annotations={"note": "mine"}), **by_all)
    yield "label an LvsNode", _patch(path, _metadata(labels={"rack": "b"}), **by_all)
    yield "hold an LvsNode by a finalizer", _patch(path, _metadata(finalizers=["example.com/mine"]), **by_operator)
    yield "give an LvsNode an owner", _patch(path, _metadata(ownerReferences=[FORGED_OWNER]), **by_operator)
    yield "replace an LvsNode by itself", Guarded(method="PUT", path=path, **by_all)
    yield "delete an LvsNode", Guarded(method="DELETE", path=path, **by_operator)
    yield "delete all LvsNodes", Guarded(method="DELETE", path=collection, **by_operator)


def _reports() -> Iterator[tuple[str, Guarded]]:
    for node, may in (("n1", OF_N1), ("n2", OF_N2)):
        raw = lvs_node(node)
        path = f"{object_path(raw)}/status"
        status = {"status": {"bootId": "forged"}}
        own: Any = {"may": may, "policy": "lvsnode-status", "advice": f"look at the log of the agent on Node {node}"}
        yield f"patch the status of {node}", _patch(path, status, **own)
        applied = {"apiVersion": API_VERSION, "kind": "LvsNode", "metadata": {"name": node}, **status}
        yield (
            f"apply the status of {node}",
            Guarded(method="PATCH", path=path, body=applied, content_type=APPLY, **own),
        )
        yield f"replace the status of {node}", Guarded(method="PUT", path=path, body=status, **own)


def _statuses() -> Iterator[tuple[str, Guarded]]:
    own: Any = {"may": OPERATORS, **_ONLY_STATUS}
    forged = {"status": {"conditions": [ACCEPTED]}}
    for plural, parent in (
        ("lvsvirtualservices", f"namespaces/{TEAM}/"),
        ("lvsrealserverpools", f"namespaces/{TEAM}/"),
        ("lvsdirectorgroups", ""),
        ("lvsaddresspools", ""),
    ):
        path = f"/apis/{API_VERSION}/{parent}{plural}/web/status"
        yield f"patch the status of {plural}", _patch(path, forged, **own)
        yield f"replace the status of {plural}", Guarded(method="PUT", path=path, body=forged, **own)


def _of_users() -> Iterator[tuple[str, Guarded]]:
    """What users wrote is theirs alone, as far as the operator goes."""
    by_users: Any = {"may": ALL - OPERATORS, **_ONLY_MADE}
    for raw in (real_server_pool("web", namespace=TEAM), virtual_service("web", namespace=TEAM)):
        plural = collection_path(raw).rpartition("/")[2]
        new = _bare(raw) | {"metadata": {"name": "new", "namespace": TEAM}}
        path, collection = object_path(raw), collection_path(raw)
        yield f"create one of {plural}", Guarded(method="POST", path=collection, body=new, **by_users)
        yield f"patch one of {plural}", _patch(path, _metadata(annotations={"note": "mine"}), **by_users)
        yield f"make one of {plural} one's own", _patch(path, _metadata(ownerReferences=[MAKER]), **by_users)
        yield f"delete one of {plural}", Guarded(method="DELETE", path=path, **by_users)


def _made() -> Iterator[tuple[str, Guarded]]:
    path, collection = object_path(MADE), collection_path(MADE)
    by_all: Any = {"may": ALL, **_ONLY_MADE}
    by_users: Any = {"may": ALL - OPERATORS, **_ONLY_MADE}
    new = _bare(MADE) | {"metadata": {"name": "new", "namespace": TEAM, "labels": BY_OPERATOR}}
    of_its_service = {**MAKER, "name": "new"}
    owned = new | {"metadata": {**new["metadata"], "ownerReferences": [of_its_service]}}
    of_another = new | {"metadata": {**new["metadata"], "ownerReferences": [MAKER]}}
    only_named = new | {"metadata": {**new["metadata"], "ownerReferences": [{**of_its_service, "controller": False}]}}
    yield "make a pool of a Service", Guarded(method="POST", path=collection, body=owned, **by_all)
    yield (
        "make a pool of a Service of another name",
        Guarded(method="POST", path=collection, body=of_another, **by_users),
    )
    yield (
        "make a pool that a Service does not control",
        Guarded(method="POST", path=collection, body=only_named, **by_users),
    )
    by_others = owned | {"metadata": {**owned["metadata"], "labels": {}}}
    yield "make a pool of a Service as others do", Guarded(method="POST", path=collection, body=by_others, **by_users)
    yield "patch a made pool", _patch(path, {"spec": {"weight": 3}}, **by_all)
    yield "disown a made pool", _patch(path, _metadata(ownerReferences=None), **by_users)
    yield "delete a made pool", Guarded(method="DELETE", path=path, **by_all)


def _services() -> Iterator[tuple[str, Guarded]]:
    """The operator says the addresses of Services of our class, and of no others."""
    address: Json = {"status": {"loadBalancer": {"ingress": [{"ip": "192.168.4.15", "ipMode": "Proxy"}]}}}
    owners: Json = {"metadata": {"ownerReferences": [MAKER]}}
    by_users: Any = {"may": ALL - OPERATORS, **_ONLY_BALANCED}
    ours, others, former = (f"{CORE_SERVICES}/{name}/status" for name in (BALANCED, OF_OTHERS, FORMER))
    yield "say the address of a Service of our class", _patch(ours, address, may=ALL, **_ONLY_BALANCED)
    yield "say the address of a Service of another class", _patch(others, address, **by_users)
    said_no_more: Json = {"status": {"conditions": None}}
    yield "take back what was said of a Service", _patch(former, said_no_more, may=ALL, **_ONLY_BALANCED)
    yield "write more of a Service than its status", _patch(ours, owners, **by_users)


def _leases() -> Iterator[tuple[str, Guarded]]:
    own = f"{LEASE_AGENT_PREFIX}n1"
    for what, namespace, name, agents in (
        ("the Lease of n1's agent", NAMESPACE, own, OF_N1),
        ("the Lease of n2's agent", NAMESPACE, f"{LEASE_AGENT_PREFIX}n2", OF_N2),
        ("the operator's Lease", NAMESPACE, LEASE_OPERATOR, frozenset[str]()),
        ("a kubelet's Lease", "kube-node-lease", "n1", frozenset[str]()),
        ("such a Lease elsewhere", ELSEWHERE, own, frozenset[str]()),
    ):
        path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"holderIdentity": "n1"},
        }
        yield (
            f"apply {what}",
            Guarded(
                method="PATCH",
                path=path,
                body=body,
                content_type=APPLY,
                may=(ALL - AGENTS) | agents,
                policy="agent-leases",
                advice=f"{NAMESPACE}/{LEASE_AGENT_PREFIX}",
            ),
        )


def _patch(path: str, body: Json, *, may: frozenset[str], policy: str, advice: str) -> Guarded:
    return Guarded(method="PATCH", path=path, body=body, content_type=MERGE, may=may, policy=policy, advice=advice)


def _metadata(**parts: object) -> Json:
    return {"metadata": parts}


def _bare(raw: Json) -> Json:
    """As somebody writes it: without the metadata that the API server gives."""
    kept = {"name", "namespace", "labels"}
    return {**raw, "metadata": {name: value for name, value in raw["metadata"].items() if name in kept}}
