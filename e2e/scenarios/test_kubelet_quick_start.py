"""The quick start as its readers have it: real kubelets, helm install, agents as pods, kube-proxy beside.

The tests are one story on one lab and stand in its order; each says what it needs from those before it.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvs_api.api_group import DEFAULT_NAMESPACE, LABEL_NODE_AGENT
from lvs_lab.host_commands import run
from lvs_lab.image_build import build_images
from lvs_lab.lab import standard_topology
from lvs_lab.plain_deployment import RELEASE
from lvs_lab.waiting import wait_for
from support.chart_deployment import CHART, INSTALL_SECONDS, ChartDeployment, installed
from support.deployment import EXAMPLES
from support.example_cases import CASES
from support.neighbours import claimants, mac_of
from support.quick_start import HEALTH_BOUND, KEY, MANIFEST, RETURN_BOUND, SERVERS, VIP, active_director, quick_shape
from support.traffic import answers, count_replies, steady_requests

pytestmark = [pytest.mark.lab, pytest.mark.kubelet]
DIRECTORS = ("director-1", "director-2")
POD_SECONDS = 120.0
"""For a pod to start on a busy machine."""
ROLLOUT_SECONDS = 300.0
"""For the agents of all nodes, one after the other."""
(S13,) = (case for case in CASES if case.example == "s13-nat")


@pytest.fixture(scope="module")
def web(request: pytest.FixtureRequest) -> Iterator[ChartDeployment]:
    # Pods reach the API server by its cluster address, for which a node needs a default route like any other.
    made = "role: director\n    kubelet: true\n    gateways: [192.168.4.1]"
    with installed("quick", ["kubelet", standard_topology("s13").replace("role: director", made)]) as deployment:
        for machine, port in [*((name, 80) for name in (*SERVERS, *S13.real_servers)), ("s13-rs201", 3306)]:
            deployment.lab.machine(machine).serve(port=port)
        deployment.lab.machine("s13-rs202").serve(port=3306)
        for director in (*DIRECTORS, S13.director):
            # A drain waits for closed connections too, which are counted for two minutes otherwise.
            deployment.lab.guest(director).out("ipvsadm", "--set", "900", "2", "300")
        request.module.before = {name: deployment.sysctls(name) for name in (*DIRECTORS, *SERVERS)}
        yield deployment


before: dict[str, dict[str, str]] = {}
"""Sysctls of the nodes before the first service, filled in by the fixture."""


def changed_sysctls(web: ChartDeployment, node: str) -> dict[str, str]:
    """What is not as it was; the devices of other pods come and go."""
    return {key: value for key, value in web.sysctls(node).items() if before[node].get(key, value) != value}


def wait_agents(web: ChartDeployment, *nodes: str) -> None:
    wait_for(
        lambda: set(web.agent_pods()) == set(nodes), POD_SECONDS, f"agents on exactly {sorted(nodes)}", interval=0.5
    )


def test_agents_run_only_on_directors_before_there_is_a_service(web: ChartDeployment) -> None:
    """The third director's group is not applied yet."""
    wait_agents(web, *DIRECTORS)


def test_quick_start_becomes_ready_and_agents_come_to_the_real_servers(web: ChartDeployment) -> None:
    web.apply(MANIFEST)
    web.wait_ready("web", deadline=POD_SECONDS)
    wait_agents(web, *DIRECTORS, *SERVERS)
    for director in DIRECTORS:
        web.wait_shape(director, quick_shape())


def test_replies_take_turns(web: ChartDeployment) -> None:
    client = web.lab.machine("client")
    wait_for(lambda: answers(client, VIP), 10, f"{VIP} to answer")
    assert count_replies(client, VIP, 300) == Counter(dict.fromkeys(SERVERS, 100))


def test_only_the_active_director_answers_for_the_vip(web: ChartDeployment) -> None:
    active = active_director(web)
    assert f"{VIP}/32" in web.addresses(active, "eth0")
    for name in SERVERS:
        assert f"{VIP}/32" in web.addresses(name, "lo")
    assert claimants(web.lab.machine("client"), VIP) == {mac_of(web.lab.guest(active))}


def test_stopped_server_loses_its_weight_and_gets_it_back(web: ChartDeployment) -> None:
    active, entry = active_director(web), f"{SERVERS['server-2']}:80"
    server = web.lab.machine("server-2").server(port=80)
    server.stop()
    web.wait_weight(active, KEY, entry, 0, deadline=HEALTH_BOUND)
    assert set(count_replies(web.lab.machine("client"), VIP, 30)) == {"server-1", "server-3"}
    web.lab.machine("server-2").serve(port=80)
    web.wait_weight(active, KEY, entry, 1, deadline=RETURN_BOUND)


def test_agents_pod_is_replaced_under_traffic(web: ChartDeployment) -> None:
    active = active_director(web)
    old = web.agent_pods()[active]
    with steady_requests(web.client_namespace("client"), VIP) as record:
        web.lab.kubectl("--namespace", DEFAULT_NAMESPACE, "delete", "pod", old)
        wait_for(lambda: web.agent_pods().get(active, old) != old, POD_SECONDS, "another pod", interval=0.5)
    assert record.failures == []
    assert web.shape(active) == quick_shape()


def test_logs_tell_what_was_done(web: ChartDeployment) -> None:
    pods = web.agent_pods()
    assert f"bind {VIP} on lo" in web.log(pods["server-1"])
    listed = web.lab.kubectl("--namespace", DEFAULT_NAMESPACE, "logs", f"deployment/{RELEASE}", "--all-pods").stdout
    assert "create LvsServiceSlice web-" in listed


def test_tables_are_listed_through_the_agents_pods_with_the_charts_role_alone(
    web: ChartDeployment, tmp_path: Path
) -> None:
    kubectl, role = web.lab.kubectl, f"{RELEASE}-list"
    kubectl("create", "serviceaccount", "looker")
    kubeconfig = tmp_path / "looker.kubeconfig"
    server = next(line for line in web.lab.host_kubeconfig.read_text().splitlines() if "server:" in line).split()[1]
    plane = web.lab.control_plane
    kubeconfig.write_text(plane.authority.token_kubeconfig(plane.token("looker", "default"), server))
    command = [sys.executable, "-m", "lvs_cli", "list", "--stats", "--exact"]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    refused = run(command, env=environment, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert 'cannot list resource "lvsnodes"' in refused.stderr
    kubectl("create", "clusterrolebinding", role, f"--clusterrole={role}", "--serviceaccount=default:looker")
    namespaced = [f"--role={role}", "--serviceaccount=default:looker"]
    kubectl("--namespace", DEFAULT_NAMESPACE, "create", "rolebinding", role, *namespaced)

    def listed() -> bool:
        printed = "\n\n".join(
            f"{name}:\n{web.lab.guest(name).out('ipvsadm', '-Ln', '--stats', '--exact')}".rstrip() for name in DIRECTORS
        )
        assert run(command, env=environment).stdout.rstrip() == printed
        return True

    wait_for(listed, 30, "the listing to be what ipvsadm says of both directors", interval=0.5)
    hidden = run([*command[:4], "--connections"], env=environment, check=False)
    assert (hidden.returncode, "this agent does not tell connections" in hidden.stderr) == (1, True), hidden


def test_node_that_stops_being_a_real_server_loses_its_agent(web: ChartDeployment) -> None:
    web.lab.kubectl("label", "node", "server-3", "app-")
    wait_agents(web, *DIRECTORS, "server-1", "server-2")
    assert f"{VIP}/32" not in web.addresses("server-3", "lo")
    assert changed_sysctls(web, "server-3") == {}
    web.lab.kubectl("label", "node", "server-3", "app=web")
    wait_agents(web, *DIRECTORS, *SERVERS)
    for director in DIRECTORS:
        web.wait_shape(director, quick_shape())


PODS = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: sleepers, namespace: default}
spec:
  selector: {matchLabels: {app: sleepers}}
  template:
    metadata: {labels: {app: sleepers}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: sleeper, image: "localhost/lvs-lab-pause:1", imagePullPolicy: Never}]
"""


def test_node_without_power_comes_back_with_its_pods_and_its_weight(web: ChartDeployment) -> None:
    active, entry = active_director(web), f"{SERVERS['server-1']}:80"
    kubectl, victim = web.lab.kubectl, web.lab.guest("server-1")
    rollout = ["rollout", "status", "daemonset/sleepers", "--timeout=120s"]
    kubectl("apply", "--filename=-", stdin=PODS)
    kubectl(*rollout, timeout=130)
    select = ["get", "pods", "--selector=app=sleepers", f"--field-selector=spec.nodeName={victim.name}"]
    pod_address = kubectl(*select, "--output=jsonpath={.items[0].status.podIP}").stdout
    ping = ["ping", "-c", "1", "-i", "0.2", "-w", "4", pod_address]
    assert web.lab.guest(active).exec(ping).ok
    victim.power_off()
    web.wait_weight(active, KEY, entry, 0, deadline=HEALTH_BOUND)
    assert not web.lab.guest(active).exec(ping).ok
    victim.power_on()
    victim.serve(port=80)
    web.wait_weight(active, KEY, entry, 1, deadline=POD_SECONDS)
    assert f"{VIP}/32" in web.addresses(victim.name, "lo")
    restarts = "--output=jsonpath={.items[0].status.containerStatuses[0].restartCount}"
    wait_for(lambda: kubectl(*select, restarts).stdout == "1", POD_SECONDS, "the pod to be started again", interval=0.5)
    kubectl(*rollout, timeout=130)
    wait_agents(web, *DIRECTORS, *SERVERS)
    kubectl("delete", "daemonset", "sleepers", "--wait=true")


def test_kube_proxy_works_beside(web: ChartDeployment) -> None:
    director = web.lab.guest(active_director(web))
    assert "KUBE-SERVICES" in director.out("iptables-save", "-t", "nat")
    cluster_ip = web.get("service", "kubernetes")["spec"]["clusterIP"]
    wait_for(
        lambda: (
            director.exec(["curl", "--silent", "--insecure", "--max-time", "3", f"https://{cluster_ip}/version"]).ok
        ),
        20,
        "the API server to answer on its cluster address",
    )


def test_nat_passes_kube_proxys_rules(web: ChartDeployment) -> None:
    """S13 on a node with kube-proxy in iptables mode, whose FORWARD chain drops what conntrack does not know."""
    assert "INVALID" in web.lab.guest(S13.director).out("iptables-save", "-t", "filter")
    web.apply(EXAMPLES / S13.example)
    web.wait_ready(S13.service, *S13.other_services, deadline=POD_SECONDS)
    wait_agents(web, *DIRECTORS, *SERVERS, S13.director)
    web.wait_shape(S13.director, S13.shape)
    client = web.lab.machine(S13.client)
    wait_for(lambda: answers(client, S13.vip), 10, f"{S13.vip} to answer")
    assert count_replies(client, S13.vip, 300) == S13.expected_replies(300)


def test_upgrade_replaces_operator_and_agents_under_traffic(web: ChartDeployment) -> None:
    """To other tags of the images and another value: there is no version before this one to come from."""
    images, tag = build_images(), "next"
    for node in (*DIRECTORS, *SERVERS, S13.director):
        for image in (images.operator, images.node_agent):
            tagged = ["ctr", "--namespace=k8s.io", "images", "tag", image.reference, f"{image.repository}:{tag}"]
            web.lab.guest(node).out(*tagged)
    before = web.agent_pods()
    with steady_requests(web.client_namespace("client"), VIP) as record:
        values = f"--set=operator.image.tag={tag},nodeAgent.image.tag={tag},nodeAgent.logLevel=DEBUG"
        options = ["--namespace", DEFAULT_NAMESPACE, "--reset-then-reuse-values", values]
        web.lab.helm("upgrade", RELEASE, CHART, *options, "--wait", f"--timeout={INSTALL_SECONDS}s")

        def replaced() -> bool:
            now = web.agent_pods()
            return set(now) == set(before) and not set(now.values()) & set(before.values())

        wait_for(replaced, ROLLOUT_SECONDS, "every agent to be replaced", interval=0.5)
    assert record.failures == []
    ran = "--output=jsonpath={.items[*].spec.containers[*].image}"
    listed = web.lab.kubectl(
        "--namespace", DEFAULT_NAMESPACE, "get", "pods", "--field-selector=status.phase=Running", ran
    )
    assert {image.rpartition(":")[2] for image in listed.stdout.split()} == {tag}
    for director in DIRECTORS:
        assert web.shape(director) == quick_shape()


def test_uninstall_is_refused_while_there_is_a_service_and_taken_back(web: ChartDeployment) -> None:
    release = [RELEASE, "--namespace", DEFAULT_NAMESPACE]
    with steady_requests(web.client_namespace("client"), VIP) as record:
        refused = web.lab.helm("uninstall", *release, f"--timeout={INSTALL_SECONDS}s", check=False)
        assert not refused.ok
        assert "There are LvsVirtualServices: default/" in refused.stdout + refused.stderr, refused
        web.lab.helm("rollback", *release, "2", "--wait", f"--timeout={INSTALL_SECONDS}s")
    assert record.failures == []
    for director in DIRECTORS:
        assert web.shape(director) == quick_shape()


def test_deletion_and_uninstall_leave_nothing(web: ChartDeployment) -> None:
    """In the order of docs/how-to/install.md, without looking in between: the chart's hook waits for the nodes."""
    web.delete(EXAMPLES / S13.example, MANIFEST)
    options = ["--namespace", DEFAULT_NAMESPACE, "--wait", f"--timeout={INSTALL_SECONDS}s"]
    web.lab.helm("uninstall", RELEASE, *options, timeout=INSTALL_SECONDS + 30)
    for director in (*DIRECTORS, S13.director):
        assert web.shape(director) == {}
    for director in DIRECTORS:
        assert f"{VIP}/32" not in web.addresses(director, "eth0")
        assert changed_sysctls(web, director) == {}
    for name in SERVERS:
        assert f"{VIP}/32" not in web.addresses(name, "lo")
        assert changed_sysctls(web, name) == {}
    assert web.names("lvsnodes") == []
    assert web.names("lvsdirectorgroups") == []
    labelled = ["get", "nodes", f"--selector={LABEL_NODE_AGENT}", "--output=name"]
    assert web.lab.kubectl(*labelled).stdout == ""
    namespaced = ["--namespace", DEFAULT_NAMESPACE, "get", "--output=name"]
    mine = f"--selector=app.kubernetes.io/instance={RELEASE}"
    left = [*namespaced, "pods,daemonsets,deployments,jobs,serviceaccounts,roles,rolebindings", mine]
    wait_for(lambda: web.lab.kubectl(*left).stdout == "", POD_SECONDS, "the pods to go", interval=0.5)
    assert web.lab.kubectl("get", "clusterroles,clusterrolebindings", mine, "--output=name").stdout == ""
