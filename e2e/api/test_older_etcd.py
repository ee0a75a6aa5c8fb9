"""An etcd that is restored to an older state, its revision with it: operator and agent see what changes after that."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from test_agent_at_api import agent_side, created, until

from lvs_api.kinds import VIRTUAL_SERVICE
from lvs_api.lvs_node import LvsNodeStatus
from lvs_api.testing import director_group, lvs_node, real_server_pool, virtual_service
from support.api_server import MERGE, ApiServer, collection_path, running_api_server
from support.operator_process import NAMESPACE, running_operator

NODE = "d1"
EDITS = 60
"""Writes after the copy, more than there are after the restore before everybody looks."""
FOUND_SECONDS = 90
Json = dict[str, Any]


def weigh(server: ApiServer, weight: int) -> None:
    """Give the first real server this weight."""
    pool = server.get(real_server_pool("web")).raise_for_status()
    pool["spec"]["realServers"][0]["weight"] = weight
    server.replace(pool).raise_for_status()


def newest(server: ApiServer) -> int:
    """The version as of which pools are listed now."""
    listed = server.request("GET", collection_path(real_server_pool("web"))).raise_for_status()
    return int(listed["metadata"]["resourceVersion"])


def prepare(server: ApiServer) -> None:
    server.install_crds()
    server.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}}).raise_for_status()
    node = {"metadata": {"name": NODE, "labels": {"lvs-director": "true"}}}
    server.request("POST", "/api/v1/nodes", node).raise_for_status()
    status = {
        "addresses": [{"type": "InternalIP", "address": "192.168.4.1"}],
        "conditions": [{"type": "Ready", "status": "True", "reason": "Test", "message": ""}],
    }
    path = f"/api/v1/nodes/{NODE}/status"
    server.request("PATCH", path, {"status": status}, content_type=MERGE).raise_for_status()
    for raw in (director_group(), real_server_pool("web"), virtual_service("web")):
        created(server, raw)


async def test_changes_after_a_restore_are_seen(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(running_api_server(tmp_path / "server"))
        prepare(server)
        flags = ("--check-seconds=3600", "--count-seconds=1")
        operator = stack.enter_context(running_operator(tmp_path, server.kubeconfig, *flags))
        stack.callback(lambda: print(operator.log[-8000:]))  # shown where the test fails
        async with agent_side(server, tmp_path / "state", NODE) as agent:

            def weight() -> int | None:
                return agent.weights().get("rs1")

            def stored() -> str | None:
                status = server.get(lvs_node(NODE)).raise_for_status().get("status") or {}
                boot: str | None = status.get("bootId")
                return boot

            async def tell(boot: str, until_then: Callable[[], bool]) -> None:
                """Say the status again and again, as a round does."""
                async with asyncio.timeout(FOUND_SECONDS):
                    while not until_then():
                        agent.reporter.tell(LvsNodeStatus(boot_id=boot, exceptions=[], addresses=[]))
                        await asyncio.sleep(0.1)

            await until(lambda: weight() == 1, FOUND_SECONDS)
            await tell("first", lambda: stored() == "first")
            await asyncio.to_thread(server.back_up, tmp_path / "copy")
            for number in range(EDITS):
                weigh(server, 100 + number)
            await until(lambda: weight() == 100 + EDITS - 1, FOUND_SECONDS)
            await tell("second", lambda: stored() == "second")
            before = newest(server)

            await asyncio.to_thread(server.restore, tmp_path / "copy")
            assert stored() == "first", "the report is that of the copy"
            weigh(server, 7)
            assert newest(server) < before, "versions went back"
            await until(lambda: weight() == 7, FOUND_SECONDS)
            assert operator.metric("lvs_operator_view_went_back_total") > 0
            weigh(server, 8)
            await until(lambda: weight() == 8, FOUND_SECONDS)
            await tell("second", lambda: stored() == "second")
            services = server.request("GET", f"/apis/lvs-operator.io/v1alpha1/{VIRTUAL_SERVICE.plural}")
            assert len(services.raise_for_status()["items"]) == 1
