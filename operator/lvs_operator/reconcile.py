"""The one loop: view -> core -> writes.

Events, the Lease and timers only set a flag; each round recomputes everything from the view, so nothing is lost and
nothing is done twice. A round that finds no difference writes nothing.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from lvs_api.api_group import API_VERSION
from lvs_api.events import EventReason
from lvs_core.cluster_view import AgentSigns, ClusterView, ObjectKey, make_view
from lvs_core.decide import decide
from lvs_core.memory import Memory
from lvs_operator import metrics
from lvs_operator.agent_daemonset import AgentDaemonSet
from lvs_operator.api_client import ApiClient
from lvs_operator.cache import Cache
from lvs_operator.changes import Changes, find_changes, only_counts_differ
from lvs_operator.crd_outdated import mark_outdated
from lvs_operator.decision_metrics import show_decision, show_nothing
from lvs_operator.errors import ApiError, ApiNotFoundError, ApiUnavailableError, NotLeaderError, SettingsError
from lvs_operator.event_poster import EventPoster
from lvs_operator.kind_guard import LOOK_SECONDS, KindGuard, mark_held
from lvs_operator.leader import Leader
from lvs_operator.refused_writes import mark_refused
from lvs_operator.status_events import status_events
from lvs_operator.tenancy import Tenancy
from lvs_operator.watched_kinds import (
    ADDRESS_POOLS,
    CORE_SERVICES,
    DIRECTOR_GROUPS,
    ENDPOINT_SLICES,
    LVS_NODES,
    NAMESPACES,
    NODES,
    POOLS,
    SLICES,
    VIRTUAL_SERVICES,
    Unreadable,
    WatchedKind,
)
from lvs_operator.writer import ReplacePart, Write, WriteKey, Writer, content_of

logger = logging.getLogger(__name__)

SETTLE_SECONDS: Final = 0.02
"""Events that come together are one round."""
UNDISTURBED_SECONDS: Final = 1.0
"""Writes go on for so long before news may cut a round short."""
UNDISTURBED_SHARE: Final = 4.0
"""Or for so many times as long as it took to decide on them: with thousands of services that is seconds, and would be
most of the time while all of them are written for the first time."""
LONGEST_UNDISTURBED: Final = 10.0
"""However long deciding takes: after this, what is being written is old."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
MISSING_PAUSE: Final = 5.0
"""While a kind is not served: somebody is installing the CRDs."""
LISTED_SECONDS: Final = 2.0
"""In this time after the first object of a list kopf has listed the other kinds, too."""
OPENAPI_GROUP: Final = f"apis/{API_VERSION}"
Identity = tuple[WriteKey, str]
"""What is written, and its content."""
TELLING_KINDS: Final = (SLICES, LVS_NODES, CORE_SERVICES)
"""One that cannot be read hides what directors may still act on, or of what something was made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rhythm:
    """Seconds."""

    check: float
    """Between comparisons of the view with lists."""
    counts: float
    """Least time between writes of one service's counts."""


class Reconciler:
    """Belongs to the main loop."""

    def __init__(
        self,
        *,
        client: ApiClient,
        cache: Cache,
        leader: Leader,
        rhythm: Rhythm,
        daemonset: AgentDaemonSet | None,
        signs: Callable[[], AgentSigns],
        events: EventPoster,
        requires_address_pool: bool = False,
    ) -> None:
        """`signs` is asked in each round what the agents' Leases say."""
        self._client = client
        self._cache = cache
        self._leader = leader
        self._rhythm = rhythm
        self._daemonset = daemonset
        self._signs = signs
        self._guard = KindGuard(client)
        self._tenancy = Tenancy(cache, self._guard)
        self._requires_address_pool = requires_address_pool
        self._events = events
        self._writer = Writer(client, cache, leader.may_write, self._tell_events)
        self._memory = Memory()
        self._wake = asyncio.Event()
        self._check_due = time.monotonic()
        self._counts_due: dict[ObjectKey, float] = {}
        self._kept_back: dict[Identity, float] = {}
        """Losses that were looked at in vain, and when they may be looked at again (monotonic)."""
        self._again_due: float | None = None
        """When time alone may change what is decided (monotonic)."""
        self._schema: str | None = None
        self._deciding_took = 0.0
        """Seconds, the last time."""

    def wake(self) -> None:
        """Something may have changed."""
        self._wake.set()

    def doubt_view(self) -> None:
        """The view may have missed something, and is compared soon.

        Kopf lists again: what went while it was not watching it never tells. Or the API server was away.
        """
        self._check_due = min(self._check_due, time.monotonic() + LISTED_SECONDS)
        self._wake.set()

    def start_afresh(self) -> None:
        """The view is checked, and what was remembered is void.

        Leadership begins, and another wrote until now; or the API server was restored to an older state.
        """
        self._memory = Memory()
        self._check_due = time.monotonic()
        self._writer.forgive()
        self._wake.set()

    async def run(self) -> None:
        """Rounds, until cancelled."""
        pause = FIRST_PAUSE
        while True:
            try:
                again = await self._turn()
                pause = FIRST_PAUSE
            except NotLeaderError as error:
                logger.info("%s", error)
                again = self._rhythm.check
            except ApiError as error:
                again = _pause(error, pause)
                logger.warning("%s; again in %.0f s", error, again)
                metrics.ROUNDS.labels("failed").inc()
                await asyncio.sleep(again)  # whatever happens meanwhile: the API server is in trouble enough
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            await self._wait(again)

    async def _wait(self, seconds: float) -> None:
        """Until something wakes us, at most so long; then until what came together has come."""
        waiter = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait({waiter}, timeout=seconds)
        finally:
            waiter.cancel()
        await asyncio.sleep(SETTLE_SECONDS)

    async def _turn(self) -> float:
        """One round where we lead; gives the seconds after which to look again without being woken."""
        self._wake.clear()
        if time.monotonic() >= self._check_due or not self._cache.complete:
            await self._check()  # raises where a kind cannot be listed: nothing is decided upon a part of the view
        if not self._leader.leads:
            show_nothing()
            return max(self._check_due - time.monotonic(), 0.0)
        if self._guard.due is not None and self._guard.may_look:
            await self._look_at_kinds()
        with metrics.ROUND_SECONDS.time():
            written = await self._round()
        metrics.ROUNDS.labels("wrote" if written else "nothing to do").inc()
        if written:
            self._wake.set()  # what was written is part of the view that the next round decides upon
        return self._until_due()

    async def _check(self) -> None:
        began = time.monotonic()
        self._check_due = began + self._rhythm.check  # what is doubted from now on is checked again
        try:
            await self._check_view()
        except ApiError:
            self._check_due = began
            raise
        if self._leader.leads:
            await self._look_at_schema()
            await self._ensure_daemonset()

    async def _check_view(self) -> None:
        try:
            await self._cache.check(self._client)
        except ApiNotFoundError:
            metrics.REMOVALS_HELD.set(1)  # no round is made while a kind is not served
            raise

    async def _look_at_schema(self) -> None:
        """What older CRDs dropped is tried again when the served schema has changed, and not before."""
        if not self._writer.dropped():
            return
        served = await self._client.get("/openapi/v3")
        schema = served.get("paths", {}).get(OPENAPI_GROUP, {}).get("serverRelativeURL")
        if schema != self._schema:
            self._schema = schema
            self._writer.forgive()

    async def _ensure_daemonset(self) -> None:
        if self._daemonset is None:
            return
        try:
            await self._daemonset.ensure()
        except SettingsError as error:
            logger.error("the agents' DaemonSet stays as it is: %s", error)  # noqa: TRY400 -- the message says it all
        except ApiError as error:
            logger.warning("the agents' DaemonSet stays as it is: %s", error)

    async def _round(self) -> int:
        if self._tenancy.asks_for_look:
            await self._look_at_kinds()
            self._tenancy.looked()
        view, changes = self._decide()
        looked = self._asks_for_look(changes)
        if looked:
            # An absence or a clash is believed only after a look at the API server itself, and at our kinds after that.
            await self._check_view()
            await self._look_at_kinds()
            view, changes = self._decide()
        self._writer.keep_only({write.key for write in (*changes.growth, *changes.statuses, *changes.losses)})
        began = time.monotonic()
        undisturbed = min(UNDISTURBED_SHARE * self._deciding_took, LONGEST_UNDISTURBED)
        undisturbed_until = began + max(UNDISTURBED_SECONDS, undisturbed)

        def give_way() -> bool:
            return self._wake.is_set() and time.monotonic() > undisturbed_until

        written = await self._writer.carry_out([*changes.growth, *self._presentable(view, changes)], give_way)
        believed = self._guard.believed(view, changes.losses)
        losses = believed if believed and self._may_take_away() else []
        if looked:
            self._keep_back(changes.losses, losses)
        if losses and looked and not give_way():
            written += await self._writer.carry_out(losses, give_way)
        else:
            for write in losses:
                self._writer.is_due(write)  # one that has to wait wakes us when it may be tried
        if self._writer.next_try() is not None and self._guard.may_look:
            await self._look_at_kinds()  # what was refused may be of a kind that is gone
        return written

    def _asks_for_look(self, changes: Changes) -> bool:
        """Whether something may be done that has to be looked at first. What was looked at in vain waits a while."""
        held = self._guard.reason is not None and not self._guard.may_look
        now = time.monotonic()
        if not held and any(
            self._writer.is_due(write) and now >= self._kept_back.get(_identity(write), now) for write in changes.losses
        ):
            return True
        conflicts = set(changes.new_conflicts)
        return any(
            write.kind is VIRTUAL_SERVICES
            and ObjectKey(write.meta.namespace or "", write.meta.name) in conflicts
            and self._writer.is_due(write)
            for write in changes.statuses
        )

    def _keep_back(self, losses: Iterable[Write], let_go: Iterable[Write]) -> None:
        """Losses that a look did not let go are not looked at again for a while, however often something wakes us."""
        gone = {_identity(write) for write in let_go}
        until = time.monotonic() + LOOK_SECONDS
        self._kept_back = {one: until for write in losses if (one := _identity(write)) not in gone}

    async def _look_at_kinds(self) -> None:
        """Where all kinds are whole again, what was refused meanwhile is tried again at once, on a new view."""
        if await self._guard.look():
            self._kept_back.clear()
            self._writer.forgive()
            self._check_due = time.monotonic()
            self._wake.set()

    def _decide(self) -> tuple[ClusterView, Changes]:
        began = time.monotonic()
        view = self._view()
        metrics.SILENT_AGENTS.set(len(view.signs.silent & view.lvs_nodes.keys()))  # Leases outlive their Nodes
        decision = decide(view, self._memory, _now())
        self._memory = decision.memory
        decision = mark_outdated(view, decision, self._writer.dropped(), _now())
        decision = mark_held(view, decision, self._guard, _now())
        decision = mark_refused(view, decision, self._writer.refused(), _now())
        self._decided = view, decision
        show_decision(decision)
        self._again_due = None
        if decision.again_seconds is not None:
            self._again_due = time.monotonic() + decision.again_seconds
        versions = {entry.meta.uid: entry.meta.version for entry in self._cache.entries(NODES)}
        changes = find_changes(view, decision, versions)
        self._deciding_took = time.monotonic() - began
        return view, changes

    def _view(self) -> ClusterView:
        return make_view(
            services=self._readable(VIRTUAL_SERVICES),
            pools=self._readable(POOLS),
            groups=self._readable(DIRECTOR_GROUPS),
            nodes=self._readable(NODES),
            lvs_nodes=self._readable(LVS_NODES),
            slices=self._readable(SLICES),
            core_services=self._readable(CORE_SERVICES),
            endpoint_slices=self._readable(ENDPOINT_SLICES),
            signs=self._signs(),
            address_pools=self._readable(ADDRESS_POOLS),
            namespaces=self._readable(NAMESPACES),
            address_pools_known=self._tenancy.known,
            address_pools_required=self._requires_address_pool,
        )

    def _readable(self, kind: WatchedKind) -> Iterable[Any]:
        return (entry.value for entry in self._cache.entries(kind) if not isinstance(entry.value, Unreadable))

    def _may_take_away(self) -> bool:
        if self._guard.reason is not None:
            return False
        for kind in TELLING_KINDS:
            for entry in self._cache.entries(kind):
                if isinstance(entry.value, Unreadable):
                    said = "; ".join(map(str, entry.value.violations))
                    logger.warning("nothing is taken away: %s %s cannot be read: %s", kind.name, entry.meta, said)
                    return False
        return True

    def _presentable(self, view: ClusterView, changes: Changes) -> list[ReplacePart]:
        """Statuses to write now; those that bring nothing but new counts wait for their turn."""
        now = time.monotonic()
        presentable = []
        for write in changes.statuses:
            if write.kind is VIRTUAL_SERVICES:
                key = ObjectKey(write.meta.namespace or "", write.meta.name)
                only_counts = only_counts_differ(view.services[key].status, self._decided[1].services[key])
                if only_counts and now < self._counts_due.get(key, now):
                    continue
                self._counts_due[key] = now + self._rhythm.counts
            presentable.append(write)
        return presentable

    def _tell_events(self, write: Write) -> None:
        """A status that was written tells of what happened."""
        if isinstance(write, ReplacePart) and write.part == "status":
            found = status_events(*self._decided, write)
            self._events.post(write.kind, write.meta, found)
            changes = [one for one in found if one.reason == EventReason.ACTIVE_DIRECTOR_CHANGED.value]
            if changes:
                metrics.ACTIVE_CHANGES.labels(write.meta.name).inc(len(changes))

    def _until_due(self) -> float:
        now = time.monotonic()
        self._counts_due = {key: due for key, due in self._counts_due.items() if due > now}
        dues = [self._check_due, *self._counts_due.values()]
        if self._guard.due is not None:
            dues.append(self._guard.due)
        if self._again_due is not None:
            dues.append(self._again_due)
        held = self._writer.next_try()
        if held is not None:
            dues.append(held)
        return max(min(dues) - now, SETTLE_SECONDS)


def _identity(write: Write) -> Identity:
    return write.key, content_of(write)


def _pause(error: ApiError, pause: float) -> float:
    """How long to wait after an error, where this is the pause's turn to be so long."""
    if isinstance(error, ApiNotFoundError):
        return min(pause, MISSING_PAUSE)
    asked = error.retry_after if isinstance(error, ApiUnavailableError) else None
    return min(max(pause, asked or 0.0), 2 * LONGEST_PAUSE)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
