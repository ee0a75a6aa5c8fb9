"""The one loop: it waits for news, makes a round, and knows whether that came to its end.

Whatever happens sets one flag; each round computes everything anew from what is. A round without a difference writes
nothing, neither to the kernel nor to the API.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from lvs_agent.convergence import Convergence
from lvs_agent.decide.named_table import Naming
from lvs_agent.decide.node_report import carried
from lvs_agent.decide.node_word import NodeWord
from lvs_agent.errors import LvsAgentError
from lvs_agent.keepers import Keepers
from lvs_agent.kernel.interface import Links
from lvs_agent.node_status import NodeIdentity, StatusKeeper
from lvs_agent.objects.plan_source import PlanSource
from lvs_agent.probes.prober import Prober
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.lvs_node import LvsNodeStatus

TICK_SECONDS: Final = 1.0
"""Without any news a round is made so often: nothing tells of changes to IPVS and sysctls."""
SPACING_SECONDS: Final = 0.02
"""At least so long from the end of a round to the next, so that a storm of events is answered together."""
_log = logging.getLogger(__name__)


class Agent:
    """Owner of everything that the loop keeps from round to round."""

    def __init__(
        self,
        *,
        source: PlanSource,
        keepers: Keepers,
        links: Links,
        prober: Prober,
        identity: NodeIdentity,
        metrics: AgentMetrics,
        tell: Callable[[LvsNodeStatus], None],
        boot_clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._source = source
        self._keepers = keepers
        self._links = links
        self._identity = identity
        self._metrics = metrics
        self._status = StatusKeeper(source.reported_status, identity, metrics, tell)
        self._boot_clock = boot_clock
        self._news = asyncio.Event()
        self._convergence = Convergence(
            source=source,
            keepers=keepers,
            links=links,
            prober=prober,
            status=self._status,
            boot_id=identity.boot_id,
            boot_clock=boot_clock,
            wake=self.wake,
        )
        self._looked: float | None = None
        """Monotonic clock at the beginning of the last round; None where that failed."""
        self._failure: str | None = None
        self._is_well = False
        """The last round was made to its end: what is due after it has not been left undone."""
        self._is_back = False
        """Once since the start it has done all that is asked of it."""
        self.last_round: float | None = None
        """Monotonic clock at the end of the last round."""

    def wake(self) -> None:
        """Something may have changed."""
        self._news.set()

    async def run(self) -> None:
        """Make rounds until cancelled. Cancelling leaves the kernel as it is."""
        await self._links.watch(self._links_changed)
        while True:
            await self._wait()
            took = await self.round()
            await asyncio.sleep(min(max(SPACING_SECONDS, took), TICK_SECONDS))

    async def round(self) -> float:
        """One round; how many seconds it took. A failure is told, and everything is tried anew in the next."""
        began = time.monotonic()
        plan = self._source.plan
        self._is_well = False
        if plan is not None:
            try:
                await self._convergence.carry_out(plan)
            except LvsAgentError as error:
                self._looked = None
                self._metrics.rounds.labels("failed").inc()
                if str(error) != self._failure:
                    _log.error("this round failed: %s", error)
                self._failure = str(error)
                self._status.tell_failure(error, self._boot_clock())
            else:
                self._is_well = True
                self._looked = began
                self._metrics.rounds.labels("ok").inc()
                self._failure = None
        self.last_round = time.monotonic()
        self._metrics.round_seconds.observe(self.last_round - began)
        return self.last_round - began

    def naming(self) -> Naming | None:
        """Whose the entries of the table are, as of the last round; None before the first. May be called by threads."""
        prepared = self._convergence.prepared
        return None if prepared is None else Naming(prepared=prepared, owned=self._keepers.ledger.ledger.ipvs)

    def not_ready(self) -> str | None:
        """Why an update is not to go on to the next node; None: this one does again what is asked of it.

        Faults of single services hold nothing up, for the next node would have them, too. Nor does what comes later:
        pods that are not ready are replaced first, and all at once, whatever `maxUnavailable` says. A fault that all
        directors have would let an update end them together.
        """
        if not self._is_back:
            why = self._awaited()
            self._is_back = why is None
            return why
        return None

    def _awaited(self) -> str | None:
        prepared = self._convergence.prepared
        if prepared is None:
            return "no round by a complete view yet"
        if self._looked is None:
            return f"the last round failed: {self._failure}"
        if prepared.plan.provisional:
            return "it serves by the view of before it started, for the API server has not told all yet"
        return self._keepers.vrrp.awaited

    def word(self) -> NodeWord | None:
        """What this node carries, as its last round found it; None where that round failed, or none was made."""
        status, prepared = self._status.said, self._convergence.prepared
        if status is None or self._looked is None or prepared is None:
            return None
        age = round(1000 * (time.monotonic() - self._looked))
        given = carried(status, prepared.plan)
        return NodeWord(boot_id=self._identity.boot_id, carried=given, age_milliseconds=age)

    def _links_changed(self) -> None:
        self._convergence.doubt_routes()
        self.wake()

    async def _wait(self) -> None:
        """Until there is news, something is due, or a tick is over."""
        due = self._convergence.due_in(time.monotonic()) if self._is_well else None
        patience = TICK_SECONDS if due is None else min(due, TICK_SECONDS)
        try:
            async with asyncio.timeout(max(0.0, patience)):
                await self._news.wait()
        except TimeoutError:
            pass
        self._news.clear()
