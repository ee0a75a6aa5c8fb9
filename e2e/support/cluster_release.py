"""lvs-operator in a cluster with kubelets, whoever made it, as a user has it: by helm install."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lvs_api.api_group import DEFAULT_NAMESPACE
from lvs_lab.clusters.cluster import Cluster, ImageReferences
from lvs_lab.clusters.lab import LabCluster
from lvs_lab.host_commands import Completed
from lvs_lab.image_build import build_images
from lvs_lab.lab import Lab, standard_topology
from lvs_lab.plain_deployment import RELEASE
from lvs_lab.shell_machine import ShellMachine
from lvs_lab.topology import merge_topologies
from support.chart_deployment import CHART, INSTALL_SECONDS
from support.chart_looks import ChartLooks
from support.lab_fixtures import session_lab


@dataclass(kw_only=True)
class ClusterRelease(ChartLooks):
    """A cluster and what the chart made in it."""

    cluster: Cluster

    @property
    def lab(self) -> Lab:
        """The lab that the cluster is, for tests that need one."""
        assert isinstance(self.cluster, LabCluster), "this test is for the lab's own cluster"
        return self.cluster.lab

    @property
    def node_names(self) -> list[str]:
        return list(self.cluster.nodes)

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> Completed:
        return self.cluster.kubectl(*arguments, stdin=stdin, check=check, timeout=timeout)

    def node(self, name: str) -> ShellMachine:
        return self.cluster.node(name)


def install(cluster: Cluster) -> ClusterRelease:
    """Install the chart by helm, and wait until it is there."""
    options = ["--namespace", DEFAULT_NAMESPACE, "--create-namespace", "--wait", f"--timeout={INSTALL_SECONDS}s"]
    cluster.helm("install", RELEASE, CHART, *options, *cluster.images.chart_values(), timeout=INSTALL_SECONDS + 30)
    return ClusterRelease(cluster=cluster)


@contextmanager
def lab_cluster(name: str, topologies: Sequence[str]) -> Iterator[LabCluster]:
    """A lab of these topologies, each the text or the name of a standard one, whose nodes have the images."""
    images = build_images()
    references = ImageReferences(operator=images.operator.reference, node_agent=images.node_agent.reference)
    texts = [one if "\n" in one else standard_topology(one) for one in topologies]
    with session_lab(name, merge_topologies(texts), images=images.archives) as lab:
        yield LabCluster(lab, references)
