"""Two versions in one lab of kubelet nodes: of which one operator and agents are, and what must not change by it."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from lvs_api.api_group import DEFAULT_NAMESPACE
from lvs_lab.image_build import Images
from lvs_lab.lab import standard_topology
from lvs_lab.plain_deployment import RELEASE
from lvs_lab.waiting import wait_for
from support.chart_deployment import INSTALL_SECONDS, ChartDeployment
from support.kernel_record import kernel_record
from support.lab_fixtures import session_lab
from support.long_connections import LongConnections
from support.older_revision import Version
from support.quick_start import SERVERS, VIP
from support.steady_load import steady_load

DIRECTORS: Final = ("director-1", "director-2")
NODES: Final = (*DIRECTORS, *SERVERS)
RATE: Final = 40
"""New connections a second."""
ROLLOUT_SECONDS: Final = 400.0
"""For the agents of five nodes, one after the other."""
_METRICS_URL: Final = "http://127.0.0.1:9460/metrics"
_READY: Final = "is ready"
_WRITES: Final = re.compile(r'^lvs_agent_kernel_writes_total\{kind="(\w+)"\} (\S+)$', re.MULTILINE)
_SILENT: Final = re.compile(r"the agent of (\S+) does not renew its Lease")

Writes = dict[str, Counter[str]]
"""By node and kind, how often its agent has written to the kernel since it started."""


@dataclass(kw_only=True)
class Upgrade:
    """The lab, the versions, and what is on its way through it all the time."""

    deployment: ChartDeployment
    older: Version
    newer: Version
    connections: LongConnections
    moves: bool
    """The address goes to another director when an agent of a director is replaced."""
    users: dict[str, Any] = field(default_factory=dict)
    """The users' objects as they were at first."""
    pods: dict[str, str] = field(default_factory=dict)
    """By node, of which version its agent's pod was and whether it was ready, when it was last looked at."""
    pods_changed: list[tuple[float, str]] = field(default_factory=list)
    """When that changed in the last phase, by the monotonic clock."""
    silent: list[str] = field(default_factory=list)
    """Real servers that lost their weight in the last phase: their agents were away for longer than their Leases."""

    # what is installed

    def helm(self, *, chart: Version, operator: Version, agents: Version) -> None:
        """Upgrade the release to a chart and images, as the page on installing has it, until all of them run."""
        images = Images(operator=operator.images.operator, node_agent=agents.images.node_agent)
        options = ["--reset-then-reuse-values", "--wait", f"--timeout={INSTALL_SECONDS}s", *images.chart_values()]
        self._helm("upgrade", RELEASE, chart.chart, *options)
        self.wait_running(operator=operator, agents=agents)

    def roll_back(self, revision: int, *, to: Version) -> None:
        """Go back to a revision of the release, which was all of that version."""
        self._helm("rollback", RELEASE, str(revision), "--wait", f"--timeout={INSTALL_SECONDS}s")
        self.wait_running(operator=to, agents=to)

    def _helm(self, *words: str) -> None:
        command = [*words, "--namespace", DEFAULT_NAMESPACE]
        self.deployment.lab.helm(*command, timeout=INSTALL_SECONDS + 30)

    def wait_running(self, *, operator: Version, agents: Version) -> None:
        """Wait until each node's agent is Ready, and all pods are of these versions."""
        wanted = {"operator": {operator.images.operator.reference}, "node-agent": {agents.images.node_agent.reference}}
        what = f"operator of {operator.name} and agents of {agents.name} on all nodes"
        # Where the chart gives agents other arguments, those of the same image are replaced, too.
        wait_for(self._has_rolled_out, ROLLOUT_SECONDS, "the agents' DaemonSet to follow its template", interval=0.5)
        wait_for(lambda: self._running() == wanted, ROLLOUT_SECONDS, what, interval=0.5)

    def _has_rolled_out(self) -> bool:
        """Whether the operator has applied what the chart says, and all pods are of that."""
        wanted = yaml.safe_load(self._object("configmap", f"{RELEASE}-agent-daemonset")["data"]["daemonset.yaml"])
        found = self._object("daemonset", f"{RELEASE}-agent")
        status = found["status"]
        numbers = {status.get(key) for key in ("updatedNumberScheduled", "numberAvailable", "desiredNumberScheduled")}
        is_seen = status.get("observedGeneration") == found["metadata"]["generation"]
        return _containers(found) == _containers(wanted) and is_seen and numbers == {len(NODES)}

    def _object(self, kind: str, name: str) -> dict[str, Any]:
        command = ["--namespace", DEFAULT_NAMESPACE, "get", kind, name, "--output=json"]
        found: dict[str, Any] = json.loads(self.deployment.lab.kubectl(*command).stdout)
        return found

    def _running(self) -> dict[str, set[str]]:
        """The images of all pods that there are, by component. Raises AssertionError where an agent is not ready."""
        selector = f"--selector=app.kubernetes.io/instance={RELEASE}"
        command = ["--namespace", DEFAULT_NAMESPACE, "get", "pods", selector, "--output=json"]
        found: dict[str, set[str]] = {}
        pods = json.loads(self.deployment.lab.kubectl(*command).stdout)["items"]
        agents = self._note_agents(pods)
        assert {node for node, state in agents.items() if state.endswith(_READY)} == set(NODES), agents
        for pod in pods:
            images = {container["image"] for container in pod["spec"]["containers"]}
            found.setdefault(pod["metadata"]["labels"].get("app.kubernetes.io/component", "?"), set()).update(images)
        return found

    def _note_agents(self, pods: list[dict[str, Any]]) -> dict[str, str]:
        """How the agents' pods are now, by node; what changed since the last look is noted."""
        names = {one.images.node_agent.reference: one.name for one in (self.older, self.newer)}
        agents = [one for one in pods if one["metadata"]["labels"].get("app.kubernetes.io/component") == "node-agent"]
        # Of two on one node the one that ends does not count.
        agents.sort(key=lambda one: "deletionTimestamp" not in one["metadata"])
        now = {
            pod["spec"].get("nodeName", "?"): f"{names[pod['spec']['containers'][0]['image']]} {_state(pod)}"
            for pod in agents
        }
        changed = [(node, state) for node, state in now.items() if self.pods.get(node) != state]
        self.pods_changed += [(time.monotonic(), f"the agent of {node}: {state}") for node, state in changed]
        self.pods = now
        return now

    # what must not change

    @contextmanager
    def under_traffic(self, phase: str) -> Iterator[None]:
        """New connections all the time: none fails, no old one breaks, no entry goes or loses its weight meanwhile."""
        begin = datetime.now(UTC)
        before, broken = self.connections_counted(), len(self.connections.failures)
        client = self.deployment.client_namespace("client")
        self.pods_changed.clear()
        with steady_load(client, VIP, RATE) as load:
            started = time.monotonic()
            with kernel_record(self.deployment, VIP, NODES, may_lose=DIRECTORS if self.moves else ()) as record:
                yield
        self.silent = silent = self._silent_servers(begin)
        changes = [(record.started + after, what) for after, what in record.changes]
        print(f"{phase}: began at {begin:%H:%M:%S.%f}, and in that time")
        for moment, what in sorted([*changes, *self.pods_changed]):
            print(f"  {moment - started:.1f} s: {what}")
        print(f"{phase}: {load}; {self.connections}; {record.looks} looks at kernels, lost: {record.losses}")
        print(f"agents that were away for longer than their Leases: {silent}")
        assert self.connections.failures[broken:] == []
        assert load.failures == {}
        assert [
            one for one in record.losses if not one.endswith(tuple(f"-> {SERVERS[name]}:80" for name in silent))
        ] == []
        wait_for(  # the kernel adds up every two seconds
            lambda: self.connections_counted() - before >= load.succeeded,
            10,
            "all new connections to be in the counters: entries that were made anew have lost theirs",
        )
        now = self.users_objects()
        changed = [name for name in self.users | now if self.users.get(name) != now.get(name)]
        assert {name: (self.users.get(name), now.get(name)) for name in changed} == {}
        self.deployment.wait_ready("web")

    def _silent_servers(self, since: datetime) -> list[str]:
        """Real servers whose weight was taken since then, as it has to be: their agents' Leases ran out.

        An agent that is replaced should be back before that, but on a busy machine its pod may need longer.
        """
        command = ["--namespace", DEFAULT_NAMESPACE, "logs", "--selector=app.kubernetes.io/component=operator"]
        options = ["--tail=-1", f"--since-time={since:%Y-%m-%dT%H:%M:%SZ}"]
        return sorted(set(_SILENT.findall(self.deployment.lab.kubectl(*command, *options).stdout)) & set(SERVERS))

    def connections_counted(self) -> int:
        """By the entries of the real servers on both directors."""
        counted = [self.deployment.counters(name) for name in DIRECTORS]
        return sum(one.connections for table in counted for (_, entry), one in table.items() if entry)

    def writes(self) -> Writes:
        """What the present agents have written to their kernels."""
        found = {}
        for node in NODES:
            text = self.deployment.lab.guest(node).out("curl", "--silent", "--fail", _METRICS_URL)
            found[node] = Counter({kind: int(float(value)) for kind, value in _WRITES.findall(text)})
        return found

    def users_objects(self) -> dict[str, Any]:
        """What of the users' objects is theirs, and who they are."""
        listed = json.loads(self.deployment.lab.kubectl("get", "lvsvs,lvspool,lvsdg", "--output=json").stdout)["items"]
        return {f"{one['kind']} {one['metadata']['name']}": _theirs(one) for one in listed}

    def edit(self, change: Mapping[str, Any], back: Mapping[str, Any]) -> None:
        """Edit the service and take it back; both must be in the tables of all directors."""
        before = {name: self.deployment.shape(name) for name in DIRECTORS}
        client, broken = self.deployment.client_namespace("client"), len(self.connections.failures)
        with steady_load(client, VIP, RATE) as load:
            self.deployment.patch("lvsvs", "web", dict(change))
            for name, shape in before.items():
                self.deployment.wait_shape(name, _edited(shape, str(change["scheduler"])))
            self.deployment.wait_ready("web")
            self.deployment.patch("lvsvs", "web", dict(back))
            for name, shape in before.items():
                self.deployment.wait_shape(name, shape)
            self.deployment.wait_ready("web")
        print(f"an edit and back: {load}")
        assert load.failures == {}
        assert self.connections.failures[broken:] == []


def _containers(daemonset: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """What a chart or its values change of them."""
    pod = daemonset["spec"]["template"]["spec"]
    return [tuple(one.get(key) for key in ("name", "image", "args", "securityContext")) for one in pod["containers"]]


def _state(pod: Mapping[str, Any]) -> str:
    if "deletionTimestamp" in pod["metadata"]:
        return "ends"
    conditions = pod["status"].get("conditions", ())
    return _READY if any(one["type"] == "Ready" and one["status"] == "True" for one in conditions) else "starts"


def _theirs(one: Mapping[str, Any]) -> dict[str, Any]:
    """The chart's own group has labels that tell the chart's version."""
    metadata = one["metadata"]
    users = {key: metadata.get(key) for key in ("labels", "annotations")} if one["kind"] != "LvsDirectorGroup" else {}
    return {"uid": metadata["uid"], "spec": one["spec"], **users}


def _edited(shape: Mapping[str, Any], scheduler: str) -> dict[str, Any]:
    return {f"{' '.join(key.split()[:2])} {scheduler}": entries for key, entries in shape.items()}


@contextmanager
def older_installed(label: str, older: Version, newer: Version, *values: str) -> Iterator[ChartDeployment]:
    """A lab with the images of both versions and the older one installed by its own chart, its quick start applied."""
    archives: list[Path] = list(dict.fromkeys([*older.images.archives, *newer.images.archives]))
    with session_lab(label, standard_topology("kubelet"), images=archives) as lab:
        options = ["--namespace", DEFAULT_NAMESPACE, "--create-namespace", "--wait", f"--timeout={INSTALL_SECONDS}s"]
        settings = [*older.images.chart_values(), *(f"--set={value}" for value in values)]
        lab.helm("install", RELEASE, older.chart, *options, *settings, timeout=INSTALL_SECONDS + 30)
        for server in SERVERS:
            lab.machine(server).serve(port=80)
        deployment = ChartDeployment(lab=lab)
        deployment.apply(older.quick_start)
        yield deployment
