"""lvs-operator in a lab of plain guests: chart installed, operator and agents as processes, looked at from outside."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from lvs_api.api_group import DEFAULT_NAMESPACE
from lvs_lab.artifacts import CHECKOUT
from lvs_lab.guest import Guest
from lvs_lab.host_commands import Completed
from lvs_lab.lab import Lab, for_all, standard_topology
from lvs_lab.lab_machine import GuestMachine
from lvs_lab.node_objects import tell_status
from lvs_lab.plain_deployment import AGENT_ACCOUNT, RELEASE, install_chart
from lvs_lab.topology import merge_topologies
from support.cluster_looks import ClusterLooks, described
from support.lab_fixtures import session_lab
from support.operator_process import OperatorProcess, running_operator

GONE_SECONDS: Final = 60.0
METRICS_PORT: Final = 9470
EXAMPLES: Final = CHECKOUT / "examples"


class AnyOperator(Protocol):
    """An operator, whether it is a process or a pod."""

    @property
    def leads(self) -> bool:
        """Whether it holds the Lease."""

    def terminate(self) -> int:
        """SIGTERM; its exit code."""


@dataclass(kw_only=True)
class Deployment(ClusterLooks):
    """A lab with the operator and an agent on each plain node of the cluster."""

    lab: Lab
    operator: OperatorProcess
    operator_kubeconfig: Path
    directory: Path
    stack: ExitStack
    """Ends what the deployment has started."""
    vrrp_nodes: set[str] = field(default_factory=set)
    """Those on which the VRRP daemon is to run."""

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> Completed:
        return self.lab.kubectl(*arguments, stdin=stdin, check=check, timeout=timeout)

    def node(self, name: str) -> GuestMachine:
        return self.lab.guest(name)

    # programs

    @property
    def plain_nodes(self) -> list[str]:
        """The nodes that have an agent as a process."""
        return [node.name for node in self.lab.topology.nodes if node.in_cluster and not node.kubelet]

    def agent_credentials(self, node: str) -> str:
        """A kubeconfig with a new token for a node's agent, which the API server makes."""
        return self.lab.agent_kubeconfig(node, AGENT_ACCOUNT, DEFAULT_NAMESPACE)

    def start_agent(self, node: str, credentials: str | None = None) -> None:
        """Start a node's agent with these credentials, or with new ones."""
        self.lab.agent(node).start(kubeconfig=credentials or self.agent_credentials(node), options=agent_options())

    def start_vrrp(self, node: str) -> None:
        """Start a node's VRRP daemon, here and whenever it has to be brought back."""
        self.vrrp_nodes.add(node)
        self.lab.agent(node).start_vrrp()

    def restart_operator(self) -> None:
        """Start another operator in place of one that has ended."""
        assert not self.operator.alive
        name = f"operator-{time.monotonic_ns()}"
        self.operator = self.stack.enter_context(running_operator(self.directory, self.operator_kubeconfig, name=name))

    @contextmanager
    def another_operator(self) -> Iterator[AnyOperator]:
        """An operator beside that of the deployment for as long as the context lasts."""
        with running_operator(self.directory, self.operator_kubeconfig, name="another") as operator:
            yield operator

    def restart_agents(self, nodes: Sequence[str], *options: str) -> None:
        """Have new agents on these nodes, with these options more than agents have anyhow."""
        for node in nodes:
            self.lab.agent(node).kill("TERM")
            self.lab.agent(node).start(kubeconfig=self.agent_credentials(node), options=[*agent_options(), *options])

    def agent_metric(self, node: str, name: str) -> float:
        """One of an agent's metrics, with its labels as they are exposed; without them the sum over all."""
        text = self.lab.guest(node).out("curl", "--silent", "--fail", f"http://127.0.0.1:{METRICS_PORT}/metrics")
        rows = [line.rpartition(" ") for line in text.splitlines()]
        values = [float(value) for series, _, value in rows if name in {series, series.partition("{")[0]}]
        assert values, f"{node}'s agent has no metric {name}"
        return sum(values)

    def client_namespace(self, client: str) -> str:
        """The network namespace that is a client."""
        return self.lab.places.namespace(self.lab.topology.machine(client))

    def ensure_running(self) -> None:
        """Bring back what a test may have broken: power, agents, API server, cards."""
        self.lab.control_plane.repair()
        for name in self.plain_nodes:
            if not self.lab.guest(name).running:
                self.lab.guest(name).power_on()
        self._tell_boots()
        for name in self.plain_nodes:
            if not self.lab.agent(name).running:
                self.start_agent(name)
            if name in self.vrrp_nodes and not self.lab.agent(name).vrrp.running:
                self.start_vrrp(name)

    def boot_id(self, node: str) -> str:
        """What names the present boot of a node."""
        return self.lab.guest(node).out("cat", "/proc/sys/kernel/random/boot_id").strip()

    def _tell_boots(self) -> None:
        """Write the boot ids of nodes that booted while the API server was away, as their kubelets would by now."""
        listed = json.loads(self.lab.kubectl("get", "nodes", "--output=json").stdout)["items"]
        known = {node["metadata"]["name"]: node["status"]["nodeInfo"]["bootID"] for node in listed}
        for name in self.plain_nodes:
            guest = self.lab.guest(name)
            if known[name] != self.boot_id(name):
                tell_status(self.lab.control_plane, Guest(self.lab.places, self.lab.topology, guest.machine))

    def describe(self) -> str:
        """What somebody who looks for a fault wants to see first."""
        parts: dict[str, Callable[[], str]] = {"operator": self._operator_words}
        for kind in ("lvsvs", "lvspool", "lvsdg", "lvsslice", "lvsnode"):
            parts[kind] = partial(self._objects, kind)
        for name in self.plain_nodes:
            parts[name] = partial(_node_state, self.lab.guest(name))
            parts[f"{name} agent"] = partial(self._agent_words, name)
            if name in self.vrrp_nodes:
                parts[f"{name} VRRP daemon"] = partial(self._vrrp_words, name)
        return described(parts)

    def _vrrp_words(self, node: str) -> str:
        return "\n".join(self.lab.agent(node).vrrp.log().splitlines()[-60:])

    def _operator_words(self) -> str:
        quiet = [line for line in self.operator.log.splitlines() if " DEBUG " not in line]
        return "\n".join(quiet[-40:])

    def _objects(self, kind: str) -> str:
        listed = self.lab.kubectl("get", kind, "-A", "-o", "json", check=False, timeout=20)
        return _briefly(listed.stdout) if listed.ok else listed.stderr

    def _agent_words(self, node: str) -> str:
        return self.lab.agent(node).log()[-3000:]


def agent_options() -> list[str]:
    """What the agents of the lab are started with."""
    return ["--metrics-address", f":{METRICS_PORT}", "--show-connections"]


def _briefly(text: str) -> str:
    """Each object on a line: its name, generation, spec and status."""
    items = json.loads(text)["items"]
    return "\n".join(
        f"{item['metadata']['name']} generation {item['metadata'].get('generation')}"
        f" spec {json.dumps(item.get('spec'))} status {json.dumps(item.get('status'))}"
        for item in items
    )


def _node_state(guest: GuestMachine) -> str:
    return guest.sh("ipvsadm -Ln 2>&1; ip -brief address", check=False)


@contextmanager
def deployed(name: str, topologies: Sequence[str], directory: Path) -> Iterator[Deployment]:
    """A lab of these standard topologies with everything running in it."""
    with session_lab(name, merge_topologies([standard_topology(one) for one in topologies])) as lab:
        install_chart(lab)
        kubeconfig = operator_kubeconfig(lab, directory)
        with ExitStack() as stack:
            deployment = Deployment(
                lab=lab,
                operator=stack.enter_context(running_operator(directory, kubeconfig)),
                operator_kubeconfig=kubeconfig,
                directory=directory,
                stack=stack,
            )
            for_all(deployment.plain_nodes, deployment.start_agent)
            yield deployment


def operator_kubeconfig(lab: Lab, directory: Path) -> Path:
    """Credentials of the operator's ServiceAccount, through the lab's relay."""
    plane = lab.control_plane
    server = next(line.split(maxsplit=1)[1] for line in _lines(lab.host_kubeconfig) if line.startswith("server:"))
    token = plane.token(RELEASE, DEFAULT_NAMESPACE)
    path = directory / "operator.kubeconfig"
    path.write_text(plane.authority.token_kubeconfig(token, server))
    return path


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text().splitlines()]


def holds(condition: Callable[[], bool]) -> Callable[[], bool]:
    """A condition for `wait_for` out of a statement that may also fail by KeyError while things come and go."""

    def seen() -> bool:
        try:
            return condition()
        except KeyError as error:
            raise AssertionError(f"not there: {error}") from error

    return seen
