"""Shows the IPVS table to who asks: as metrics, and whole for `kubectl lvs list`, connections beside it.

It is read when it is asked for, in the thread that makes the page and by a socket of its own, so that the loop's work
goes on; nothing of it is kept. A node that directs nothing is not asked for its table: that would load ip_vs.
"""

import time
from collections.abc import Callable
from contextlib import closing
from typing import Final

from prometheus_client import generate_latest

from lvs_agent.decide.counted import count_rows
from lvs_agent.decide.kernel_state import KernelIpvs
from lvs_agent.decide.named_table import NamedService, Naming, name_entries
from lvs_agent.decide.told_connections import tell_connections
from lvs_agent.decide.told_table import TableFacts, tell_table
from lvs_agent.errors import KernelError
from lvs_agent.kernel.interface import Connections, IpvsSettings, IpvsTable
from lvs_agent.serve.counters import counter_texts
from lvs_agent.serve.metrics import AgentMetrics
from lvs_agent.serve.status_server import JSON, Shown

MOST_CONNECTIONS: Final = 10_000
"""That one answer tells: two megabytes."""
_HIDDEN: Final = Shown(
    well=False,
    body=b"this agent does not tell connections, for whoever reaches it could read who the clients are; "
    b"nodeAgent.showConnections=true of the chart (--show-connections) lets it\n",
)
_NO_DIRECTOR: Final = Shown(well=False, body=b"this node is no director, or has not yet found out\n")


class TableView:
    """Makes the pages; each call reads the table anew, and may be made in any thread."""

    def __init__(
        self,
        open_table: Callable[[], IpvsTable],
        open_settings: Callable[[], IpvsSettings],
        naming: Callable[[], Naming | None],
        metrics: AgentMetrics,
        *,
        connections: Connections | None,
        node_name: str,
        most_members: int,
    ) -> None:
        self._open_table = open_table
        self._open_settings = open_settings
        self._naming = naming
        self._metrics = metrics
        self._connections = connections
        self._node_name = node_name
        self._most_members = most_members

    def metrics_page(self) -> Shown:
        """The agent's metrics and the kernel's counters; the former alone where the table can not be read."""
        naming = self._naming()
        texts: list[bytes] = []
        summed = 0
        if naming is not None and naming.owned:
            began = time.monotonic()
            try:
                services, kernel = self._read(naming)
            except KernelError:
                self._metrics.counters_up.set(0)
            else:
                self._metrics.counters_up.set(1)
                self._metrics.counters_wide.set(kernel.wide_counters)
                rows = count_rows(services, self._most_members)
                texts, summed = list(counter_texts(rows)), sum(one.summed for one in rows)
            self._metrics.counters_seconds.set(time.monotonic() - began)
        self._metrics.counters_summed.set(summed)
        return Shown(well=True, body=b"".join([generate_latest(self._metrics.registry), *texts]))

    def table_page(self) -> Shown:
        """Every entry, of others too, as JSON; or why it can not be told."""
        naming = self._naming()
        if naming is None or not _is_director(naming):
            return _NO_DIRECTOR
        try:
            services, kernel = self._read(naming)
            with closing(self._open_table()) as table, closing(self._open_settings()) as settings:
                facts = TableFacts(
                    node=self._node_name,
                    info=table.info(),
                    timeouts=settings.read_timeouts(),
                    daemons=settings.read_daemons(),
                    wide_counters=kernel.wide_counters,
                )
        except KernelError as error:
            return Shown(well=False, body=f"{error}\n".encode())
        told = tell_table(services, facts)
        body = told.model_dump_json(by_alias=True, exclude_none=True).encode()
        return Shown(well=True, body=body, content_type=JSON)

    def connections_page(self) -> Shown:
        """Connections of every entry, of others too, as JSON, up to a bound; or why they are not told."""
        if self._connections is None:
            return _HIDDEN
        naming = self._naming()
        if naming is None or not _is_director(naming):
            return _NO_DIRECTOR
        try:
            read = self._connections.read(MOST_CONNECTIONS)
            told = tell_connections(self._node_name, read.lines, cut=read.cut)
        except (KernelError, ValueError) as error:
            return Shown(well=False, body=f"{error}\n".encode())
        return Shown(well=True, body=told.model_dump_json(by_alias=True).encode(), content_type=JSON)

    def _read(self, naming: Naming) -> tuple[tuple[NamedService, ...], KernelIpvs]:
        with closing(self._open_table()) as table:
            kernel = table.read()
        return name_entries(kernel, naming), kernel


def _is_director(naming: Naming) -> bool:
    return bool(naming.prepared.plan.directing or naming.owned)
