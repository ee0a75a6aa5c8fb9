"""The status is written where it differs, also by a server that does not keep all of it."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from waiting_for import until

from lvs_agent.objects.api_connection import ApiConnection
from lvs_agent.objects.report import PROGRESS_SECONDS, StatusReporter
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.lvs_node import DirectorReport, LvsNodeStatus


class OlderServer(ApiConnection):
    """Keeps of a status what its CRD knows: the boot id."""

    def __init__(self) -> None:
        super().__init__(httpx2.AsyncClient())
        self.version = 1
        self.status: dict[str, Any] = {}
        self.asked = 0

    def node(self) -> dict[str, Any]:
        return {"metadata": {"uid": "u", "resourceVersion": str(self.version)}, "status": dict(self.status)}

    async def apply(self, path: str, body: Mapping[str, Any], field_manager: str) -> dict[str, Any]:
        assert path.endswith("/status")
        assert field_manager
        self.asked += 1
        kept = {name: value for name, value in body["status"].items() if name == "bootId"}
        if kept != self.status:
            self.version, self.status = self.version + 1, kept
        return self.node()


async def test_what_an_older_crd_drops_is_not_written_again_and_again() -> None:
    server = OlderServer()
    reporter = StatusReporter(server, node_name="n", observed=server.node, metrics=AgentMetrics())
    writing = asyncio.create_task(reporter.run())
    try:
        for boot, asked in (("one", 1), ("two", 2)):
            for _ in range(3):
                reporter.tell(LvsNodeStatus(boot_id=boot, agent_version="2"))
                await until(lambda asked=asked: server.asked >= asked)  # type: ignore[misc]  # mypy infers no lambda with a default
                await some_turns()
            assert server.status == {"bootId": boot}
            assert server.asked == asked
        server.version, server.status = 9, {"bootId": "of somebody else"}
        reporter.tell(LvsNodeStatus(boot_id="two", agent_version="2"))
        await until(lambda: server.status == {"bootId": "two"})
    finally:
        writing.cancel()


async def test_what_was_said_to_one_object_is_not_said_to_another_of_its_name() -> None:
    """It may be of another cluster, whose operator must hear less."""
    server = OlderServer()
    observed = server.node()
    reporter = StatusReporter(server, node_name="n", observed=lambda: observed, metrics=AgentMetrics())
    reporter.tell(LvsNodeStatus(boot_id="one", agent_version="2"))
    observed = {"metadata": {"uid": "of another", "resourceVersion": "1"}}
    writing = asyncio.create_task(reporter.run())
    try:
        await some_turns()
        assert server.asked == 0
        reporter.tell(LvsNodeStatus(boot_id="two", agent_version="2"))
        await until(lambda: server.status == {"bootId": "two"})
    finally:
        writing.cancel()


async def test_a_status_that_was_restored_to_an_older_one_is_written_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions went back: the own write is not late, it did not last."""
    now = [1000.0]
    monkeypatch.setattr("lvs_agent.objects.report.time", SimpleNamespace(monotonic=lambda: now[0]))
    server = OlderServer()
    server.version = 50
    reporter = StatusReporter(server, node_name="n", observed=server.node, metrics=AgentMetrics())
    writing = asyncio.create_task(reporter.run())
    status = LvsNodeStatus(boot_id="two", agent_version="2")
    try:
        reporter.tell(status)
        await until(lambda: server.status == {"bootId": "two"})
        server.version, server.status = 20, {"bootId": "one"}
        now[0] += 9
        reporter.tell(status)
        await some_turns()
        assert server.asked == 1, "the watch may be late"
        now[0] += 1
        reporter.tell(status)
        await until(lambda: server.status == {"bootId": "two"})
        reporter.tell(status)
        await some_turns()
        assert server.asked == 2
    finally:
        writing.cancel()


class WholeServer(OlderServer):
    """Keeps all of a status."""

    async def apply(self, path: str, body: Mapping[str, Any], field_manager: str) -> dict[str, Any]:
        await super().apply(path, body, field_manager)
        self.version, self.status = self.version + 1, dict(body["status"])
        return self.node()


def at_view(digest: str, *, holds: bool = False) -> LvsNodeStatus:
    return LvsNodeStatus(
        boot_id="one", director_groups=[DirectorReport(name="g", view_digest=digest, holds_addresses=holds)]
    )


async def test_progress_is_told_once_a_second_and_anything_else_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    server = WholeServer()
    reporter = StatusReporter(server, node_name="n", observed=server.node, metrics=AgentMetrics())
    loop = asyncio.get_running_loop()
    now = [loop.time()]
    monkeypatch.setattr(loop, "time", lambda: now[0])
    writing = asyncio.create_task(reporter.run())
    try:
        reporter.tell(at_view("a"))
        await some_turns()
        assert server.asked == 1, "the first"
        for digest in "bcd":
            reporter.tell(at_view(digest))
            await some_turns()
        assert server.asked == 1
        now[0] += PROGRESS_SECONDS
        await some_turns()
        assert server.asked == 2
        assert server.status["directorGroups"][0]["viewDigest"] == "d"
        reporter.tell(at_view("e"))
        await some_turns()
        reporter.tell(at_view("e", holds=True))
        await some_turns()
        assert server.asked == 3, "somebody may wait for it"
        assert server.status["directorGroups"][0]["holdsAddresses"]
    finally:
        writing.cancel()


async def some_turns() -> None:
    for _ in range(9):
        await asyncio.sleep(0)
