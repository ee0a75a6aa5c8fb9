"""When the agents' DaemonSet is applied: where its template says something else, and not again and again.

What an API server makes of it is tried at a real one (`e2e/api/test_operator_daemonset.py`).
"""

from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import pytest

from lvs_operator.agent_daemonset import AgentDaemonSet
from lvs_operator.api_client import ApiClient
from lvs_operator.errors import ApiNotFoundError

Json = dict[str, Any]
TEMPLATE = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agents}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {containers: [{name: agent, image: "i:1", args: [run, --more], resources: {requests: {cpu: "0.1"}}}]}
"""


class Server:
    """Keeps one DaemonSet as it was applied."""

    def __init__(self) -> None:
        self.stored: Json = {}
        self.spells_cpu = "0.1"
        self.applied = 0

    async def get(self, path: str) -> Json:
        if not self.stored:
            raise ApiNotFoundError(f"GET {path}", "404", status=404)
        return deepcopy(self.stored)

    async def request(self, method: str, _: str, *, body: Json, **_parameters: object) -> Json:
        assert method == "PATCH"
        self.applied += 1
        self.stored = deepcopy(body)
        self.stored["metadata"]["generation"] = self.applied
        self.container["resources"]["requests"]["cpu"] = self.spells_cpu
        return deepcopy(self.stored)

    @property
    def container(self) -> Json:
        (container,) = self.stored["spec"]["template"]["spec"]["containers"]
        return cast("Json", container)


def written(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "daemonset.yaml", TEMPLATE)


@pytest.fixture
def agents(server: Server, file: Path) -> AgentDaemonSet:
    return AgentDaemonSet(cast("ApiClient", server), file, "here", may_write=lambda: None)


async def test_what_is_there_with_another_value_is_applied(agents: AgentDaemonSet, server: Server) -> None:
    """An image, or an argument, that somebody edited."""
    assert await agents.ensure()
    assert not await agents.ensure()
    for field, value in (("image", "i:2"), ("args", ["run", "--less"])):
        before = server.container[field]
        server.container[field] = value
        assert await agents.ensure(), field
        assert server.container[field] == before
        assert not await agents.ensure()


async def test_what_the_template_lost_is_applied(agents: AgentDaemonSet, server: Server, file: Path) -> None:
    assert await agents.ensure()
    written(file, TEMPLATE.replace(", --more", ""))
    assert await agents.ensure()
    assert server.container["args"] == ["run"]
    assert not await agents.ensure()


async def test_what_the_server_spells_in_its_own_way_is_applied_once(agents: AgentDaemonSet, server: Server) -> None:
    server.spells_cpu = "100m"
    assert await agents.ensure()
    assert not await agents.ensure()
    server.container["image"] = "i:2"
    server.stored["metadata"]["generation"] += 1
    assert await agents.ensure()
    assert not await agents.ensure()
