"""lvs-operator in a lab of kubelet nodes, as a user has it: by helm install, everything in pods."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from lvs_api.api_group import DEFAULT_NAMESPACE
from lvs_lab.artifacts import CHECKOUT
from lvs_lab.image_build import build_images
from lvs_lab.lab import standard_topology
from lvs_lab.plain_deployment import RELEASE
from lvs_lab.topology import merge_topologies
from support.deployment import Deployment, described
from support.lab_fixtures import session_lab

AGENTS: Final = f"{RELEASE}-agent"
CHART: Final = str(CHECKOUT / "charts" / "lvs-operator")
INSTALL_SECONDS: Final = 240


@dataclass(kw_only=True)
class ChartDeployment(Deployment):
    """The lab and what the chart made in it. Agents and operator are pods here, so there are no processes to start."""

    operator: Any = None
    operator_kubeconfig: Any = None
    directory: Any = None
    stack: Any = None

    def agent_pods(self) -> dict[str, str]:
        """The agents' pods that are Ready, by node."""
        listed = self.lab.kubectl("--namespace", DEFAULT_NAMESPACE, "get", "pods", "--output=json")
        return {
            pod["spec"]["nodeName"]: pod["metadata"]["name"]
            for pod in json.loads(listed.stdout)["items"]
            if pod["metadata"]["name"].startswith(f"{AGENTS}-")
            and "deletionTimestamp" not in pod["metadata"]
            and any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))
        }

    def log(self, pod: str) -> str:
        """What a pod has said."""
        return self.lab.kubectl("--namespace", DEFAULT_NAMESPACE, "logs", pod).stdout

    def describe(self) -> str:
        """What somebody who looks for a fault wants to see first."""
        parts: dict[str, Callable[[], str]] = {}
        for kinds, form in (("lvsvs,lvsdg,lvsslice,lvsnode", "yaml"), ("pods,daemonsets,events", "wide")):
            parts[kinds] = partial(self._listed, kinds, form)
        for component in ("operator", "node-agent"):
            parts[component] = partial(self._last_words, component)
        for node in self.lab.topology.nodes:
            parts[node.name] = partial(self._node_state, node.name)
        return described(parts)

    def _listed(self, kinds: str, form: str) -> str:
        return self.lab.kubectl("get", kinds, "-A", "-o", form, check=False).stdout[-20000:]

    def _last_words(self, component: str) -> str:
        command = ["--namespace", DEFAULT_NAMESPACE, "logs", "--prefix", "--tail=40", "--max-log-requests=20"]
        return self.lab.kubectl(*command, f"-lapp.kubernetes.io/component={component}", check=False).stdout

    def _node_state(self, node: str) -> str:
        return self.lab.guest(node).sh("ipvsadm -Ln 2>&1; ip -brief address", check=False)


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
