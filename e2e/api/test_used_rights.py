"""The operator's rights are those that it uses: granted by the chart, compared with the API server's audit log."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lvs_api.api_group import LOAD_BALANCER_CLASS
from lvs_api.kinds import REAL_SERVER_POOL, SERVICE_SLICE, VIRTUAL_SERVICE
from lvs_api.testing import address_pool, real_server
from support.api_server import MERGE
from support.chart_release import OPERATOR, RELEASE, render
from support.operator_process import NAMESPACE, running_operator
from support.operator_world import SERVERS, World, world

ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{OPERATOR}"
GROUP = "lvs-operator.io"


class Right(NamedTuple):
    """One verb on one resource, with its subresource."""

    group: str
    resource: str
    verb: str


NOT_SEEN_HERE = {
    # What a write found changed meanwhile, and what a list showed to differ, is read anew (writer, cache).
    **{
        Right(group, resource, "get"): "after a conflict"
        for group, resource in (
            (GROUP, "lvsvirtualservices"),
            (GROUP, "lvsrealserverpools"),
            (GROUP, "lvsdirectorgroups"),
            (GROUP, "lvsserviceslices"),
            (GROUP, "lvsnodes"),
            (GROUP, "lvsaddresspools"),
            ("", "nodes"),
            ("", "namespaces"),
            ("", "services"),
            ("discovery.k8s.io", "endpointslices"),
        )
    },
    Right("", "events", "patch"): "an event that repeats",
    Right("apps", "daemonsets", "create"): "server-side apply of what is not there needs it, and is logged as patch",
}
"""Rights that this test does not make the operator use; each is used for what it says."""


def granted(directory: Path) -> set[Right]:
    """Every right in the roles that the chart binds to the operator."""
    objects = render(directory)
    roles = {(one["kind"], one["metadata"]["name"]): one for one in objects if one["kind"] in {"Role", "ClusterRole"}}
    bound = [
        roles[one["roleRef"]["kind"], one["roleRef"]["name"]]
        for one in objects
        if one["kind"].endswith("RoleBinding") and OPERATOR in {subject["name"] for subject in one["subjects"]}
    ]
    assert {role["metadata"]["name"] for role in bound} == {RELEASE}
    return {
        Right(group, resource, verb)
        for role in bound
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(log: Path) -> Iterator[Right]:
    """What the operator asked for, and got."""
    for line in log.read_text().splitlines():
        event: dict[str, Any] = json.loads(line)
        asked = event.get("objectRef")
        if asked and event["user"]["username"] == ACCOUNT and event["responseStatus"]["code"] < 300:
            resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
            yield Right(asked.get("apiGroup", ""), resource, event["verb"])


def live(scene: World) -> None:
    """A service that a pool permits comes, becomes ready, is edited, loses a real server, and goes with all it had."""
    permitting = scene.server.create(address_pool()).raise_for_status()
    scene.wait_condition(permitting, "Ready", "True", "Ready")
    service, pool = scene.create_web()
    scene.wait_condition(service, "Ready", "True", "Ready")
    scene.edit(service, scheduler="rr")
    scene.edit(pool, realServers=[real_server("rs1", "192.168.4.100")])
    scene.wait_until(lambda: "s2" not in told(scene), "the second to be let go")
    for one in (service, pool):
        scene.server.delete(one).raise_for_status()
    scene.wait_until(lambda: not scene.items(SERVICE_SLICE), "the slices to go")
    be_balanced(scene)
    scene.wait_until(lambda: not told(scene) & set(SERVERS), "real servers to lose their LvsNodes")


def be_balanced(scene: World) -> None:
    """A Service of type LoadBalancer comes, is edited, and goes with what was made of it."""
    services = "/api/v1/namespaces/default/services"
    spec = {"type": "LoadBalancer", "loadBalancerClass": LOAD_BALANCER_CLASS, "ports": [{"port": 80}]}
    scene.server.request("POST", services, {"metadata": {"name": "balanced"}, "spec": spec}).raise_for_status()
    scene.wait_until(lambda: "balanced" in scene.names(VIRTUAL_SERVICE), "a virtual service to be made")
    scene.wait_until(lambda: is_answered(scene, f"{services}/balanced"), "the Service to be told")
    affine = {"spec": {"sessionAffinity": "ClientIP"}}
    scene.server.request("PATCH", f"{services}/balanced", affine, content_type=MERGE).raise_for_status()
    scene.wait_until(lambda: "persistence" in scene.items(VIRTUAL_SERVICE)[0]["spec"], "the edit to be followed")
    local = {"metadata": {"annotations": {f"{GROUP}/real-servers": "Nodes"}}}
    scene.server.request("PATCH", f"{services}/balanced", local, content_type=MERGE).raise_for_status()
    scene.wait_until(lambda: "nodes" in scene.items(REAL_SERVER_POOL)[0]["spec"], "the pool to be followed")
    scene.server.request("DELETE", f"{services}/balanced").raise_for_status()
    scene.wait_until(lambda: not scene.items(VIRTUAL_SERVICE), "the virtual service to go")
    scene.wait_until(lambda: not scene.items(REAL_SERVER_POOL), "the pool to go")
    scene.wait_until(lambda: not scene.items(SERVICE_SLICE), "the slices to go")


def is_answered(scene: World, service: str) -> bool:
    """Whether the status of a Service has a condition of ours."""
    status = scene.server.request("GET", service).raise_for_status()["status"]
    return any(one["type"].startswith(GROUP) for one in status.get("conditions", ()))


def told(scene: World) -> set[str]:
    """The nodes that have an LvsNode."""
    body = scene.server.request("GET", f"/apis/{GROUP}/v1alpha1/lvsnodes").raise_for_status()
    return {item["metadata"]["name"] for item in body["items"]}


def test_the_operator_uses_what_it_is_granted(tmp_path: Path) -> None:
    policy, log, daemonset = tmp_path / "policy.yaml", tmp_path / "audit.log", tmp_path / "daemonset.yaml"
    rules = [{"level": "Metadata", "users": [ACCOUNT]}, {"level": "None"}]
    kind = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"]}
    policy.write_text(yaml.safe_dump({**kind, "rules": rules}))
    (template,) = [one for one in render(tmp_path) if one["kind"] == "ConfigMap"]
    daemonset.write_text(template["data"][daemonset.name])
    audit = (f"--audit-policy-file={policy}", f"--audit-log-path={log}", "--audit-log-mode=blocking")
    with world(tmp_path, policies=True, extra_flags=(*audit, "--allow-privileged=true")) as scene:
        flags = ("--check-seconds=2", "--count-seconds=1", f"--agent-daemonset-file={daemonset}")
        with running_operator(tmp_path, scene.operator_kubeconfig, *flags) as operator:
            live(scene)
            assert operator.terminate() == 0, operator.log[-3000:]
        had = granted(tmp_path)
        seen = set(used(log))
        assert set(NOT_SEEN_HERE) <= had
        assert had - seen - set(NOT_SEEN_HERE) == set()
        assert seen <= had
