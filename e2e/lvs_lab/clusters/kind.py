"""A cluster by kind: its nodes are containers of docker, and all of them have the kernel of docker's machine."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError
from typing import Final

import yaml
from pytest_kind import KindCluster as PytestKind

from lvs_lab.artifacts import remove_tree
from lvs_lab.clusters.cluster import DIRECTOR_LABEL, SERVER_LABEL, Ability, ClusterError, ImageReferences
from lvs_lab.clusters.docker import (
    NETWORK,
    ContainerMachine,
    build_with_docker,
    client_arguments,
    docker,
    free_address,
    why_no_docker,
)
from lvs_lab.clusters.kubeconfig import KubeconfigCluster, Programs, found
from lvs_lab.exec_channel import ExecResult
from lvs_lab.host_commands import run
from lvs_lab.kube_tools import kind_program

NAME: Final = "lvs-operator"
_READY_SECONDS: Final = 300
_DELETE_SECONDS: Final = 300
_NO_IPVS: Final = (
    "kind's nodes are containers with the kernel of docker's machine, and that has no IPVS; there: modprobe ip_vs "
    "(Debian and Ubuntu bring it with the kernel; a kernel without the module can not be used)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class KindSettings:
    """What kind is to make, and with which programs."""

    name: str = NAME
    node_image: str | None = None
    """Kind's own default where there is none."""
    kind: Path | None = None
    """That of the PATH, or one that is compiled, where there is none."""
    kubectl: Path | None = None
    keep: bool = False
    """Leave the cluster up at the end."""
    directors: int = 2
    servers: int = 2


def kind_configuration(directors: int, servers: int) -> str:
    """Kind's configuration file: a control plane, and workers with the labels of their roles."""
    labels = [DIRECTOR_LABEL] * directors + [SERVER_LABEL] * servers
    workers = [{"role": "worker", "labels": {key: value}} for key, value in labels]
    nodes = [{"role": "control-plane"}, *workers]
    return yaml.safe_dump({"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": nodes}, sort_keys=False)


class KindCluster(KubeconfigCluster):
    """A cluster of kind's with a container that plays the client."""

    player = ContainerMachine(f"{NAME}-client")

    @property
    def client(self) -> ContainerMachine:
        return self.player

    def system(self, name: str, argv: Sequence[str]) -> ExecResult:
        return ContainerMachine(name).exec(argv)

    def lack(self, ability: Ability) -> str:
        reasons = {
            Ability.POWER_CUT: "kind's nodes are containers, which share the kernel of their machine",
            Ability.MACHINES_BESIDE: "kind has one network, and nothing on it but its nodes",
            Ability.SYSTEM_PROGRAMS: "",
        }
        return reasons[ability]

    def pause(self, name: str) -> None:
        """Stop everything on a node where it is."""
        docker("pause", name)

    def resume(self, name: str) -> None:
        """Let a paused node go on."""
        docker("unpause", name)

    def require_ipvs(self) -> None:
        """Raise ClusterError where the nodes' kernel has no IPVS."""
        loaded = self.system(self.directors[0], ["sh", "-c", "modprobe ip_vs; test -e /proc/net/ip_vs"])
        if not loaded.ok:
            raise ClusterError(f"{_NO_IPVS}: {loaded.stderr.strip()}")


@contextmanager
def open_kind(settings: KindSettings) -> Iterator[KindCluster]:
    """A cluster of kind's with the images of this checkout; it is deleted at the end. Raises ClusterError.

    Where docker does not answer, or there is a cluster of that name already, the error says so.
    """
    if reason := why_no_docker():
        raise ClusterError(reason)
    programs = Programs.find()
    kind_path = settings.kind or found("kind", kind_program)
    kubectl = settings.kubectl or programs.kubectl
    for path in (kind_path, kubectl):
        if not path.exists():
            raise ClusterError(f"there is no program {path}")
    if settings.name in run([str(kind_path), "get", "clusters"]).stdout.split():
        raise ClusterError(f"kind has a cluster {settings.name} already: kind delete cluster --name={settings.name}")
    directory = Path(tempfile.mkdtemp(prefix="lvs-lab-kind-"))
    # It makes a directory in the working directory for what it would download, were there no paths.
    with contextlib.chdir(directory):
        kind = PytestKind(
            settings.name,
            kubeconfig=directory / "kubeconfig",
            image=settings.node_image,
            kind_path=kind_path,
            kubectl_path=kubectl,
        )
    player = ContainerMachine(f"{settings.name}-client")
    try:
        images = _make(kind, directory, settings)
        yield _enter(kind.kubeconfig_path, images, Programs(kubectl=kubectl, helm=programs.helm), player)
    except CalledProcessError as error:
        words = " ".join(map(str, error.cmd))
        raise ClusterError(f"{words} ended with {error.returncode}, as it said above") from error
    finally:
        if settings.keep:
            print(f"kind's cluster {settings.name} is left up: export KUBECONFIG={kind.kubeconfig_path}")
        else:
            docker("rm", "--force", player.name, check=False)
            run([str(kind_path), "delete", "cluster", f"--name={settings.name}"], timeout=_DELETE_SECONDS)
            remove_tree(directory)


def _make(kind: PytestKind, directory: Path, settings: KindSettings) -> ImageReferences:
    """Build the images, make the cluster, and give its nodes the images."""
    configuration = directory / "kind.yaml"
    configuration.write_text(kind_configuration(settings.directors, settings.servers))
    images = build_with_docker()
    kind.create(configuration)
    for reference in (images.operator, images.node_agent):
        kind.load_docker_image(reference)
    return images


def _enter(kubeconfig: Path, images: ImageReferences, programs: Programs, player: ContainerMachine) -> KindCluster:
    """The cluster when its nodes are Ready and have IPVS, with its client and the pods that look."""
    address = free_address(docker("network", "inspect", NETWORK).stdout)
    cluster = KindCluster(kubeconfig, address, images, programs)
    ready = ["nodes", "--all", "--for=condition=Ready", f"--timeout={_READY_SECONDS}s"]
    cluster.kubectl("wait", *ready, timeout=_READY_SECONDS + 10)
    cluster.require_ipvs()
    # `kind delete cluster` of a cluster that was kept leaves the client of that one.
    docker("rm", "--force", player.name)
    docker(*client_arguments(player.name, images.node_agent))
    cluster.player = player
    cluster.bring_lookers()
    return cluster
