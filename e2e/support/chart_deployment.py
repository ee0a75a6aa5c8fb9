"""lvs-operator in a lab of kubelet nodes, as a user has it: by helm install, everything in pods."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from lvs_api.api_group import DEFAULT_NAMESPACE
from lvs_lab.artifacts import CHECKOUT
from lvs_lab.image_build import build_images
from lvs_lab.lab import standard_topology
from lvs_lab.plain_deployment import RELEASE
from lvs_lab.topology import merge_topologies
from support.chart_looks import ChartLooks
from support.deployment import Deployment
from support.lab_fixtures import session_lab

CHART: Final = str(CHECKOUT / "charts" / "lvs-operator")
INSTALL_SECONDS: Final = 240


@dataclass(kw_only=True)
class ChartDeployment(ChartLooks, Deployment):
    """The lab and what the chart made in it. Agents and operator are pods here, so there are no processes to start."""

    operator: Any = None
    operator_kubeconfig: Any = None
    directory: Any = None
    stack: Any = None

    @property
    def node_names(self) -> list[str]:
        return [node.name for node in self.lab.topology.nodes]


@contextmanager
def installed(name: str, topologies: Sequence[str], *values: str) -> Iterator[ChartDeployment]:
    """A lab of these topologies, each the text or the name of a standard one, with the chart installed by helm.

    `values` are more of helm's options.
    """
    images = build_images()
    texts = [one if "\n" in one else standard_topology(one) for one in topologies]
    with session_lab(name, merge_topologies(texts), images=images.archives) as lab:
        options = ["--namespace", DEFAULT_NAMESPACE, "--create-namespace", "--wait", f"--timeout={INSTALL_SECONDS}s"]
        lab.helm("install", RELEASE, CHART, *options, *images.chart_values(), *values, timeout=INSTALL_SECONDS + 30)
        yield ChartDeployment(lab=lab)
