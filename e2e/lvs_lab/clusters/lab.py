"""The lab's own cluster: every node a guest with a kernel of its own, a client beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from lvs_lab.clusters.cluster import DIRECTOR_LABEL, SERVER_LABEL, Ability, Client, Cluster, ImageReferences
from lvs_lab.exec_channel import ExecResult
from lvs_lab.host_commands import Completed, in_namespace
from lvs_lab.lab import Lab
from lvs_lab.lab_machine import GuestMachine, LabMachine

LAB_ADDRESS: Final = "192.168.10.100"
"""Of the standard topologies' network, and of the quick start."""
_CLIENT: Final = "client"


class LabClient(Client):
    """A namespace of the lab."""

    def __init__(self, machine: LabMachine) -> None:
        super().__init__(machine.name)
        self._machine = machine

    def command(self, argv: Sequence[str]) -> list[str]:
        return in_namespace(self._machine.namespace, argv)

    def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = False,
        timeout: float = 60,
    ) -> ExecResult:
        return self._machine.exec(argv, stdin=stdin, env=env, check=check, timeout=timeout)


class LabCluster(Cluster):
    """A lab whose nodes have kubelets and the images."""

    def __init__(self, lab: Lab, images: ImageReferences) -> None:
        self.lab = lab
        self.images = images
        self.address = LAB_ADDRESS
        kubelets = [node for node in lab.topology.nodes if node.kubelet]
        self.directors = tuple(node.name for node in kubelets if DIRECTOR_LABEL in node.labels)
        self.servers = {node.name: lab.guest(node.name).ip for node in kubelets if SERVER_LABEL in node.labels}

    @property
    def client(self) -> LabClient:
        return LabClient(self.lab.machine(_CLIENT))

    @property
    def kubeconfig(self) -> Path:
        return self.lab.host_kubeconfig

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> Completed:
        return self.lab.kubectl(*arguments, stdin=stdin, check=check, timeout=timeout)

    def helm(self, *arguments: str, check: bool = True, timeout: float = 300) -> Completed:
        return self.lab.helm(*arguments, check=check, timeout=timeout)

    def node(self, name: str) -> GuestMachine:
        return self.lab.guest(name)

    def system(self, name: str, argv: Sequence[str]) -> ExecResult:
        return self.lab.guest(name).exec(argv)

    def pause(self, name: str) -> None:
        """Stop everything on a node where it is."""
        self.lab.guest(name).pause()

    def resume(self, name: str) -> None:
        """Let a paused node go on."""
        self.lab.guest(name).resume()

    def lack(self, ability: Ability) -> str:  # noqa: ARG002 - it can do all of them
        return ""
