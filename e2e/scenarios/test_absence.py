"""What is gone from the API server without anybody having deleted it: no kernel loses anything, no request fails.

Every test watches the kernels of both directors and of a real server a few times a second: the service, each real
server with weight, and the address on its device. What a user did delete goes all the same.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lvs_api.api_group import GROUP
from lvs_api.kinds import NODE, SERVICE_SLICE, VIRTUAL_SERVICE, Kind
from lvs_lab.artifacts import CHECKOUT
from lvs_lab.guest import Guest
from lvs_lab.host_commands import run
from lvs_lab.node_objects import register, tell_status
from lvs_lab.plain_deployment import AGENT_ACCOUNT, install_chart
from lvs_lab.waiting import wait_for
from support.deployment import GONE_SECONDS, Deployment, holds, operator_kubeconfig
from support.kernel_record import KernelRecord, kernel_record
from support.manifests import documents, object_text, service_text
from support.quick_start import (
    MANIFEST,
    SERVERS,
    VIP,
    active_director,
    client,
    quick_shape,
    quick_start_lab,
    replies,
    restore,
)
from support.traffic import answers, steady_requests

pytestmark = pytest.mark.lab
DIRECTORS = ("director-1", "director-2")
WATCHED = (*DIRECTORS, "server-1")
SECOND_VIP = "192.168.10.101"
SECOND = service_text("second", SECOND_VIP)
BOTH = {**quick_shape(), **quick_shape(vip=SECOND_VIP)}
ROLE = "lvs-operator.io/role"
HELD_SECONDS = 60.0
GARBAGE_COLLECTOR = "system:serviceaccount:kube-system:generic-garbage-collector"
"""The garbage collector takes its time."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with quick_start_lab("absence", tmp_path_factory.mktemp("absence")) as deployment:
        yield deployment


@pytest.fixture
def web(lab: Deployment) -> Iterator[Deployment]:
    yield lab
    apply_crds(lab)
    if not lab.operator.alive:
        lab.restart_operator()
    restore(lab)


@pytest.fixture
def unharmed(web: Deployment) -> Iterator[KernelRecord]:
    """The quick start under steady traffic: nothing of it is lost, and no request fails."""
    with watched(web) as record:
        yield record


@pytest.fixture
def second(web: Deployment) -> str:
    """A second service on the same real servers."""
    web.apply(SECOND)
    web.wait_ready("second")
    for director in DIRECTORS:
        web.wait_shape(director, BOTH)
    return SECOND


@contextmanager
def watched(web: Deployment) -> Iterator[KernelRecord]:
    """Traffic and looks for as long as the context lasts."""
    with (
        steady_requests(web.client_namespace("client"), VIP) as streamed,
        kernel_record(web, VIP, WATCHED) as recorded,
    ):
        yield recorded
    assert recorded.losses == []
    assert streamed.failures == []
    assert streamed.requests > 0


def apply_crds(web: Deployment) -> None:
    files = [f"--filename={file}" for file in sorted((CHECKOUT / "crds").glob(f"{GROUP}_*.yaml"))]
    web.lab.kubectl("apply", "--server-side", *files)
    # kubectl wait fails at once on a CRD that has no status yet.
    wait_for(
        lambda: web.lab.kubectl("wait", "--for=condition=Established", "--timeout=30s", *files).ok,
        60,
        "the CRDs to be established",
    )


def delete_crd(web: Deployment, kind: Kind[object, object]) -> None:
    web.lab.kubectl("delete", "crd", f"{kind.plural}.{GROUP}", "--wait", "--timeout=60s")


def wait_held(
    web: Deployment, reason: str, *, condition: str = "RemovalHeld", nodes: tuple[str, ...] = DIRECTORS
) -> None:
    """Wait until nodes say that they hold something, and why, and their metric counts it."""
    for node in nodes:

        def says(node: str = node) -> bool:
            conditions = web.get("lvsnode", node).get("status", {}).get("conditions", ())
            found = [(one["status"], one["reason"]) for one in conditions if one["type"] == condition]
            assert found == [("True", reason)], conditions
            assert web.agent_metric(node, "lvs_agent_removals_held") > 0
            return True

        wait_for(says, HELD_SECONDS, f"{node} to say {condition} {reason}", interval=0.3)


def wait_nothing_held(web: Deployment, nodes: tuple[str, ...] = DIRECTORS) -> None:
    for node in nodes:

        def says(node: str = node) -> bool:
            status = web.get("lvsnode", node).get("status", {})
            assert "bootId" in status
            assert "releaseToken" not in status, status
            assert not [one for one in status["conditions"] if one["type"] in ("RemovalHeld", "ClusterChanged")]
            assert web.agent_metric(node, "lvs_agent_removals_held") == 0
            return True

        wait_for(says, GONE_SECONDS, f"{node} to hold nothing", interval=0.3)


def release(web: Deployment, *words: str) -> str:
    """Run `kubectl lvs release` as a person does."""
    command = [sys.executable, "-m", "lvs_cli", "release", *words]
    return run(command, env={**os.environ, "KUBECONFIG": str(web.lab.host_kubeconfig)}).stdout


@pytest.mark.usefixtures("unharmed")
def test_crd_of_slices_deleted_and_applied_anew(web: Deployment) -> None:
    delete_crd(web, SERVICE_SLICE)
    wait_held(web, "CRDMissing")
    for director in DIRECTORS:
        assert web.shape(director) == quick_shape()
    apply_crds(web)
    wait_for(lambda: web.names("lvsslice"), GONE_SECONDS, "the slices to be made anew", interval=0.3)
    wait_nothing_held(web)
    web.wait_ready("web")


@pytest.mark.usefixtures("unharmed", "second")
def test_crd_of_services_deleted_and_let_go_what_is_not_applied_anew(web: Deployment) -> None:
    delete_crd(web, VIRTUAL_SERVICE)
    wait_for(lambda: not web.names("lvsslice"), HELD_SECONDS, "the garbage collector to take the slices", interval=0.3)
    wait_held(web, "CRDMissing")
    apply_crds(web)
    web.apply(MANIFEST)
    web.wait_ready("web", deadline=GONE_SECONDS)
    wait_held(web, "CRDMissing")  # the second service went, and was not applied anew
    for director in DIRECTORS:
        assert web.shape(director) == BOTH
    assert f"{SECOND_VIP}/32" in web.addresses("server-1", "lo")
    assert "default/second" in release(web, *DIRECTORS)
    for director in DIRECTORS:
        web.wait_shape(director, quick_shape(), deadline=GONE_SECONDS)
    wait_nothing_held(web)
    wait_for(lambda: f"{SECOND_VIP}/32" not in web.addresses("server-1", "lo"), GONE_SECONDS, "the VIP to leave")


@pytest.mark.usefixtures("unharmed")
def test_crd_of_lvs_nodes_deleted_and_applied_anew(web: Deployment) -> None:
    delete_crd(web, NODE)
    for node in WATCHED:
        wait_for(
            lambda node=node: web.agent_metric(node, "lvs_agent_removals_held") > 0,
            HELD_SECONDS,
            f"{node} to hold what its LvsNode asked for",
        )
    apply_crds(web)
    wait_for(lambda: set(WATCHED) <= set(web.names("lvsnode")), GONE_SECONDS, "the LvsNodes to be made anew")
    wait_nothing_held(web, WATCHED)
    web.wait_ready("web", deadline=GONE_SECONDS)


@pytest.mark.usefixtures("unharmed", "second")
def test_service_deleted_with_the_operator_stopped(web: Deployment) -> None:
    """That is a user's will; a slice deleted by hand is not."""
    web.operator.kill()
    (name,) = (one for one in web.names("lvsslice") if one.startswith("web-"))
    # The chart's policies let no person do it.
    web.lab.kubectl("--as", GARBAGE_COLLECTOR, "delete", "lvsslice", name)
    wait_held(web, "ServiceExists")
    web.delete(SECOND)
    for director in DIRECTORS:
        web.wait_shape(director, quick_shape(), deadline=GONE_SECONDS)
        wait_for(lambda d=director: f"{SECOND_VIP}/32" not in web.addresses(d, "eth0"), 20, "the VIP to go")
    web.restart_operator()
    wait_nothing_held(web)
    web.wait_ready("web", deadline=GONE_SECONDS)
    wait_for(lambda: f"{SECOND_VIP}/32" not in web.addresses("server-1", "lo"), GONE_SECONDS, "the VIP to leave")


@pytest.mark.usefixtures("unharmed")
def test_namespace_deleted(web: Deployment) -> None:
    pool = object_text("LvsRealServerPool", "web", web.get("lvspool", "web")["spec"])
    web.lab.kubectl("create", "namespace", "shop")
    web.apply(documents(pool, service_text("second", SECOND_VIP)), namespace="shop")
    for director in DIRECTORS:
        web.wait_shape(director, BOTH)
    web.lab.kubectl("delete", "namespace", "shop", "--wait", "--timeout=60s")
    for director in DIRECTORS:
        web.wait_shape(director, quick_shape(), deadline=GONE_SECONDS)
    wait_for(lambda: f"{SECOND_VIP}/32" not in web.addresses("server-1", "lo"), GONE_SECONDS, "the VIP to leave")
    wait_nothing_held(web)


@pytest.mark.usefixtures("unharmed")
def test_pool_deleted_before_its_service(web: Deployment) -> None:
    before = {name: web.get("lvsslice", name) for name in web.names("lvsslice")}
    web.lab.kubectl("delete", "lvspool", "web")
    web.wait_condition("web", "ResolvedRefs", "False", "PoolNotFound")
    # A director that starts now serves what was accepted.
    web.lab.agent(DIRECTORS[0]).kill()
    web.start_agent(DIRECTORS[0])
    wait_for(lambda: web.agent_metric(DIRECTORS[0], "lvs_agent_api_up") == 1, 30, "the new agent to follow")
    assert {name: web.get("lvsslice", name) for name in web.names("lvsslice")} == before
    for director in DIRECTORS:
        assert web.shape(director) == quick_shape()
    web.apply(MANIFEST)
    web.wait_ready("web")


@pytest.mark.usefixtures("unharmed", "second")
def test_rights_revoked(web: Deployment) -> None:
    """An agent that runs, and one that starts without any right to read; what is deleted meanwhile goes afterwards."""
    active = active_director(web)
    binding = json.loads(web.lab.kubectl("get", "clusterrolebinding", AGENT_ACCOUNT, "--output=json").stdout)
    kept = {key: binding[key] for key in ("apiVersion", "kind", "roleRef", "subjects")}
    web.lab.kubectl("delete", "clusterrolebinding", AGENT_ACCOUNT)
    try:
        plane = web.lab.control_plane
        plane.stop()  # ends the watches that were granted before
        plane.start("kube-apiserver")
        plane.wait_until_ready()
        for node in DIRECTORS:
            wait_for(lambda n=node: web.agent_metric(n, "lvs_agent_api_up") == 0, 60, f"{node} to be without rights")
        web.lab.agent(active).kill()
        web.start_agent(active)
        web.delete(SECOND)
        wait_for(lambda: "403" in web.lab.agent(active).last_log(), 60, "the new agent to be refused")
        wait_for(lambda: web.agent_metric(active, "lvs_agent_rounds_total") >= 3, 60, "three rounds of the new agent")
        for director in DIRECTORS:
            assert web.shape(director) == BOTH
    finally:
        web.lab.kubectl("create", "--filename=-", stdin=json.dumps(kept | {"metadata": {"name": AGENT_ACCOUNT}}))
    for director in DIRECTORS:
        web.wait_shape(director, quick_shape(), deadline=GONE_SECONDS)
    wait_nothing_held(web)


@pytest.mark.usefixtures("unharmed", "second")
def test_deleted_during_an_outage_longer_than_the_watch_history(web: Deployment) -> None:
    """Operator and agents hear nothing of it, and the API server has forgotten it when they listen again."""
    stop_and_go = {node: str(web.lab.agent(node).pid) for node in DIRECTORS}
    for node, pid in stop_and_go.items():
        web.lab.guest(node).out("kill", "-STOP", pid)
    web.operator.pause()
    web.delete(SECOND)
    wait_for(lambda: all(name.startswith("web-") for name in web.names("lvsslice")), HELD_SECONDS, "the slice to go")
    plane = web.lab.control_plane
    plane.stop()
    plane.start("kube-apiserver")  # its watch history begins now
    plane.wait_until_ready()
    for node, pid in stop_and_go.items():
        web.lab.guest(node).out("kill", "-CONT", pid)
    web.operator.resume()
    for director in DIRECTORS:
        web.wait_shape(director, quick_shape(), deadline=GONE_SECONDS)
    wait_for(
        lambda: SECOND_VIP not in json.dumps(web.get("lvsnode", "server-1")["spec"]),
        GONE_SECONDS,
        "the operator to have no ghost",
        interval=0.3,
    )
    wait_nothing_held(web)


@dataclass(frozen=True, kw_only=True)
class Emptied:
    """A deployment whose etcd is emptied."""

    deployment: Deployment
    directory: Path


def hand_over(web: Deployment, from_: str, to: str) -> None:
    """Let one director hold the addresses, which an operator that knows nothing would not choose by their names."""
    if active_director(web) == from_:
        web.lab.kubectl("label", "node", from_, f"{ROLE}-")
        wait_for(holds(lambda: active_director(web) == to), GONE_SECONDS, f"{to} to be the active director")
        web.lab.kubectl("label", "node", from_, f"{ROLE}=director")
    web.wait_ready("web")
    for director in (from_, to):
        web.wait_shape(director, quick_shape())


@pytest.fixture
def emptied(tmp_path: Path) -> Iterator[Emptied]:
    with quick_start_lab("emptied", tmp_path) as deployment:
        hand_over(deployment, DIRECTORS[0], DIRECTORS[1])
        yield Emptied(deployment=deployment, directory=tmp_path)


@pytest.mark.processes("the nodes, the pods and their tokens are gone with the old etcd")
def test_etcd_restored_empty(emptied: Emptied) -> None:
    """Everything goes on; nothing of the new cluster is carried out until a person lets it in."""
    web = emptied.deployment
    plain = [node for node in web.lab.topology.nodes if node.in_cluster]
    holder = active_director(web)
    assert holder == DIRECTORS[1]
    with watched(web):
        web.operator.kill()
        web.lab.control_plane.begin_anew()
        register(web.lab.control_plane, plain)
        for node in plain:
            tell_status(web.lab.control_plane, Guest(web.lab.places, web.lab.topology, node))
        install_chart(web.lab)
        operator_kubeconfig(web.lab, emptied.directory)
        web.restart_operator()
        for node in web.plain_nodes:
            # Their tokens are the old cluster's: the kubelet would end the pods, and start those of the new DaemonSet.
            web.lab.agent(node).kill("TERM")
            web.start_agent(node)
        wait_held(web, "ClusterChanged", condition="ClusterChanged")
        for director in DIRECTORS:
            assert web.shape(director) == quick_shape()
        web.apply(MANIFEST)
        wait_held(web, "ClusterChanged", condition="ClusterChanged", nodes=tuple(web.plain_nodes))
        assert set(replies(web, 30)) == set(SERVERS)
        # Only who holds the addresses has spoken of its group.
        wait_for(holds(lambda: active_director(web) == holder), GONE_SECONDS, f"the new cluster to name {holder}")
        assert "director-1" in release(web, "--all")
        web.wait_ready("web", deadline=GONE_SECONDS)
        wait_nothing_held(web, tuple(web.plain_nodes))
        for director in DIRECTORS:
            assert web.shape(director) == quick_shape()
        assert active_director(web) == holder
        web.lab.agent("director-1").kill()
        web.start_agent("director-1")
        wait_for(lambda: web.agent_metric("director-1", "lvs_agent_api_up") == 1, 30, "the new agent to follow")
        wait_nothing_held(web)
    assert answers(client(web), VIP)
