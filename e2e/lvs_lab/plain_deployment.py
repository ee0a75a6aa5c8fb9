"""lvs-operator on the plain nodes of a lab: the chart's objects; operator and agents are programs of the checkout."""

import sys
from pathlib import Path
from typing import Final

from lvs_lab.artifacts import CHECKOUT
from lvs_lab.errors import LabError
from lvs_lab.host_commands import run
from lvs_lab.lab import Lab, for_all
from lvs_lab.processes import Program
from lvs_lab.waiting import wait_for

NAMESPACE: Final = "lvs-system"
RELEASE: Final = "lvs-operator"
AGENT_ACCOUNT: Final = f"{RELEASE}-agent"
_GROUP: Final = CHECKOUT / "examples" / "quick-start" / "director-group.yaml"
_OPERATOR: Final = "lvs-operator"
_OPERATOR_PORT: Final = 8080
_METRICS: Final = ":9460"
_READY_SECONDS: Final = 60


def deploy(lab: Lab) -> list[str]:
    """Run it until the lab goes down; again: start what has ended. The nodes that have an agent. Raises LabError."""
    nodes = [node.name for node in lab.topology.nodes if node.in_cluster and not node.kubelet]
    if not nodes:
        raise LabError(f"lab {lab.name!r} has no plain node; nodes with kubelets take the chart: lvs-lab helm install")
    if not lab.kubectl("get", "namespace", NAMESPACE, check=False).ok:
        install_chart(lab)
    _start_operator(lab)
    for_all(nodes, lambda node: _start_agent(lab, node))
    wait_for(lambda: _is_ready(lab), _READY_SECONDS, f"the operator to be ready; its log: {lab.places.log(_OPERATOR)}")
    return nodes


def install_chart(lab: Lab, *values: str) -> None:
    """Bring what the chart makes, CRDs, rights and ServiceAccounts, without its pods: processes run instead of them."""
    settings = [word for value in ("operator.replicas=0", *values) for word in ("--set", value)]
    chart = str(CHECKOUT / "charts" / "lvs-operator")
    rendered = lab.helm("template", RELEASE, chart, "--namespace", NAMESPACE, "--no-hooks", *settings).stdout
    lab.kubectl("create", "namespace", NAMESPACE)
    lab.kubectl("apply", "--server-side", "--filename=-", stdin=rendered)
    lab.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crds", "--all")
    lab.kubectl("apply", f"--filename={_GROUP}")


def _start_operator(lab: Lab) -> None:
    if Program(lab.places.pid(_OPERATOR)).pid is not None:
        return
    command = [sys.executable, "-m", "lvs_operator", f"--kubeconfig={_operator_kubeconfig(lab)}"]
    lab.start_program(_OPERATOR, [*command, f"--namespace={NAMESPACE}", f"--listen=127.0.0.1:{_OPERATOR_PORT}"])


def _operator_kubeconfig(lab: Lab) -> Path:
    plane = lab.control_plane
    path = plane.authority.directory / "lvs-operator.kubeconfig"
    path.write_text(plane.authority.token_kubeconfig(plane.token(RELEASE, NAMESPACE), plane.url))
    return path


def _is_ready(lab: Lab) -> bool:
    asked = ["curl", "--silent", "--fail", f"http://127.0.0.1:{_OPERATOR_PORT}/readyz"]
    return run(asked, netns=lab.places.api, check=False).ok


def _start_agent(lab: Lab, node: str) -> None:
    """With its VRRP daemon, which waits until a group asks for it."""
    agent = lab.agent(node)
    if not agent.running:
        credentials = lab.agent_kubeconfig(node, AGENT_ACCOUNT, NAMESPACE)
        agent.start(kubeconfig=credentials, options=["--metrics-address", _METRICS, "--show-connections"])
    if not agent.vrrp.running:
        agent.start_vrrp()
