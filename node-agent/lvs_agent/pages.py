"""What the agent answers at its ports, and when it is alive and ready by that."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final

from lvs_agent.agent import Agent
from lvs_agent.decide.node_word import WORD_PATH
from lvs_agent.errors import InvalidSettings
from lvs_agent.kernel.connections import ProcConnections
from lvs_agent.kernel.ipvs import KernelIpvsTable
from lvs_agent.kernel.ipvs_settings import KernelIpvsSettings
from lvs_agent.objects.plan_source import PlanSource
from lvs_agent.serve.metrics import AgentMetrics
from lvs_agent.serve.status_server import Page, background_page, check_page, serve_pages, word_page
from lvs_agent.serve.table_view import TableView
from lvs_agent.settings import Endpoint, Settings
from lvs_api.director_table import CONNECTIONS_PATH, TABLE_PATH

_STALLED_SECONDS: Final = 30.0


async def serve_agent(
    settings: Settings, agent: Agent, source: PlanSource, metrics: AgentMetrics, cleanup: AsyncExitStack
) -> None:
    """Listen wherever it is asked for, until `cleanup` is done. Raises InvalidSettings where that can not be had."""
    began = time.monotonic()

    def stalled() -> str | None:
        silent = time.monotonic() - (began if agent.last_round is None else agent.last_round)
        return None if silent < _STALLED_SECONDS else f"no round for {silent:.0f} s"

    def not_ready() -> str | None:
        return stalled() or ("no complete view yet" if source.plan is None else agent.not_ready())

    pages = {"/healthz": check_page(stalled), "/readyz": check_page(not_ready)}
    for flag, endpoint, served in (
        ("--health-address", settings.health, pages),
        ("--metrics-address", settings.metrics, _table_pages(settings, agent, metrics)),
        ("--word-address", settings.word, {WORD_PATH: word_page(agent.word)}),
    ):
        if endpoint is not None:
            server = await _listen(flag, endpoint, served)
            cleanup.callback(server.close)


def _table_pages(settings: Settings, agent: Agent, metrics: AgentMetrics) -> dict[str, Page]:
    view = TableView(
        KernelIpvsTable,
        KernelIpvsSettings,
        agent.naming,
        metrics,
        connections=ProcConnections() if settings.shows_connections else None,
        node_name=settings.node_name,
        most_members=settings.counted_real_servers,
    )
    return {
        "/metrics": background_page(view.metrics_page),
        TABLE_PATH: background_page(view.table_page),
        CONNECTIONS_PATH: background_page(view.connections_page),
    }


async def _listen(flag: str, endpoint: Endpoint, pages: Mapping[str, Page]) -> asyncio.Server:
    try:
        return await serve_pages(endpoint.host, endpoint.port, pages)
    except OSError as error:
        raise InvalidSettings(f"{flag} {endpoint}: {error.strerror or error}") from error
