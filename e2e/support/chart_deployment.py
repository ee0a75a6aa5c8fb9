"""lvs-operator in a cluster with kubelets, as a user has it: by helm install, everything in pods."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from lvs_api.api_group import DEFAULT_NAMESPACE
from lvs_lab.artifacts import CHECKOUT
from lvs_lab.clusters.cluster import Cluster, ImageReferences
from lvs_lab.clusters.lab import LabCluster
from lvs_lab.host_commands import Completed
from lvs_lab.image_build import Images, build_images
from lvs_lab.lab import Lab, standard_topology
from lvs_lab.plain_deployment import RELEASE
from lvs_lab.shell_machine import ShellMachine
from lvs_lab.topology import merge_topologies
from support.cluster_looks import ClusterLooks, described
from support.lab_fixtures import session_lab

AGENTS: Final = f"{RELEASE}-agent"
CHART: Final = str(CHECKOUT / "charts" / "lvs-operator")
INSTALL_SECONDS: Final = 240


@dataclass(kw_only=True)
class ChartDeployment(ClusterLooks):
    """A cluster and what the chart made in it. Agents and operator are pods here: there are no processes to start."""

    cluster: Cluster

    @property
    def lab(self) -> Lab:
        """The lab that the cluster is, for tests that need one."""
        assert isinstance(self.cluster, LabCluster), "this test is for the lab's own cluster"
        return self.cluster.lab

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> Completed:
        return self.cluster.kubectl(*arguments, stdin=stdin, check=check, timeout=timeout)

    def node(self, name: str) -> ShellMachine:
        return self.cluster.node(name)

    def client_namespace(self, client: str) -> str:
        """The network namespace that is a client of the lab."""
        return self.lab.places.namespace(self.lab.topology.machine(client))

    def agent_pods(self) -> dict[str, str]:
        """The agents' pods that are Ready, by node."""
        listed = self.kubectl("--namespace", DEFAULT_NAMESPACE, "get", "pods", "--output=json")
        return {
            pod["spec"]["nodeName"]: pod["metadata"]["name"]
            for pod in json.loads(listed.stdout)["items"]
            if pod["metadata"]["name"].startswith(f"{AGENTS}-")
            and "deletionTimestamp" not in pod["metadata"]
            and any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))
        }

    def log(self, pod: str) -> str:
        """What a pod has said."""
        return self.kubectl("--namespace", DEFAULT_NAMESPACE, "logs", pod).stdout

    def describe(self) -> str:
        """What somebody who looks for a fault wants to see first."""
        parts: dict[str, Callable[[], str]] = {}
        for kinds, form in (("lvsvs,lvsdg,lvsslice,lvsnode", "yaml"), ("pods,daemonsets,events", "wide")):
            parts[kinds] = partial(self._listed, kinds, form)
        for component in ("operator", "node-agent"):
            parts[component] = partial(self._last_words, component)
        for node in self.cluster.nodes:
            parts[node] = partial(self._node_state, node)
        return described(parts)

    def _listed(self, kinds: str, form: str) -> str:
        return self.kubectl("get", kinds, "-A", "-o", form, check=False).stdout[-20000:]

    def _last_words(self, component: str) -> str:
        command = ["--namespace", DEFAULT_NAMESPACE, "logs", "--prefix", "--tail=40", "--max-log-requests=20"]
        return self.kubectl(*command, f"-lapp.kubernetes.io/component={component}", check=False).stdout

    def _node_state(self, node: str) -> str:
        return self.node(node).sh("ipvsadm -Ln 2>&1; ip -brief address", check=False)


def image_references(images: Images) -> ImageReferences:
    """What the lab's nodes know the images by."""
    return ImageReferences(operator=images.operator.reference, node_agent=images.node_agent.reference)


def install(cluster: Cluster) -> ChartDeployment:
    """Install the chart by helm, and wait until it is there."""
    options = ["--namespace", DEFAULT_NAMESPACE, "--create-namespace", "--wait", f"--timeout={INSTALL_SECONDS}s"]
    cluster.helm("install", RELEASE, CHART, *options, *cluster.images.chart_values(), timeout=INSTALL_SECONDS + 30)
    return ChartDeployment(cluster=cluster)


@contextmanager
def lab_cluster(name: str, topologies: Sequence[str]) -> Iterator[LabCluster]:
    """A lab of these topologies, each the text or the name of a standard one, whose nodes have the images."""
    images = build_images()
    texts = [one if "\n" in one else standard_topology(one) for one in topologies]
    with session_lab(name, merge_topologies(texts), images=images.archives) as lab:
        yield LabCluster(lab, image_references(images))


@contextmanager
def installed(name: str, topologies: Sequence[str]) -> Iterator[ChartDeployment]:
    """A lab of these topologies with the chart installed by helm."""
    with lab_cluster(name, topologies) as cluster:
        yield install(cluster)
