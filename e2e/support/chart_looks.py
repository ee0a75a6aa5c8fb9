"""What tests see of lvs-operator in a cluster where a chart brought it: everything in pods."""

import json
from collections.abc import Callable
from functools import partial
from typing import Final

from lvs_api.api_group import DEFAULT_NAMESPACE
from lvs_lab.plain_deployment import RELEASE
from support.cluster_looks import ClusterLooks, described

AGENTS: Final = f"{RELEASE}-agent"


class ChartLooks(ClusterLooks):
    """Its agents' pods, and what its pods say."""

    @property
    def node_names(self) -> list[str]:
        """Of all nodes."""
        raise NotImplementedError

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
        parts["nodes"] = self._node_states
        return described(parts)

    def _listed(self, kinds: str, form: str) -> str:
        return self.kubectl("get", kinds, "-A", "-o", form, check=False).stdout[-20000:]

    def _last_words(self, component: str) -> str:
        command = ["--namespace", DEFAULT_NAMESPACE, "logs", "--prefix", "--tail=40", "--max-log-requests=20"]
        return self.kubectl(*command, f"-lapp.kubernetes.io/component={component}", check=False).stdout

    def _node_states(self) -> str:
        """In one part, for which nodes there are is told by the API server, too."""
        return described({node: partial(self._node_state, node) for node in self.node_names})

    def _node_state(self, node: str) -> str:
        return self.node(node).sh("ipvsadm -Ln 2>&1; ip -brief address", check=False)
