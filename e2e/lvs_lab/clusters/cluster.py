"""What tests with kubelets need of a cluster, whoever made it."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

import yaml

from lvs_lab.errors import LabError
from lvs_lab.exec_channel import ExecResult
from lvs_lab.host_commands import Completed, run
from lvs_lab.shell_machine import ShellMachine

DIRECTOR_LABEL: Final = ("lvs-operator.io/role", "director")
SERVER_LABEL: Final = ("app", "web")
CLIENT_LABEL: Final = ("lvs-lab.io/role", "client")
"""Of the node that plays the client, where nothing else can."""
_ASK: Final = Path(__file__).with_name("ask.py")


class ClusterError(LabError):
    """A cluster is not to be had, or is not as the tests need it; the message says what to do."""


class Ability(Enum):
    """What not every cluster can do; the value ends the sentence "it can not ...", told where a test did not run."""

    POWER_CUT = "cut the power of a node"
    MACHINES_BESIDE = "have networks and machines beside its nodes"
    SYSTEM_PROGRAMS = "run programs of a node's own system"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageReferences:
    """Both images as a pod names them: repository and tag."""

    operator: str
    node_agent: str

    @classmethod
    def parse(cls, text: str) -> "ImageReferences":
        """`OPERATOR,NODE-AGENT`, each with its tag. Raises ClusterError."""
        parts = text.split(",")
        if len(parts) != len(("operator", "node agent")) or not all(_has_tag(part) for part in parts):
            raise ClusterError(f"{text!r} is not OPERATOR-IMAGE:TAG,NODE-AGENT-IMAGE:TAG")
        return cls(operator=parts[0], node_agent=parts[1])

    def with_tag(self, tag: str) -> "ImageReferences":
        """The same repositories with another tag."""
        return ImageReferences(
            operator=f"{self.operator.rpartition(':')[0]}:{tag}",
            node_agent=f"{self.node_agent.rpartition(':')[0]}:{tag}",
        )

    def chart_values(self) -> list[str]:
        """Helm's options that make the chart use these images."""
        options = []
        for component, reference in (("operator", self.operator), ("nodeAgent", self.node_agent)):
            repository, _, tag = reference.rpartition(":")
            options.append(f"--set={component}.image.repository={repository},{component}.image.tag={tag}")
        return options


def _has_tag(reference: str) -> bool:
    repository, _, tag = reference.rpartition(":")
    return bool(repository) and bool(tag) and "/" not in tag and "@" not in reference


class Client(ShellMachine, ABC):
    """Who asks at the virtual address: a machine that another program of this one runs commands on."""

    @abstractmethod
    def command(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs a command on it, with its stdin and stdout."""

    def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = False,
        timeout: float = 60,
    ) -> ExecResult:
        words = ["env", *(f"{name}={value}" for name, value in env.items()), *argv] if env else argv
        done = run(self.command(words), stdin=stdin, check=check, timeout=timeout)
        return ExecResult(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def ask_command(self, *words: str) -> list[str]:
        """The words for `command` that run ask.py on it, which says what it can be asked."""
        return ["python3", "-c", _ASK.read_text(), *words]

    def ask(self, *words: str, timeout: float = 120) -> ExecResult:
        """Run ask.py on it to its end."""
        return self.exec(self.ask_command(*words), timeout=timeout)


class Cluster(ABC):
    """A cluster with kubelets on whose nodes directors and real servers are chosen by their labels."""

    directors: tuple[str, ...]
    """The names of one node or more."""
    servers: Mapping[str, str]
    """At least two nodes and their addresses."""
    address: str
    """A free one of the nodes' network: the virtual address."""
    images: ImageReferences

    @property
    @abstractmethod
    def client(self) -> Client:
        """Who asks at the virtual address. Raises ClusterError where nobody plays it."""

    @property
    @abstractmethod
    def kubeconfig(self) -> Path:
        """Admin credentials for programs of this machine."""

    @abstractmethod
    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> Completed:
        """Run kubectl as admin."""

    @abstractmethod
    def helm(self, *arguments: str, check: bool = True, timeout: float = 300) -> Completed:
        """Run helm as admin."""

    @abstractmethod
    def node(self, name: str) -> ShellMachine:
        """A node, to run commands in its network: ipvsadm, ip and Python are there."""

    @abstractmethod
    def system(self, name: str, argv: Sequence[str]) -> ExecResult:
        """Run a program of a node's own system."""

    @abstractmethod
    def lack(self, ability: Ability) -> str:
        """Why this cluster can not do that, as a whole sentence; "" where it can."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of all nodes."""
        listed = json.loads(self.kubectl("get", "nodes", "--output=json").stdout)["items"]
        return tuple(node["metadata"]["name"] for node in listed)

    def node_address(self, name: str) -> str:
        """The first InternalIP of a node."""
        return internal_address(json.loads(self.kubectl("get", "node", name, "--output=json").stdout))

    def device(self, name: str) -> str:
        """The network device of a node that has its address."""
        own = self.node_address(name)
        for link in json.loads(self.node(name).out("ip", "-json", "address", "show")):
            if any(info.get("local") == own for info in link["addr_info"]):
                return str(link["ifname"])
        raise ClusterError(f"no network device of node {name} has its address {own}")

    def tag_images(self, tag: str) -> ImageReferences:
        """Give both images another tag on every node. Raises ClusterError."""
        tagged = self.images.with_tag(tag)
        pairs = ((self.images.operator, tagged.operator), (self.images.node_agent, tagged.node_agent))
        for node in self.nodes:
            for image, name in pairs:
                done = self.system(node, ["ctr", "--namespace=k8s.io", "images", "tag", "--force", image, name])
                if not done.ok:
                    raise ClusterError(f"node {node} gives {image} no other tag: {done.stderr.strip()}")
        return tagged

    def token_kubeconfig(self, account: str, namespace: str) -> str:
        """A kubeconfig with a token of a ServiceAccount, for programs of this machine."""
        whole = yaml.safe_load(self.kubeconfig.read_text())
        token = self.kubectl("--namespace", namespace, "create", "token", account).stdout.strip()
        return yaml.safe_dump(with_token(whole, token))


def with_token(kubeconfig: Mapping[str, Any], token: str) -> dict[str, Any]:
    """A kubeconfig of the same cluster as another's present context, with a token and nothing else as credentials."""
    current = kubeconfig["current-context"]
    (context,) = (one["context"] for one in kubeconfig["contexts"] if one["name"] == current)
    (cluster,) = (one for one in kubeconfig["clusters"] if one["name"] == context["cluster"])
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [cluster],
        "users": [{"name": "token", "user": {"token": token}}],
        "contexts": [{"name": "token", "context": {"cluster": cluster["name"], "user": "token"}}],
        "current-context": "token",
    }


def internal_address(node: Mapping[str, Any]) -> str:
    """The first InternalIP of a Node object; of IPv4 where it has one of both. Raises ClusterError."""
    found = [one["address"] for one in node["status"].get("addresses", ()) if one["type"] == "InternalIP"]
    if not found:
        raise ClusterError(f"node {node['metadata']['name']} has no InternalIP")
    return str(next((address for address in found if ":" not in address), found[0]))
