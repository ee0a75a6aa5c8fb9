"""lvs-operator in a lab as its users have it, by the words of one with processes: the same scenarios run on both.

The nodes of a topology get kubelets, the chart is installed by helm, and operator and agents are pods. One node more
has the operator, for scenarios take the power of the others.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import yaml

from lvs_api.api_group import DEFAULT_NAMESPACE, LABEL_NODE_AGENT, LEASE_OPERATOR
from lvs_lab.lab import Lab, standard_topology
from lvs_lab.plain_deployment import RELEASE
from lvs_lab.pod_agent import ContainerProcess, PodAgent
from lvs_lab.topology import merge_topologies
from lvs_lab.waiting import wait_for
from support.chart_deployment import CHART, ChartDeployment, installed
from support.deployment import METRICS_PORT, AnyOperator

OPERATOR_NODE: Final = "operator"
POD_SECONDS: Final = 120.0
"""For a pod to start or end on a busy machine."""
POD_ADVERT_MILLISECONDS: Final = 300
"""A node that also starts containers, on one processor, may be late by more than three times 100 ms."""
ROLLOUT_SECONDS: Final = 300.0
"""For the agents of all nodes, one after the other."""
OPERATOR_TOPOLOGY: Final = f"""
segments: [operator-lan]
nodes:
  {OPERATOR_NODE}:
    kubelet: true
    role: operator
    interfaces: {{eth0: {{segment: operator-lan, addresses: [192.168.250.10/24]}}}}
"""
VALUES: Final = (
    "--set=operator.replicas=1",
    '--set-json=operator.nodeSelector={"lvs-lab.io/role":"operator"}',
    f"--set=nodeAgent.metricsAddress=:{METRICS_PORT}",
    "--set=nodeAgent.showConnections=true",
)
"""Like the options of agents that are processes; and one operator, so that there is none when it was killed."""


class PodOperator:
    """The operator's one pod, by the words of a process; dead, it stays so until it is started."""

    def __init__(self, lab: Lab, *, former: str = "") -> None:
        self._lab = lab
        self._former = former
        self._guest = lab.guest(OPERATOR_NODE)
        self.container = ContainerProcess(self._guest, "m lvs_operator ", "the operator", container="operator")

    @property
    def log(self) -> str:
        """What it has said."""
        return self.container.log()

    @property
    def holder(self) -> str:
        """Who holds the Lease; a container that is started again is somebody else to it."""
        name = "--output=jsonpath={.spec.holderIdentity}"
        return self._lab.kubectl("--namespace", DEFAULT_NAMESPACE, "get", "lease", LEASE_OPERATOR, name).stdout

    @property
    def leads(self) -> bool:
        """Whether somebody else than the former one holds the Lease."""
        return self.holder not in {"", self._former}

    @property
    def alive(self) -> bool:
        """Whether its process lives."""
        return self.container.running

    def kill(self) -> None:
        """SIGKILL."""
        self.container.kill("KILL")

    def terminate(self) -> int:
        """SIGTERM; its exit code, which nobody has asked for yet (proc_pid_stat(5), exit_code)."""
        pid = self.container.pid
        self.container.kill("TERM")
        return int(self._guest.out("cat", f"/proc/{pid}/stat").split()[-1]) >> 8

    def pause(self) -> None:
        """Stop it where it is."""
        self.container.signal("STOP")

    def resume(self) -> None:
        """Let it go on."""
        self.container.signal("CONT")


@dataclass(kw_only=True)
class PodDeployment(ChartDeployment):
    """The lab, with agents in pods."""

    operator: PodOperator

    @property
    def plain_nodes(self) -> list[str]:
        """The nodes that may have an agent."""
        return [node.name for node in self.lab.topology.nodes if node.in_cluster and node.name != OPERATOR_NODE]

    def pod_agent(self, node: str) -> PodAgent:
        """A node's agent."""
        agent = self.lab.agent(node)
        assert isinstance(agent, PodAgent)
        return agent

    def start_agent(self, node: str, credentials: str | None = None) -> None:
        """Wait until a node that is to have an agent has it, also where it was held back; a kubelet has credentials."""
        del credentials
        self._start(node, self.pod_agent(node).container)

    def start_vrrp(self, node: str) -> None:
        """The same of the VRRP daemon."""
        self._start(node, self.pod_agent(node).vrrp_container)

    def restart_operator(self) -> None:
        """Start another operator in place of one that has ended."""
        assert not self.operator.alive
        self.operator.container.start()

    @contextmanager
    def another_operator(self) -> Iterator[AnyOperator]:
        """A second replica for as long as the context lasts."""
        former = self.operator.holder
        self._scale_operator(2)
        try:
            yield PodOperator(self.lab, former=former)
        finally:
            self._scale_operator(1)

    def restart_agents(self, nodes: Sequence[str], *options: str) -> None:
        """Have new agents on all nodes, with these options more than the chart gives them."""
        before = self.agent_pods()
        assert set(nodes) <= set(before)
        chosen = ["--reuse-values", f"--set-json=nodeAgent.extraArgs={json.dumps(options)}"]
        self.lab.helm("upgrade", RELEASE, CHART, "--namespace", DEFAULT_NAMESPACE, *chosen)
        # It reads the template when it starts, and else minutes after its ConfigMap has changed.
        rollout = ["--namespace", DEFAULT_NAMESPACE, "rollout"]
        self.lab.kubectl(*rollout, "restart", f"deployment/{RELEASE}")
        self.lab.kubectl(*rollout, "status", f"deployment/{RELEASE}", timeout=POD_SECONDS)

        def replaced() -> bool:
            now = self.agent_pods()
            return set(now) == set(before) and not set(now.values()) & set(before.values())

        wait_for(replaced, ROLLOUT_SECONDS, "every agent to be replaced", interval=0.5)

    def wait_ready(self, *names: str, deadline: float = POD_SECONDS) -> None:
        """Wait until services are Ready; pods may have to start first."""
        super().wait_ready(*names, deadline=deadline)

    def ensure_running(self) -> None:
        """Bring back what a test may have broken: power, agents, operator, API server."""
        self.lab.control_plane.repair()
        for name in (*self.plain_nodes, OPERATOR_NODE):
            if not self.lab.guest(name).running:
                self.lab.guest(name).power_on()
        for name in self.plain_nodes:
            self.pod_agent(name).release()
        self.operator.container.release()
        wait_for(self._whole, POD_SECONDS, "every node to have told its boot, and every pod to run", interval=0.5)

    def _scale_operator(self, replicas: int) -> None:
        self.lab.kubectl("--namespace", DEFAULT_NAMESPACE, "scale", "deployment", RELEASE, f"--replicas={replicas}")

    def _start(self, node: str, process: ContainerProcess) -> None:
        if process.held or node in self._to_have_agents():
            process.start()

    def _to_have_agents(self) -> set[str]:
        """The nodes that the operator has labelled; none while the API server is away."""
        asked = ["get", "nodes", f"--selector={LABEL_NODE_AGENT}", "--output=json"]
        listed = self.lab.kubectl(*asked, check=False, timeout=10)
        return {node["metadata"]["name"] for node in json.loads(listed.stdout)["items"]} if listed.ok else set()

    def _whole(self) -> bool:
        told = {node["metadata"]["name"]: _boot(node) for node in self._nodes()}
        assert told == {name: (self.boot_id(name), True) for name in (*self.plain_nodes, OPERATOR_NODE)}, told
        wanted = self._to_have_agents()
        assert set(self.agent_pods()) == wanted, (self.agent_pods(), wanted)
        assert self.operator.alive, "the operator does not run"
        assert [name for name in wanted if not self.lab.agent(name).running] == []
        return True

    def _nodes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.lab.kubectl("get", "nodes", "--output=json").stdout)["items"]
        return found


def _boot(node: Mapping[str, Any]) -> tuple[str, bool]:
    """What a kubelet says of its node: its boot, and whether it is ready."""
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"]["conditions"])
    return node["status"]["nodeInfo"]["bootID"], ready


def with_kubelets(topology_text: str) -> str:
    """The same topology, its nodes with kubelets; machines outside the cluster stay as they are."""
    topology: dict[str, Any] = yaml.safe_load(topology_text)
    for node in topology["nodes"].values():
        if node.get("inCluster", True):
            node["kubelet"] = True
    return yaml.safe_dump(topology, sort_keys=False)


@contextmanager
def deployed_as_pods(name: str, topologies: Sequence[str]) -> Iterator[PodDeployment]:
    """A lab of these standard topologies with kubelets, everything in it running as pods."""
    merged = with_kubelets(merge_topologies([standard_topology(one) for one in topologies]))
    with installed(name, [merged, OPERATOR_TOPOLOGY], *VALUES) as chart:
        deployment = PodDeployment(lab=chart.lab, operator=PodOperator(chart.lab))
        deployment.ensure_running()
        yield deployment
