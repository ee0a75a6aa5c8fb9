"""What the demo on kind shows, chapter by chapter."""

import json
import re
import time
from collections import Counter
from collections.abc import Collection
from typing import Final

from lvs_api.api_group import DEFAULT_NAMESPACE
from lvs_lab.artifacts import CHECKOUT
from lvs_lab.clusters.cluster import Cluster
from lvs_lab.clusters.kind import KindCluster
from lvs_lab.clusters.lab import LAB_ADDRESS, LabCluster
from lvs_lab.demo.cluster import SERVICE, DemoError, ServiceState
from lvs_lab.demo.narrator import Narrator
from lvs_lab.demo.story import MANIFEST
from lvs_lab.plain_deployment import RELEASE
from lvs_lab.waiting import wait_for

CHAPTERS: Final = 5
_WEB_SERVERS: Final = CHECKOUT / "e2e" / "lvs_lab" / "demo" / "web-servers.yaml"
_CHART: Final = "charts/lvs-operator"
_ROUNDS: Final = 50
_INSTALL_SECONDS: Final = 240
_READY_SECONDS: Final = 240
_DEATH_SECONDS: Final = 60


class KindStory:
    """The demo, told once on a cluster that is there, whose nodes can be paused."""

    def __init__(self, narrator: Narrator, cluster: KindCluster | LabCluster) -> None:
        self._tell = narrator
        self._cluster = cluster

    def tell(self) -> None:
        """All chapters but the first, which makes the cluster. Raises LabError where something is not as promised."""
        self.install()
        self.apply()
        self.look()
        self.take_a_server_away()

    def install(self) -> None:
        """Helm, and web servers."""
        self._tell.chapter("helm install")
        text = _WEB_SERVERS.read_text().replace("IMAGE", self._cluster.images.node_agent)
        self._cluster.kubectl("apply", "--filename=-", stdin=text)
        options = ["--namespace", DEFAULT_NAMESPACE, "--create-namespace", "--wait", f"--timeout={_INSTALL_SECONDS}s"]
        words = ["install", RELEASE, str(CHECKOUT / _CHART), *options, *self._cluster.images.chart_values()]
        self._cluster.helm(*words, timeout=_INSTALL_SECONDS + 30)
        self._tell.command(
            f"helm install {RELEASE} {_CHART} {' '.join(options)} --set ...  # the two images", "installed"
        )
        self._cluster.kubectl("rollout", "status", "daemonset/web-server", "--timeout=120s", timeout=130)
        self._kubectl("get", "nodes", "--label-columns=lvs-operator.io/role,app")

    def apply(self) -> None:
        """Two objects, with an address that is free here."""
        self._tell.chapter("kubectl apply: two objects")
        self._tell.say(f"The quick start, with {self._cluster.address}, a free address of the nodes' network:")
        text = (CHECKOUT / MANIFEST).read_text().replace(LAB_ADDRESS, self._cluster.address)
        begin = time.monotonic()
        applied = self._cluster.kubectl("apply", "--filename=-", stdin=text)
        self._tell.command(
            f"sed s/{LAB_ADDRESS}/{self._cluster.address}/ {MANIFEST} | kubectl apply -f -", applied.stdout
        )
        wait_for(
            lambda: self._state().ready == "True" and self._state().up == len(self._cluster.servers),
            _READY_SECONDS,
            f"LvsVirtualService {SERVICE} to be Ready with {len(self._cluster.servers)} servers",
            interval=0.5,
        )
        self._tell.moment(begin, str(self._state()))

    def look(self) -> None:
        """The kernel's table, and replies counted."""
        self._tell.chapter("Traffic")
        self._kubectl("get", "lvs")
        self._show_table()
        self._requests(self._cluster.servers)

    def take_a_server_away(self) -> None:
        """Everything on one node stops, and goes on again."""
        gone, *others = self._cluster.servers
        self._tell.chapter(f"{gone} is taken away")
        self._tell.say(f"Everything on {gone} stops where it is, as `docker pause` does; nobody tells anybody.")
        begin = time.monotonic()
        self._cluster.pause(gone)
        try:
            self._wait_weight(gone, 0)
            self._tell.moment(begin, "its health checks failed: weight 0")
            self._show_table()
            self._requests(others)
        finally:
            self._cluster.resume(gone)
        begin = time.monotonic()
        self._wait_weight(gone, 1)
        self._tell.moment(begin, f"{gone} goes on, and its checks pass: weight 1")
        self._requests(self._cluster.servers)

    def _state(self) -> ServiceState:
        return service_state(self._cluster)

    def _table(self) -> str:
        return self._cluster.node(self._state().active).out("ipvsadm", "-Ln")

    def _show_table(self) -> None:
        self._tell.command("ipvsadm -Ln", self._table(), on=f"{self._state().active} ")

    def _wait_weight(self, server: str, weight: int) -> None:
        entry = rf"-> {re.escape(self._cluster.servers[server])}:80\s+Route\s+{weight}\s"
        what = f"{server} to have weight {weight} on {self._state().active}"
        wait_for(lambda: re.search(entry, self._table()) is not None, _DEATH_SECONDS, what)

    def _requests(self, expected: Collection[str]) -> None:
        """Count replies; round robin makes them equal to one."""
        count = _ROUNDS * len(expected)
        asked = self._cluster.client.ask("replies", self._cluster.address, "80", str(count))
        replies = Counter(asked.stdout.split())
        self._tell.say(
            f"{count} requests by {self._cluster.client.name} to http://{self._cluster.address}/; answered by"
        )
        self._tell.bars(replies)
        if not asked.ok:
            raise DemoError(f"{replies.total()} of {count} requests were answered, then: {asked.stderr.strip()}")
        if set(replies) != set(expected) or any(abs(replies[name] - _ROUNDS) > 1 for name in expected):
            raise DemoError(f"round robin over {', '.join(expected)} was expected")

    def _kubectl(self, *arguments: str) -> None:
        self._tell.command(f"kubectl {' '.join(arguments)}", self._cluster.kubectl(*arguments).stdout)


def service_state(cluster: Cluster) -> ServiceState:
    """How the quick start's service is now."""
    return ServiceState.of(json.loads(cluster.kubectl("get", "lvsvirtualservice", SERVICE, "--output=json").stdout))
