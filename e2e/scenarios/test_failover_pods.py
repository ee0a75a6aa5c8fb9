"""Two directors with VRRP whose agents are pods of real kubelets: what happens to pods and Nodes, under steady probes.

Figures are printed (`pytest -rP`): how long nobody answered, who let go. What is asserted has deadlines for a busy
machine.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest

from lvs_api.api_group import DEFAULT_NAMESPACE
from lvs_lab.host_commands import run
from lvs_lab.lab_machine import GuestMachine
from lvs_lab.waiting import wait_for
from support.agent_state import wait_rounds
from support.director_pair import TAKE_OVER_SECONDS, DirectorPair
from support.fault_figures import Sign, longest_silence, read_packet
from support.fault_lab import DIRECTORS, NAME, ROUTER_ID, SERVERS, VIP, fault_objects
from support.pod_deployment import POD_ADVERT_MILLISECONDS, POD_SECONDS, PodDeployment, deployed_as_pods
from support.steady_load import plain_real_servers, steady_probes

pytestmark = [pytest.mark.lab, pytest.mark.kubelet]
COLLECTED_SECONDS: Final = 120.0
"""The control plane ends the pods of a Node that is gone about 40 s after it has seen that (podgc's quarantine)."""
START_KUBELET: Final = "exec xargs --null --arg-file=/run/kubelet-command env >> /var/log/kubelet.log 2>&1 < /dev/null"


@pytest.fixture(scope="module")
def lab() -> Iterator[PodDeployment]:
    with (
        deployed_as_pods("pods-vrrp", ["failover-faults"]) as deployment,
        plain_real_servers(deployment.lab, VIP, *SERVERS),
    ):
        deployment.apply(fault_objects(POD_ADVERT_MILLISECONDS))
        yield deployment


@pytest.fixture
def pair(lab: PodDeployment) -> Iterator[DirectorPair]:
    """Both directors up, one of them Master, and the service Ready; whatever a test does is put right."""
    lab.ensure_running()
    lab.wait_ready(NAME)
    pair = DirectorPair(deployment=lab, names=DIRECTORS, client_name="ff-client", vip=VIP, router_id=ROUTER_ID)
    pair.wait_settled(pair.master())
    yield pair
    lab.lab.kubectl("uncordon", *DIRECTORS, check=False)


@dataclass(kw_only=True)
class Watch:
    """What the link heard, once the context has ended."""

    let_go: list[str] = field(default_factory=list)
    """Directors that said that they give the address away (RFC 9568, priority 0)."""
    senders: set[str] = field(default_factory=set)
    """Who sent adverts."""


@contextmanager
def watching(pair: DirectorPair, what: str) -> Iterator[Watch]:
    """Probe the address each millisecond meanwhile, and listen to adverts; print the longest silence."""
    macs, watch = pair.macs, Watch()
    client = pair.deployment.client_namespace("ff-client")
    with steady_probes(client, VIP) as probe, pair.client.capture("ip", "proto", "112") as capture:
        yield watch
        packets = (read_packet(line, VIP, ROUTER_ID) for line in capture.lines())
        adverts = [one for one in packets if one is not None and one.sign is Sign.ADVERT]
    watch.senders = {macs[one.mac] for one in adverts}
    watch.let_go = list(dict.fromkeys(macs[one.mac] for one in adverts if one.priority == 0))
    longest = longest_silence(probe.replies, probe.ended)
    print(f"{what}: {longest:.3f} s without a reply, of {len(probe.replies)} replies; let go: {watch.let_go}")


def pods(lab: PodDeployment, *words: str) -> str:
    """Run kubectl in the release's namespace."""
    return lab.lab.kubectl("--namespace", DEFAULT_NAMESPACE, *words).stdout


def restarts(lab: PodDeployment, pod: str, container: str) -> int:
    """How often the kubelet has started a container of a pod again."""
    found = json.loads(pods(lab, "get", "pod", pod, "--output=json"))["status"]["containerStatuses"]
    return int(next(one["restartCount"] for one in found if one["name"] == container))


def wait_another_pod(lab: PodDeployment, node: str, old: str) -> None:
    what = f"another agent's pod on {node}"
    wait_for(lambda: lab.agent_pods().get(node, old) != old, POD_SECONDS, what, interval=0.5)


def test_logs_exec_and_probes(lab: PodDeployment, pair: DirectorPair) -> None:
    master = pair.master()
    pod = lab.agent_pods()[master]
    assert VIP in pods(lab, "logs", pod)
    assert "keepalived" in pods(lab, "logs", pod, "--container=vrrp").lower()
    shown = pods(lab, "exec", pod, "--", "ipvsadm", "-Ln", "--exact")
    assert f"{VIP}:80" in shown
    agent = lab.pod_agent(master)
    with watching(pair, "the agent is stopped where it is") as watch:
        agent.pause()
        wait_for(lambda: master not in lab.agent_pods(), POD_SECONDS, "the readiness probe to tell", interval=0.5)
        agent.resume()
        wait_for(lambda: lab.agent_pods().get(master) == pod, POD_SECONDS, "the pod to be Ready again", interval=0.5)
    assert watch.senders == {master}


def test_the_agents_container_is_killed(lab: PodDeployment, pair: DirectorPair) -> None:
    """Its kubelet starts it again; the address stays, and so does the pod."""
    master = pair.master()
    pod = lab.agent_pods()[master]
    before = restarts(lab, pod, "agent")
    with watching(pair, "agent's container killed") as watch:
        lab.pod_agent(master).container.crash()
        wait_for(lambda: restarts(lab, pod, "agent") == before + 1, POD_SECONDS, "another container", interval=0.5)
        wait_rounds(lab, master)
        pair.must_stay(master)
    assert watch.senders == {master}
    wait_for(lambda: lab.agent_pods().get(master) == pod, POD_SECONDS, "the same pod to be Ready", interval=0.5)
    assert lab.agent_metric(master, "lvs_agent_kernel_writes_total") == 0


def test_the_vrrp_container_is_killed(lab: PodDeployment, pair: DirectorPair) -> None:
    """Nobody is left to take its address off but the next one in its place, which finds another Master."""
    master = pair.master()
    pod = lab.agent_pods()[master]
    before = restarts(lab, pod, "vrrp")
    with watching(pair, "VRRP's container killed"):
        lab.pod_agent(master).vrrp_container.crash()
        wait_for(lambda: restarts(lab, pod, "vrrp") == before + 1, POD_SECONDS, "another container", interval=0.5)
        new = pair.master()
        pair.wait_settled(new)
        pair.must_stay(new)


def test_a_planned_hand_over(lab: PodDeployment, pair: DirectorPair) -> None:
    master = pair.master()
    other = pair.other(master)
    environment = {**os.environ, "KUBECONFIG": str(lab.lab.host_kubeconfig)}
    with watching(pair, "planned hand-over") as watch:
        done = run([sys.executable, "-m", "lvs_cli", "failover", NAME], env=environment, check=False)
        assert done.stdout == f"{NAME}: {other} carries the addresses instead of {master}\n", done.stderr
        pair.wait_master(other)
    assert watch.let_go == [master]
    pair.wait_settled(other)


@pytest.mark.long
def test_a_director_is_rebooted_while_the_api_server_is_away(lab: PodDeployment, pair: DirectorPair) -> None:
    """A kubelet knows its pods from the API server alone: the director has no agent until then, and harms nobody."""
    master = pair.master()
    other, plane, guest = pair.other(master), lab.lab.control_plane, lab.lab.guest(master)
    with watching(pair, "power off"):
        guest.power_off()
        pair.wait_master(other)
    plane.stop()
    guest.power_on()
    with watching(pair, "power on, and then the API server") as watch:
        wait_for(lambda: "Unable to register node" in kubelet_log(guest), POD_SECONDS, "the kubelet to have asked")
        pair.must_stay(other)
        assert not lab.lab.agent(master).running
        plane.start("kube-apiserver")
        plane.wait_until_ready()
        lab.ensure_running()
        pair.wait_settled(other)
        pair.must_stay(other)
    assert watch.senders == {other}


def kubelet_log(guest: GuestMachine) -> str:
    return guest.out("cat", "/var/log/kubelet.log")


def test_a_director_is_drained(lab: PodDeployment, pair: DirectorPair) -> None:
    """Its agent's pod stays, for a DaemonSet's do; the addresses go by themselves."""
    master = pair.master()
    other, pod = pair.other(master), lab.agent_pods()[master]
    with watching(pair, "drain") as watch:
        lab.lab.kubectl("drain", master, "--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={POD_SECONDS}s")
        pair.wait_master(other)
        pair.wait_settled(other)
    assert watch.let_go == [master]
    assert lab.agent_pods()[master] == pod
    with watching(pair, "uncordon") as watch:
        lab.lab.kubectl("uncordon", master)
        pair.must_stay(other)
    assert watch.senders == {other}


def test_a_directors_pod_is_evicted(lab: PodDeployment, pair: DirectorPair) -> None:
    master = pair.master()
    other, pod = pair.other(master), lab.agent_pods()[master]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": DEFAULT_NAMESPACE},
    }
    with watching(pair, "eviction") as watch:
        path = f"/api/v1/namespaces/{DEFAULT_NAMESPACE}/pods/{pod}/eviction"
        lab.lab.kubectl("create", f"--raw={path}", "--filename=-", stdin=json.dumps(eviction))
        pair.wait_master(other)
        wait_another_pod(lab, master, pod)
        pair.wait_settled(other)
        pair.must_stay(other)
    assert watch.let_go == [master]


@pytest.mark.long
def test_a_directors_node_is_deleted_and_joins_again(lab: PodDeployment, pair: DirectorPair) -> None:
    """Its pod goes with the Node, and so do the addresses; they come to no harm when it is back as another Node."""
    master = pair.master()
    other, pod, guest = pair.other(master), lab.agent_pods()[master], lab.lab.guest(master)
    uid = lab.get("node", master)["metadata"]["uid"]
    with watching(pair, "Node deleted") as watch:
        lab.lab.kubectl("delete", "node", master)
        wait_for(lambda: pair.owners() == [other], COLLECTED_SECONDS, f"{other} to carry {VIP}", interval=0.2)
        wait_for(lambda: master not in lab.names("lvsnode"), POD_SECONDS, f"the LvsNode {master} to go", interval=0.5)
        restart_kubelet(guest)
        wait_for(lambda: lab.get("node", master)["metadata"]["uid"] != uid, POD_SECONDS, f"{master} to join")
        wait_another_pod(lab, master, pod)
        pair.wait_settled(other)
        pair.must_stay(other)
    assert watch.let_go == [master]


def restart_kubelet(guest: GuestMachine) -> None:
    """A kubelet registers its node when it starts."""
    pid = guest.out("pgrep", "--exact", "kubelet").strip()
    guest.sh(f"cat /proc/{pid}/cmdline > /run/kubelet-command; kill {pid}")
    wait_for(lambda: not guest.exec(["pgrep", "--exact", "kubelet"]).ok, TAKE_OVER_SECONDS, "the kubelet to end")
    guest.out("setsid", "--fork", "sh", "-c", START_KUBELET)
