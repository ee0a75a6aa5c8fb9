"""A cluster that is there already, of which a kubeconfig is all that the tests have."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lvs_api.api_group import DEFAULT_NAMESPACE, GROUP
from lvs_lab.clusters.cluster import (
    CLIENT_LABEL,
    DIRECTOR_LABEL,
    SERVER_LABEL,
    Ability,
    Client,
    Cluster,
    ClusterError,
    ImageReferences,
    internal_address,
)
from lvs_lab.clusters.lookers import NAME, NAMESPACE, looker_objects, lookers_by_node
from lvs_lab.errors import LabError
from lvs_lab.exec_channel import ExecResult
from lvs_lab.host_commands import Completed, run
from lvs_lab.kube_tools import helm_program, kube_programs
from lvs_lab.plain_deployment import RELEASE
from lvs_lab.shell_machine import ShellMachine
from lvs_lab.waiting import wait_for

_LOOKERS_SECONDS: Final = 180
_REMOVAL_SECONDS: Final = 240
_SERVERS: Final = 2
"""At least: one is taken away."""
_USERS_KINDS: Final = "lvsvirtualservices,lvsrealserverpools"
_CLUSTER_WIDE_KINDS: Final = (
    "validatingadmissionpolicybindings,validatingadmissionpolicies,clusterrolebindings,clusterroles,flowschemas"
)
_NAMESPACED_KINDS: Final = "daemonsets,jobs,roles,rolebindings,serviceaccounts"


@dataclass(frozen=True, kw_only=True, slots=True)
class Programs:
    """What talks to a cluster."""

    kubectl: Path
    helm: Path

    @classmethod
    def find(cls) -> "Programs":
        """Those of the machine, and where it has none those of the lab, which are compiled then."""
        return cls(
            kubectl=found("kubectl", lambda: kube_programs() / "kubectl"),
            helm=found("helm", helm_program),
        )


def found(name: str, build: Callable[[], Path]) -> Path:
    """The program that the environment names ($KUBECTL, $HELM, $KIND), or that of the PATH, or one that is built."""
    there = os.environ.get(name.upper()) or shutil.which(name)
    return Path(there) if there else build()


@dataclass(frozen=True, kw_only=True, slots=True)
class Roles:
    """Which nodes play what, by their labels."""

    directors: tuple[str, ...]
    servers: Mapping[str, str]
    """With their addresses."""
    client: str
    """"" where no node is labelled as client."""


def find_roles(nodes: Sequence[Mapping[str, Any]]) -> Roles:
    """Read the roles off Node objects. Raises ClusterError, which says what to label, where too few have one."""

    def labelled(label: tuple[str, str]) -> list[Mapping[str, Any]]:
        key, value = label
        return [node for node in nodes if node["metadata"].get("labels", {}).get(key) == value]

    directors, servers, clients = (labelled(one) for one in (DIRECTOR_LABEL, SERVER_LABEL, CLIENT_LABEL))
    wanted = (("directors", directors, 1, DIRECTOR_LABEL), ("real servers", servers, _SERVERS, SERVER_LABEL))
    for what, some, least, label in wanted:
        if len(some) < least:
            raise ClusterError(
                f"{len(some)} of the cluster's {len(nodes)} nodes are {what}, at least {least} must be: "
                f"kubectl label node NODE {'='.join(label)}"
            )
    names = [node["metadata"]["name"] for some in (directors, servers, clients) for node in some]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ClusterError(f"{', '.join(twice)}: a node is director, real server or client, not two of them")
    return Roles(
        directors=tuple(node["metadata"]["name"] for node in directors),
        servers={node["metadata"]["name"]: internal_address(node) for node in servers},
        client=clients[0]["metadata"]["name"] if clients else "",
    )


class PodMachine(Client):
    """A node as a pod on it sees it, through `kubectl exec`."""

    def __init__(self, name: str, exec_command: Sequence[str]) -> None:
        super().__init__(name)
        self._exec_command = tuple(exec_command)

    def command(self, argv: Sequence[str]) -> list[str]:
        return [*self._exec_command, "--", *argv]


class KubeconfigCluster(Cluster):
    """A cluster with pods that look at its nodes."""

    def __init__(self, kubeconfig: Path, address: str, images: ImageReferences, programs: Programs) -> None:
        self._kubeconfig = kubeconfig
        self.address = address
        self.images = images
        self.programs = programs
        listed = json.loads(self.kubectl("get", "nodes", "--output=json").stdout)["items"]
        roles = find_roles(listed)
        self.directors, self.servers = roles.directors, roles.servers
        self._client_node = roles.client
        self._pods: dict[str, str] = {}

    @classmethod
    @contextmanager
    def open(cls, kubeconfig: Path, address: str, images: ImageReferences) -> Iterator["KubeconfigCluster"]:
        """The cluster with pods that look at its nodes, until the end of the context; then all of ours is removed.

        Raises ClusterError where lvs-operator is installed in it already: the tests would take it away.
        """
        cluster = cls(kubeconfig, address, images, Programs.find())
        cluster.refuse_installed()
        cluster.require_client()
        keep_namespace = DEFAULT_NAMESPACE in cluster.namespaces()
        with ExitStack() as removal:  # the last one first, and each whatever became of those before
            removal.callback(cluster.remove_lookers)
            removal.callback(cluster.remove_release, keep_namespace=keep_namespace)
            cluster.bring_lookers()
            yield cluster

    def refuse_installed(self) -> None:
        """Raise ClusterError where there are CRDs of ours, or the namespace of the pods that look."""
        there = self._our_crds()
        if there:
            raise ClusterError(
                f"lvs-operator is in this cluster already ({len(there)} CRDs of {GROUP}); the tests install and remove "
                "it, with its CRDs and every object of them, so they want a cluster without it"
            )
        if NAMESPACE in self.namespaces():
            raise ClusterError(
                f"there is a namespace {NAMESPACE} in this cluster already, which the tests would delete; where it is "
                f"left of tests that were killed: kubectl delete namespace {NAMESPACE}"
            )

    def remove_release(self, *, keep_namespace: bool) -> None:
        """Take away what tests that failed have left, in the order of docs/how-to/install.md, and the CRDs."""
        with ExitStack() as removal:
            if not keep_namespace:
                removal.callback(self._delete, "namespace", DEFAULT_NAMESPACE, "--ignore-not-found")
            there = self._our_crds()
            if there:
                removal.callback(self._delete, *there)
                removal.callback(self._uninstall)
                removal.callback(self._delete, _USERS_KINDS, "--all", "--all-namespaces", check=False)

    def remove_lookers(self) -> None:
        """Take away the pods that look, with their namespace."""
        self._delete("namespace", NAMESPACE, "--ignore-not-found")

    def namespaces(self) -> set[str]:
        """The names of all there are."""
        listed = self.kubectl("get", "namespaces", "--output=name").stdout.split()
        return {name.removeprefix("namespace/") for name in listed}

    def _uninstall(self) -> None:
        """By Helm; where its Job does not end well, without it, and what nobody looked after is told."""
        release = ["uninstall", RELEASE, "--namespace", DEFAULT_NAMESPACE, "--ignore-not-found"]
        limits = ["--wait", f"--timeout={_REMOVAL_SECONDS}s"]
        try:
            self.helm(*release, *limits, timeout=2 * _REMOVAL_SECONDS)
        except LabError as error:
            print(f"{error}\nIt is removed without its Job; nodes may need docs/how-to/install.md, Clean a node.")
            ours = f"--selector=app.kubernetes.io/instance={RELEASE}"
            with ExitStack() as removal:
                removal.callback(self._delete, _CLUSTER_WIDE_KINDS, ours)
                for namespace in ("default", DEFAULT_NAMESPACE):
                    removal.callback(self._delete, _NAMESPACED_KINDS, ours, f"--namespace={namespace}")
                self.helm(*release, "--no-hooks", *limits, timeout=2 * _REMOVAL_SECONDS)

    def _delete(self, *what: str, check: bool = True) -> None:
        limit = f"--timeout={_REMOVAL_SECONDS}s"
        self.kubectl("delete", *what, limit, check=check, timeout=_REMOVAL_SECONDS + 10)

    def require_client(self) -> str:
        """The node that plays the client. Raises ClusterError where none is labelled so."""
        if not self._client_node:
            raise ClusterError(
                f"no node plays the client: kubectl label node NODE {'='.join(CLIENT_LABEL)} "
                "(one on the same network that is neither director nor real server)"
            )
        return self._client_node

    @property
    def client(self) -> Client:
        return self._pod(self.require_client())

    @property
    def kubeconfig(self) -> Path:
        return self._kubeconfig

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> Completed:
        return run([*self._kubectl_words(), *arguments], stdin=stdin, check=check, timeout=timeout)

    def helm(self, *arguments: str, check: bool = True, timeout: float = 300) -> Completed:
        with tempfile.TemporaryDirectory(prefix="lvs-lab-helm-") as home:
            kept = {f"HELM_{part}_HOME": f"{home}/{part.lower()}" for part in ("CACHE", "CONFIG", "DATA")}
            command = [str(self.programs.helm), f"--kubeconfig={self._kubeconfig}", *arguments]
            return run(command, check=check, timeout=timeout, env={**os.environ, **kept})

    def node(self, name: str) -> ShellMachine:
        return self._pod(name)

    def system(self, name: str, argv: Sequence[str]) -> ExecResult:
        return self.node(name).exec(["nsenter", "--target=1", "--mount", "--", *argv])

    def lack(self, ability: Ability) -> str:
        reasons = {
            Ability.POWER_CUT: "through a kubeconfig nobody can cut a node's power",
            Ability.MACHINES_BESIDE: "a kubeconfig leads to no networks and machines beside the cluster's nodes",
        }
        if ability is Ability.SYSTEM_PROGRAMS:
            return self._lack_of_programs()
        return reasons[ability]

    def _lack_of_programs(self) -> str:
        for node in self.nodes:
            for program in ("ctr", "iptables-save"):
                if not self.system(node, ["sh", "-c", f"command -v {program}"]).ok:
                    return f"node {node} has no program {program}"
        return ""

    def bring_lookers(self) -> None:
        """Bring a pod that looks to each node, and wait until it is there."""
        self.kubectl("apply", "--filename=-", stdin=looker_objects(self.images.node_agent))
        nodes = set(self.nodes)

        def ready() -> bool:
            listed = self.kubectl("--namespace", NAMESPACE, "get", "pods", "--output=json").stdout
            self._pods = lookers_by_node(json.loads(listed))
            missing = nodes - set(self._pods)
            if missing:
                raise ClusterError(f"no pod of {self.images.node_agent} is Ready on {', '.join(sorted(missing))}")
            return True

        wait_for(ready, _LOOKERS_SECONDS, f"the DaemonSet {NAMESPACE}/{NAME} to have a pod on each node", interval=0.5)

    def _pod(self, node: str) -> PodMachine:
        if node not in self._pods:
            raise ClusterError(f"no pod looks at node {node}: it was not there at the beginning")
        command = [*self._kubectl_words(), "--namespace", NAMESPACE, "exec", "--stdin", self._pods[node]]
        return PodMachine(node, command)

    def _kubectl_words(self) -> list[str]:
        return [str(self.programs.kubectl), f"--kubeconfig={self._kubeconfig}"]

    def _our_crds(self) -> list[str]:
        listed = self.kubectl("get", "customresourcedefinitions", "--output=name").stdout.split()
        return [name for name in listed if name.endswith(f".{GROUP}")]
