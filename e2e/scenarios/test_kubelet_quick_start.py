"""The quick start as its readers have it: real kubelets, helm install, agents as pods, kube-proxy beside.

The tests are one story on one cluster and stand in its order; each says what it needs from those before it. They run on
any cluster (`--cluster`); what one can not do is skipped with the reason.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from lvs_api.api_group import DEFAULT_NAMESPACE, LABEL_NODE_AGENT
from lvs_lab.clusters.cluster import Ability, Cluster
from lvs_lab.clusters.lab import LAB_ADDRESS
from lvs_lab.host_commands import run
from lvs_lab.lab import standard_topology
from lvs_lab.plain_deployment import RELEASE
from lvs_lab.waiting import wait_for
from support.chart_deployment import CHART, INSTALL_SECONDS
from support.cluster_fixtures import require
from support.cluster_release import ClusterRelease, install
from support.cluster_traffic import answers, claimants, count_replies, steady_requests
from support.deployment import EXAMPLES
from support.example_cases import CASES
from support.neighbours import mac_of
from support.quick_start import HEALTH_BOUND, MANIFEST, RETURN_BOUND, active_director
from support.tables import Shape
from support.traffic import answers as lab_answers
from support.traffic import count_replies as count_lab_replies

pytestmark = [pytest.mark.lab, pytest.mark.kubelet]
POD_SECONDS = 120.0
"""For a pod to start on a busy machine."""
ROLLOUT_SECONDS = 300.0
"""For the agents of all nodes, one after the other."""
ROUNDS = 100
"""Requests for each real server."""
(S13,) = (case for case in CASES if case.example == "s13-nat")
# Pods reach the API server by its cluster address, for which a node needs a default route like any other.
_MADE: Final = "role: director\n    kubelet: true\n    gateways: [192.168.4.1]"
TOPOLOGIES: Final = ["kubelet", standard_topology("s13").replace("role: director", _MADE)]
"""What the lab lays out."""


@pytest.fixture(scope="module")
def web(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[ClusterRelease]:
    deployment = install(cluster)
    for name in cluster.servers:
        cluster.node(name).serve(port=80)
    kept = {name: deployment.timeouts(name) for name in directors(deployment)}
    for name in kept:
        # A drain waits for closed connections too, which are counted for two minutes otherwise.
        cluster.node(name).out("ipvsadm", "--set", "900", "2", "300")
    request.module.before = {name: deployment.sysctls(name) for name in (*cluster.directors, *cluster.servers)}
    yield deployment
    for name, timeouts in kept.items():
        cluster.node(name).out("ipvsadm", "--set", *map(str, timeouts))


before: dict[str, dict[str, str]] = {}
"""Sysctls of the nodes before the first service, filled in by the fixture."""


def directors(web: ClusterRelease) -> tuple[str, ...]:
    """All that there are; one of the lab's has a network of its own."""
    beside = () if web.cluster.lack(Ability.MACHINES_BESIDE) else (S13.director,)
    return (*web.cluster.directors, *beside)


def table(web: ClusterRelease) -> Shape:
    """Of both directors, when all is well."""
    return {f"{key(web)} rr": {f"{address}:80": ("Route", 1) for address in web.cluster.servers.values()}}


def key(web: ClusterRelease) -> str:
    """What names the service in a table."""
    return f"TCP {web.cluster.address}:80"


def wait_tables(web: ClusterRelease) -> None:
    for director in web.cluster.directors:
        web.wait_shape(director, table(web))


def assert_tables(web: ClusterRelease) -> None:
    for director in web.cluster.directors:
        assert web.shape(director) == table(web)


def bound(web: ClusterRelease, node: str, device: str) -> bool:
    """Whether a device of a node has the virtual address."""
    return f"{web.cluster.address}/32" in web.addresses(node, device)


def changed_sysctls(web: ClusterRelease, node: str) -> dict[str, str]:
    """What is not as it was; the devices of other pods come and go."""
    return {key: value for key, value in web.sysctls(node).items() if before[node].get(key, value) != value}


def wait_agents(web: ClusterRelease, *nodes: str) -> None:
    wait_for(
        lambda: set(web.agent_pods()) == set(nodes), POD_SECONDS, f"agents on exactly {sorted(nodes)}", interval=0.5
    )


# The cluster is made meanwhile: with kind and nothing built yet docker builds both images, and programs are compiled.
@pytest.mark.timeout(2700)
def test_agents_run_only_on_directors_before_there_is_a_service(web: ClusterRelease) -> None:
    """The third director's group is not applied yet."""
    wait_agents(web, *web.cluster.directors)


def test_quick_start_becomes_ready_and_agents_come_to_the_real_servers(web: ClusterRelease) -> None:
    web.apply(MANIFEST.read_text().replace(LAB_ADDRESS, web.cluster.address))
    web.wait_ready("web", deadline=POD_SECONDS)
    wait_agents(web, *web.cluster.directors, *web.cluster.servers)
    wait_tables(web)


def test_replies_take_turns(web: ClusterRelease) -> None:
    client, address, servers = web.cluster.client, web.cluster.address, web.cluster.servers
    wait_for(lambda: answers(client, address), 10, f"{address} to answer")
    assert count_replies(client, address, ROUNDS * len(servers)) == Counter(dict.fromkeys(servers, ROUNDS))


def test_only_the_active_director_answers_for_the_vip(web: ClusterRelease) -> None:
    active = active_director(web)
    device = web.cluster.device(active)
    assert bound(web, active, device)
    for name in web.cluster.servers:
        assert bound(web, name, "lo")
    assert claimants(web.cluster.client, web.cluster.address) == {mac_of(web.node(active), device)}


def test_stopped_server_loses_its_weight_and_gets_it_back(web: ClusterRelease) -> None:
    active, (stopped, *others) = active_director(web), web.cluster.servers
    entry = f"{web.cluster.servers[stopped]}:80"
    web.node(stopped).server(port=80).stop()
    web.wait_weight(active, key(web), entry, 0, deadline=HEALTH_BOUND)
    assert set(count_replies(web.cluster.client, web.cluster.address, 30)) == set(others)
    web.node(stopped).serve(port=80)
    web.wait_weight(active, key(web), entry, 1, deadline=RETURN_BOUND)


def test_agents_pod_is_replaced_under_traffic(web: ClusterRelease) -> None:
    active = active_director(web)
    old = web.agent_pods()[active]
    with steady_requests(web.cluster.client, web.cluster.address) as record:
        web.kubectl("--namespace", DEFAULT_NAMESPACE, "delete", "pod", old)
        wait_for(lambda: web.agent_pods().get(active, old) != old, POD_SECONDS, "another pod", interval=0.5)
    assert record.failures == []
    assert web.shape(active) == table(web)


def test_logs_tell_what_was_done(web: ClusterRelease) -> None:
    pods = web.agent_pods()
    for name in web.cluster.servers:
        assert f"bind {web.cluster.address} on lo" in web.log(pods[name])
    listed = web.kubectl("--namespace", DEFAULT_NAMESPACE, "logs", f"deployment/{RELEASE}", "--all-pods").stdout
    assert "create LvsServiceSlice web-" in listed


def test_tables_are_listed_through_the_agents_pods_with_the_charts_role_alone(
    web: ClusterRelease, tmp_path: Path
) -> None:
    kubectl, role = web.kubectl, f"{RELEASE}-list"
    command = [sys.executable, "-m", "lvs_cli", "list", "--stats", "--exact"]
    with ExitStack() as removal:  # the cluster may be somebody's

        def create(kind: str, name: str, *options: str, namespace: str = "default") -> None:
            kubectl("--namespace", namespace, "create", kind, name, *options)
            removal.callback(kubectl, "--namespace", namespace, "delete", kind, name)

        create("serviceaccount", "looker")
        kubeconfig = tmp_path / "looker.kubeconfig"
        kubeconfig.write_text(web.cluster.token_kubeconfig("looker", "default"))
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        refused = run(command, env=environment, check=False)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert 'cannot list resource "lvsnodes"' in refused.stderr
        create("clusterrolebinding", role, f"--clusterrole={role}", "--serviceaccount=default:looker")
        create("rolebinding", role, f"--role={role}", "--serviceaccount=default:looker", namespace=DEFAULT_NAMESPACE)

        def listed() -> bool:
            printed = "\n\n".join(
                f"{name}:\n{web.node(name).out('ipvsadm', '-Ln', '--stats', '--exact')}".rstrip()
                for name in sorted(web.cluster.directors)
            )
            assert run(command, env=environment).stdout.rstrip() == printed
            return True

        wait_for(listed, 30, "the listing to be what ipvsadm says of both directors", interval=0.5)
        hidden = run([*command[:4], "--connections"], env=environment, check=False)
        assert (hidden.returncode, "this agent does not tell connections" in hidden.stderr) == (1, True), hidden


def test_node_that_stops_being_a_real_server_loses_its_agent(web: ClusterRelease) -> None:
    *others, left = web.cluster.servers
    web.kubectl("label", "node", left, "app-")
    try:
        wait_agents(web, *web.cluster.directors, *others)
        assert not bound(web, left, "lo")
        assert changed_sysctls(web, left) == {}
    finally:
        web.kubectl("label", "node", left, "app=web")
    wait_agents(web, *web.cluster.directors, *web.cluster.servers)
    wait_tables(web)


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


def test_node_without_power_comes_back_with_its_pods_and_its_weight(web: ClusterRelease) -> None:
    require(web.cluster, Ability.POWER_CUT)
    active, (name, *_) = active_director(web), web.cluster.servers
    entry = f"{web.cluster.servers[name]}:80"
    kubectl, victim = web.kubectl, web.lab.guest(name)
    rollout = ["rollout", "status", "daemonset/sleepers", "--timeout=120s"]
    kubectl("apply", "--filename=-", stdin=PODS)
    kubectl(*rollout, timeout=130)
    select = ["get", "pods", "--selector=app=sleepers", f"--field-selector=spec.nodeName={victim.name}"]
    pod_address = kubectl(*select, "--output=jsonpath={.items[0].status.podIP}").stdout
    ping = ["ping", "-c", "1", "-i", "0.2", "-w", "4", pod_address]
    assert web.lab.guest(active).exec(ping).ok
    victim.power_off()
    web.wait_weight(active, key(web), entry, 0, deadline=HEALTH_BOUND)
    assert not web.lab.guest(active).exec(ping).ok
    victim.power_on()
    victim.serve(port=80)
    web.wait_weight(active, key(web), entry, 1, deadline=POD_SECONDS)
    assert bound(web, name, "lo")
    restarts = "--output=jsonpath={.items[0].status.containerStatuses[0].restartCount}"
    wait_for(lambda: kubectl(*select, restarts).stdout == "1", POD_SECONDS, "the pod to be started again", interval=0.5)
    kubectl(*rollout, timeout=130)
    wait_agents(web, *web.cluster.directors, *web.cluster.servers)
    kubectl("delete", "daemonset", "sleepers", "--wait=true")


def test_kube_proxy_works_beside(web: ClusterRelease) -> None:
    require(web.cluster, Ability.SYSTEM_PROGRAMS)
    active = active_director(web)
    assert "KUBE-SERVICES" in web.cluster.system(active, ["iptables-save", "-t", "nat"]).stdout
    cluster_ip = web.get("service", "kubernetes")["spec"]["clusterIP"]
    # Whoever it lets in: an answer is what kube-proxy's rules lead to.
    asked = web.cluster.client.ask_command("https", cluster_ip, "/version")
    wait_for(lambda: web.node(active).exec(asked).ok, 20, "the API server to answer on its cluster address")


def test_nat_passes_kube_proxys_rules(web: ClusterRelease) -> None:
    """S13 on a node with kube-proxy in iptables mode, whose FORWARD chain drops what conntrack does not know."""
    require(web.cluster, Ability.MACHINES_BESIDE)
    for machine, port in [*((name, 80) for name in S13.real_servers), ("s13-rs201", 3306), ("s13-rs202", 3306)]:
        web.lab.machine(machine).serve(port=port)
    assert "INVALID" in web.lab.guest(S13.director).out("iptables-save", "-t", "filter")
    web.apply(EXAMPLES / S13.example)
    web.wait_ready(S13.service, *S13.other_services, deadline=POD_SECONDS)
    wait_agents(web, *directors(web), *web.cluster.servers)
    web.wait_shape(S13.director, S13.shape)
    client = web.lab.machine(S13.client)
    wait_for(lambda: lab_answers(client, S13.vip), 10, f"{S13.vip} to answer")
    assert count_lab_replies(client, S13.vip, 300) == S13.expected_replies(300)


def test_upgrade_replaces_operator_and_agents_under_traffic(web: ClusterRelease) -> None:
    """To other tags of the images and another value: there is no version before this one to come from."""
    require(web.cluster, Ability.SYSTEM_PROGRAMS)
    tag = "next"
    web.cluster.tag_images(tag)
    before = web.agent_pods()
    with steady_requests(web.cluster.client, web.cluster.address) as record:
        values = f"--set=operator.image.tag={tag},nodeAgent.image.tag={tag},nodeAgent.logLevel=DEBUG"
        options = ["--namespace", DEFAULT_NAMESPACE, "--reset-then-reuse-values", values]
        web.cluster.helm("upgrade", RELEASE, CHART, *options, "--wait", f"--timeout={INSTALL_SECONDS}s")

        def replaced() -> bool:
            now = web.agent_pods()
            return set(now) == set(before) and not set(now.values()) & set(before.values())

        wait_for(replaced, ROLLOUT_SECONDS, "every agent to be replaced", interval=0.5)
    assert record.failures == []
    ran = "--output=jsonpath={.items[*].spec.containers[*].image}"
    listed = web.kubectl("--namespace", DEFAULT_NAMESPACE, "get", "pods", "--field-selector=status.phase=Running", ran)
    assert {image.rpartition(":")[2] for image in listed.stdout.split()} == {tag}
    assert_tables(web)


def test_uninstall_is_refused_while_there_is_a_service_and_taken_back(web: ClusterRelease) -> None:
    release = [RELEASE, "--namespace", DEFAULT_NAMESPACE]
    revision = json.loads(web.cluster.helm("history", *release, "--output=json").stdout)[-1]["revision"]
    with steady_requests(web.cluster.client, web.cluster.address) as record:
        refused = web.cluster.helm("uninstall", *release, f"--timeout={INSTALL_SECONDS}s", check=False)
        assert not refused.ok
        assert "There are LvsVirtualServices: default/" in refused.stdout + refused.stderr, refused
        web.cluster.helm("rollback", *release, str(revision), "--wait", f"--timeout={INSTALL_SECONDS}s")
    assert record.failures == []
    assert_tables(web)


def test_deletion_and_uninstall_leave_nothing(web: ClusterRelease) -> None:
    """In the order of docs/how-to/install.md, without looking in between: the chart's hook waits for the nodes."""
    web.delete(EXAMPLES / S13.example, MANIFEST)
    options = ["--namespace", DEFAULT_NAMESPACE, "--wait", f"--timeout={INSTALL_SECONDS}s"]
    web.cluster.helm("uninstall", RELEASE, *options, timeout=INSTALL_SECONDS + 30)
    for name in directors(web):
        assert web.shape(name) == {}
    for name in web.cluster.directors:
        assert not bound(web, name, web.cluster.device(name))
        assert changed_sysctls(web, name) == {}
    for name in web.cluster.servers:
        assert not bound(web, name, "lo")
        assert changed_sysctls(web, name) == {}
    assert web.names("lvsnodes") == []
    assert web.names("lvsdirectorgroups") == []
    labelled = ["get", "nodes", f"--selector={LABEL_NODE_AGENT}", "--output=name"]
    assert web.kubectl(*labelled).stdout == ""
    namespaced = ["--namespace", DEFAULT_NAMESPACE, "get", "--output=name"]
    mine = f"--selector=app.kubernetes.io/instance={RELEASE}"
    left = [*namespaced, "pods,daemonsets,deployments,jobs,serviceaccounts,roles,rolebindings", mine]
    wait_for(lambda: web.kubectl(*left).stdout == "", POD_SECONDS, "the pods to go", interval=0.5)
    assert web.kubectl("get", "clusterroles,clusterrolebindings", mine, "--output=name").stdout == ""
