"""Brings the IPVS table to what it shall be: read, decide, write in order, verify by reading.

Nothing tells of changes to IPVS, so the services are read about once a second. All of the table is glanced at as often
as that takes no more than 1/150 of the time, and read where the glance shows a change, and now and then without one.
Services that are to be changed are read at once, or glanced at where there are many of which only weights change.
A glance misses a few settings, and on some nodes there is none.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Final

from lvs_agent.decide.changes import AddDestination, AddService, DeleteService, IpvsChange
from lvs_agent.decide.circumstances import Circumstances
from lvs_agent.decide.contest import Damage
from lvs_agent.decide.desired_state import DesiredIpvs, desire
from lvs_agent.decide.faults import Fault, conflict_faults, describe, left_over, refusal, strangers
from lvs_agent.decide.fresh_word import is_news
from lvs_agent.decide.judged_table import Judged, TableJudge
from lvs_agent.decide.kernel_diff import only_weighed
from lvs_agent.decide.kernel_state import (
    AnyServiceKey,
    DestinationKey,
    DestinationState,
    IPAddress,
    KernelIpvs,
    ServiceSettings,
    WantedIpvs,
)
from lvs_agent.decide.ownership import OwnedIpvs
from lvs_agent.decide.packet_rules import carriers, still_open
from lvs_agent.decide.packet_table import SourceNatRule
from lvs_agent.decide.predecessors import carried_on, predecessors
from lvs_agent.decide.prepared_plan import PreparedPlan
from lvs_agent.decide.remembered import service_faults, waiting_ipvs
from lvs_agent.errors import IpvsUnavailable
from lvs_agent.kernel.interface import IpvsTable
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.conditions import Reason
from lvs_core.cluster_view import ObjectKey

_GLANCE_SHARE: Final = 150
_READ_SHARE: Final = 50
"""Where a glance shows a change, or it is not known what it showed when the table was read last."""
_READ_SHARE_GLANCED: Final = 300
_LONGEST_BETWEEN_READS: Final = 30.0
_PASSES: Final = 4
"""What comes is made, what it stands for written at weight 0, found without connections, and deleted: more passes than
that has no round."""
_FIRST_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 60.0

Remember = Callable[[OwnedIpvs], OwnedIpvs]
"""Called before anything is made with all that will be ours; what the ledger on disk names, which may be made."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOutcome:
    """How the table stands after a round."""

    desired: DesiredIpvs = field(default_factory=DesiredIpvs)
    owned: OwnedIpvs = field(default_factory=dict)
    present: frozenset[AnyServiceKey] = frozenset()
    """Services that the kernel has."""
    served: frozenset[IPAddress] = frozenset()
    """VIPs for which the kernel has at least one service: before that an address would only refuse clients."""
    former_names: Mapping[AnyServiceKey, ObjectKey] = field(default_factory=dict)
    """Ours and in the kernel, though the plan no longer has them: whose they were."""
    faults: Mapping[AnyServiceKey, Fault] = field(default_factory=dict)
    notes: Mapping[AnyServiceKey, Fault] = field(default_factory=dict)
    """What is to be said of services that are as they shall be."""
    unavailable: Fault | None = None
    """IPVS as a whole is not there."""


@dataclass(frozen=True, slots=True)
class _LastRound:
    """A round that left nothing to be done, and what it was made from."""

    prepared: PreparedPlan
    around: Circumstances
    outcome: TableOutcome

    def is_of(self, prepared: PreparedPlan, around: Circumstances) -> bool:
        """Whether the same would come out again, if the table is the same."""
        return (
            self.prepared is prepared
            and self.around.health is around.health
            and self.around.routes is around.routes
            and self.around.handed_on is around.handed_on
            and self.around.unguarded == around.unguarded
            and self.outcome.owned is around.owned
            and self.outcome.desired.drains is around.drains
            and all(drain.over for drain in around.drains.values())
            and not self.outcome.desired.standing_in
            and self.outcome.desired.standings is around.standings
            and self.outcome.desired.quorums is around.quorums
            and not is_news(around.standings, self.around.words, around.words)
        )


@dataclass(slots=True)
class _Retry:
    """When a change that the kernel refused is tried again."""

    due: float
    delay: float
    fault: Fault


class TableKeeper:
    """Owner of the IPVS seam."""

    def __init__(
        self,
        ipvs: IpvsTable,
        metrics: AgentMetrics,
        monotonic: Callable[[], float],
        judge: TableJudge | None = None,
    ) -> None:
        self._ipvs = ipvs
        self._metrics = metrics
        self._monotonic = monotonic
        self._known: KernelIpvs | None = None
        self._services: Mapping[AnyServiceKey, ServiceSettings] = {}
        """Those of what is known."""
        self._glance: bytes | None = None
        """What a glance shows while the table is as it is known; None where that is not known."""
        self._next_glance = 0.0
        self._glance_took = 0.0
        self._read_at = -math.inf
        self._read_took = 0.0
        self._settled: WantedIpvs = {}
        """What was wanted and found so in the last round: a difference from it is somebody else's doing."""
        self._retries: dict[IpvsChange, _Retry] = {}
        self._names: dict[AnyServiceKey, ObjectKey] = {}
        self._last: _LastRound | None = None
        self._damage = Damage()
        self._judge = judge or TableJudge()

    def take_damage(self) -> Damage:
        """What of other hands' doing was put right since this was asked last."""
        damage, self._damage = self._damage, Damage()
        return damage

    def converge(self, prepared: PreparedPlan, around: Circumstances, remember: Remember) -> TableOutcome:
        """One round. `around.kernel` is filled in here. What can not be remembered on disk is not made.

        Raises IpvsReadFailed and PermissionRefused.
        """
        if not prepared.plan.directing and not around.owned:
            self._known = self._last = None
            return TableOutcome()
        try:
            return self._converge(prepared, around, remember)
        except IpvsUnavailable as error:
            self._known, self._settled, self._last = None, {}, None
            fault = Fault(reason=Reason.IPVS_UNAVAILABLE, message=str(error))
            return TableOutcome(desired=desire(prepared, around), unavailable=fault)

    def open_among(self, rules: frozenset[SourceNatRule]) -> frozenset[SourceNatRule]:
        """Those of which connections live now. Raises IpvsReadFailed and PermissionRefused."""
        services = carriers(rules, self._known.services) if self._known is not None else set()
        try:
            return still_open(rules, self._ipvs.read_only(services)) if services else frozenset()
        except IpvsUnavailable:
            return frozenset()

    def _converge(self, prepared: PreparedPlan, around: Circumstances, remember: Remember) -> TableOutcome:
        last, known = self._last, self._known
        table, is_fresh = self._look({key.service for key, drain in around.drains.items() if not drain.over})
        if last is not None and table is known and last.is_of(prepared, around):
            return last.outcome
        judged = self._judge.judge(prepared, replace(around, kernel=table))
        if not is_fresh and (unsure := self._unsure(judged, table)):
            table = self._read_again(table, unsure)
            judged = self._judge.judge(prepared, replace(around, kernel=table))
        attempted: set[IpvsChange] = set()
        waiting: frozenset[IpvsChange] = frozenset()
        for _ in range(_PASSES):
            changes = tuple(change for change in self._due(judged, around.still_carried) if change not in waiting)
            owned = _with_frozen(judged.ownership.owned, around.owned, judged.desired)
            if changes and (more := waiting_ipvs(changes, remember(_with_added(owned, changes)))):
                waiting |= more
                changes = tuple(change for change in changes if change not in more)
            if not changes:
                break
            ours = _with_added(owned, changes)
            self._write(changes)
            attempted.update(changes)
            table = self._read_again(table, {change.service for change in changes})
            desired = judged.desired
            around = replace(
                around, owned=ours, drains=desired.drains, standings=desired.standings, quorums=desired.quorums
            )
            judged = self._judge.judge(prepared, replace(around, kernel=table))
        if attempted:
            self._glance = None
        self._know(table)
        for change in judged.changes:
            if change in attempted and change not in waiting:
                self._try_later(change, left_over(change, table))
        faults = {**service_faults(waiting), **self._faults(judged)}
        self._settled = {k: w for k, w in judged.desired.wanted.items() if k not in faults}
        owned = _with_frozen(judged.ownership.owned, around.owned, judged.desired)
        named: dict[AnyServiceKey, ObjectKey] = {
            part.key: name for name, parts in judged.desired.services.items() for part in parts
        }
        former = {key: name for key, name in self._names.items() if key in owned and key not in named}
        self._names = named | former
        outcome = TableOutcome(
            desired=judged.desired,
            owned=owned,
            former_names=former,
            present=frozenset(table.services),
            served=frozenset(
                vip for one in prepared.services if one.key in table.services and (vip := one.planned.vip) is not None
            ),
            faults=faults,
            notes=strangers(judged.ownership.foreign, judged.desired.wanted),
        )
        self._last = None if judged.changes else _LastRound(prepared, around, outcome)
        return outcome

    def _look(self, draining: set[AnyServiceKey]) -> tuple[KernelIpvs, bool]:
        """The table, and whether all of it was read just now, with its counts of connections."""
        now = self._monotonic()
        known = self._known
        share = _READ_SHARE if self._glance is None else _READ_SHARE_GLANCED
        if known is not None and now < self._next_read(share) and self._seems_as_known(now):
            return self._read_again(known, draining), False
        self._glance, self._read_at = None, -math.inf  # until the reading has come to its end
        glance = self._ipvs.glance()  # first: a change between the two shows at the next one
        began = self._monotonic()
        self._note_glance(now, began)
        table = self._ipvs.read()
        self._glance, self._read_at, self._read_took = glance, began, self._monotonic() - began
        return (known, False) if known is not None and not draining and _is_same(table, known) else (table, True)

    def _next_read(self, share: int) -> float:
        return self._read_at + min(share * self._read_took, _LONGEST_BETWEEN_READS)

    def _seems_as_known(self, now: float) -> bool:
        """Whether the services are those that are known, and a glance, where one is due, shows no change.

        A change that it shows waits where all was read a short while ago: others may change theirs all the time.
        """
        if self._ipvs.read_services() != self._services:
            return False
        if self._glance is None or now < self._next_glance:
            return True
        began = self._monotonic()
        glance = self._ipvs.glance()
        self._note_glance(began, self._monotonic())
        return glance == self._glance or began < self._next_read(_READ_SHARE)

    def _unsure(self, judged: Judged, table: KernelIpvs) -> set[AnyServiceKey]:
        """Services that are to be changed, and have to be read anew before.

        Where all that changes is weights, numbers of connections do not count, and an edit writes what a glance misses:
        as long as that shows no change they are as known. To read the real servers of all services takes five times
        as long.
        """
        services = {change.service for change in judged.changes}
        if self._glance is None or self._glance_took * len(table.services) >= self._read_took * len(services):
            return services
        surely = only_weighed(judged.changes, table) - {key.service for key in judged.desired.drains}
        return services - surely if surely and self._ipvs.glance() == self._glance else services

    def _note_glance(self, began: float, ended: float) -> None:
        self._glance_took = ended - began
        self._next_glance = began + min(_GLANCE_SHARE * (ended - began), _LONGEST_BETWEEN_READS)

    def _know(self, table: KernelIpvs) -> None:
        if table is not self._known:
            self._services = {key: state.settings for key, state in table.services.items()}
        self._known = table

    def _read_again(self, table: KernelIpvs, services: set[AnyServiceKey]) -> KernelIpvs:
        """The table with these services read anew."""
        if not services:
            return table
        kept = {key: state for key, state in table.services.items() if key not in services}
        return KernelIpvs(services=kept | dict(self._ipvs.read_only(services).services))

    def _due(self, judged: Judged, still_carried: AbstractSet[IPAddress]) -> tuple[IpvsChange, ...]:
        """The changes without those that were refused a short while ago, or take away what has to wait."""
        now, changes = self._monotonic(), judged.changes
        self._retries = {change: self._retries[change] for change in changes if change in self._retries}
        waiting = {change for change, retry in self._retries.items() if retry.due > now}
        absent = {change.service for change in waiting if isinstance(change, AddService)}
        needed = predecessors(changes, judged.desired.services, self._names)
        needed |= carried_on(changes, still_carried, judged.desired.wanted.keys())
        return tuple(c for c in changes if c not in waiting and c.service not in absent and c.service not in needed)

    def _write(self, changes: tuple[IpvsChange, ...]) -> None:
        repairs: list[IpvsChange] = []
        for change in changes:
            if self._is_repair(change):
                repairs.append(change)
                self._metrics.repairs.labels("destination" if hasattr(change, "destination") else "service").inc()
                _log.warning("repairing what somebody else changed: %s", describe(change))
            elif change not in self._retries:
                _log.info("%s", describe(change))
        if repairs:
            self._damage = self._damage.and_by(repairs)
        applied = self._ipvs.apply(changes)
        self._metrics.kernel_writes.labels("ipvs").inc(applied.written)
        for failure in applied.failures:
            self._try_later(failure.change, refusal(failure.change, failure.error))

    def _try_later(self, change: IpvsChange, fault: Fault) -> None:
        """Not before a time that doubles; a retry that is not due yet stays as it is."""
        now, before = self._monotonic(), self._retries.get(change)
        if before is not None and before.due > now:
            return
        delay = min(2 * before.delay, _LONGEST_RETRY) if before else _FIRST_RETRY
        self._retries[change] = _Retry(due=now + delay, delay=delay, fault=fault)
        if before is None or before.fault != fault:
            _log.warning("the kernel refused: %s: %s", describe(change), fault.message)

    def _is_repair(self, change: IpvsChange) -> bool:
        """Whether the entry was as wanted, and is wanted just so still."""
        settled = self._settled.get(change.service)
        if settled is None or isinstance(change, DeleteService):
            return False
        wanted = getattr(change, "settings", None)
        destination: DestinationKey | None = getattr(change, "destination", None)
        if destination is None:
            return settled.settings == wanted
        return wanted is not None and settled.destinations.get(destination) == wanted

    def _faults(self, judged: Judged) -> dict[AnyServiceKey, Fault]:
        faults = {c.service: self._retries[c].fault for c in reversed(judged.changes) if c in self._retries}
        faults.update(conflict_faults(judged.ownership.conflicts))
        return faults


def _is_same(one: KernelIpvs, other: KernelIpvs) -> bool:
    """Whether two readings differ in nothing but counters."""
    return one.services.keys() == other.services.keys() and all(
        state.settings == other.services[key].settings
        and _has_same(state.destinations, other.services[key].destinations)
        for key, state in one.services.items()
    )


def _has_same(
    some: Mapping[DestinationKey, DestinationState], others: Mapping[DestinationKey, DestinationState]
) -> bool:
    """Keys and settings are shared between readings, and mostly come in the same order: then nothing is looked up."""
    if len(some) == len(others) and all(
        one is other and found.settings is before.settings
        for (one, found), (other, before) in zip(some.items(), others.items(), strict=True)
    ):
        return True
    return some.keys() == others.keys() and all(found.settings == others[one].settings for one, found in some.items())


def _with_frozen(owned: OwnedIpvs, before: OwnedIpvs, desired: DesiredIpvs) -> OwnedIpvs:
    """What is ours, entries of paused services included."""
    return {**owned, **{key: before[key] for key in desired.frozen if key in before}}


def _with_added(owned: OwnedIpvs, changes: Iterable[IpvsChange]) -> OwnedIpvs:
    """What is ours once these changes are made."""
    ours = dict(owned)
    for change in changes:
        if isinstance(change, AddService):
            ours.setdefault(change.service, frozenset())
        elif isinstance(change, AddDestination):
            ours[change.service] = ours.get(change.service, frozenset()) | {change.destination}
    return ours
