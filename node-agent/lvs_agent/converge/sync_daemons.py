"""Brings IPVS's sync daemons to what they shall be: read, decide, stop and start, verify by reading."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_settings import SyncDaemon, SyncDaemons, SyncState
from lvs_agent.decide.remembered import not_remembered
from lvs_agent.decide.setting_report import SettingRow, seam_fault
from lvs_agent.decide.sync_daemons import (
    DaemonsVerdict,
    DaemonTenures,
    daemon_fault,
    foreign_fault,
    judge_daemons,
    wanted_daemons,
)
from lvs_agent.errors import KernelError, PermissionRefused, SettingRefused
from lvs_agent.kernel.interface import IpvsSettings
from lvs_agent.serve.metrics import AgentMetrics
from lvs_core.group_settings import CONNECTION_SYNC, NodeSettings

Remember = Callable[[SyncDaemons], SyncDaemons]
"""Called before a start with all that will be ours; what the ledger on disk names."""
_KIND = "sync_daemon"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncOutcome:
    """How the daemons stand after a round."""

    owned: SyncDaemons = field(default_factory=dict)
    """Ours, as they were started."""
    rows: tuple[SettingRow, ...] = ()
    """What is wanted, where anything is."""


class SyncDaemonKeeper:
    """Owner of the sync daemons."""

    def __init__(self, settings: IpvsSettings, metrics: AgentMetrics, monotonic: Callable[[], float]) -> None:
        self._settings = settings
        self._metrics = metrics
        self._monotonic = monotonic
        self._tenures: DaemonTenures = {}
        self._last = SyncOutcome()

    def converge(self, settings: NodeSettings, owned: SyncDaemons, remember: Remember) -> SyncOutcome:
        """One round. While it is not known who holds the addresses all stays as it is.

        What fails is told and tried again in the next; nothing else waits for it. A daemon that was started by then is
        ours again when it is seen to run as it is to.
        """
        wanted = wanted_daemons(settings)
        outcome = SyncOutcome(owned=owned)
        if settings.has_roles and (wanted or owned):
            try:
                ours, faults = self._keep(wanted, owned, remember)
            except KernelError as error:
                ours, faults = owned, [seam_fault(error)]
            outcome = SyncOutcome(owned=ours, rows=_rows(settings, wanted, faults))
        if outcome != self._last:
            self._last = outcome
        return self._last

    def _keep(self, wanted: SyncDaemons, owned: SyncDaemons, remember: Remember) -> tuple[SyncDaemons, list[Fault]]:
        """What is ours afterwards, and what is the matter."""
        now = self._monotonic()
        verdict = judge_daemons(wanted, self._settings.read_daemons(), owned, self._tenures, now)
        faults = [foreign_fault(state, daemon) for state, daemon in verdict.foreign.items()]
        if verdict.starts and verdict.starts.items() - remember({**owned, **verdict.owned}).items():
            self._tenures = {}
            return owned, [*faults, not_remembered(CONNECTION_SYNC)]
        self._tenures = verdict.tenures
        refused = self._carry_out(verdict)
        ours = {state: daemon for state, daemon in verdict.owned.items() if state not in refused}
        ours |= self._start_again({state: owned[state] for state in verdict.restarts if state in refused})
        faults += [fault for state, one in self._tenures.items() if (fault := daemon_fault(state, one)) is not None]
        return ours, faults

    def _start_again(self, former: SyncDaemons) -> SyncDaemons:
        """Those that were stopped for others which the kernel then did not start; those that run again."""
        again: dict[SyncState, SyncDaemon] = {}
        for state, daemon in former.items():
            try:
                self._settings.start_daemon(state, daemon)
            except (SettingRefused, PermissionRefused) as error:
                _log.warning("%s", error)
            else:
                _log.info("sync daemon %s %s, as before", state.name.lower(), daemon)
                again[state] = daemon
        return again

    def _carry_out(self, verdict: DaemonsVerdict) -> frozenset[SyncState]:
        """Those that the kernel did not start: whoever starts one there is somebody else."""
        for state in verdict.restarts:
            self._settings.stop_daemon(state)
        refused: dict[SyncState, str] = {}
        for state, daemon in verdict.starts.items():
            if state in verdict.repairs:
                _log.warning("the sync daemon %s was stopped or changed by somebody else: started", state.name.lower())
            else:
                _log.info("sync daemon %s %s", state.name.lower(), daemon)
            try:
                self._settings.start_daemon(state, daemon)
            except (SettingRefused, PermissionRefused) as error:
                _log.warning("%s", error)
                refused[state] = str(error)
        not_started = frozenset(refused)
        for state in verdict.stops:
            _log.info("sync daemon %s is stopped", state.name.lower())
            self._settings.stop_daemon(state)
        if verdict.starts:
            found = self._settings.read_daemons()
            for state, daemon in verdict.starts.items():
                if state not in refused and (state not in found or not daemon.is_met_by(found[state])):
                    refused[state] = f"{found.get(state, 'none')} after {state.name.lower()} {daemon} was started"
        now = self._monotonic()
        known = {state: one for state, one in self._tenures.items() if state not in refused}
        self._tenures = known | {state: self._tenures[state].refused_with(why, now) for state, why in refused.items()}
        done = verdict.starts.keys() - refused.keys()
        self._metrics.kernel_writes.labels(_KIND).inc(len(done) + len(verdict.stops))
        self._metrics.repairs.labels(_KIND).inc(len(done & verdict.repairs))
        return not_started


def _rows(settings: NodeSettings, wanted: SyncDaemons, faults: list[Fault]) -> tuple[SettingRow, ...]:
    """One for both: they differ in nothing but what they do."""
    if settings.sync is None:
        return ()
    roles = ", ".join(sorted(settings.sync.roles))
    fault = None
    if faults:
        fault = Fault(reason=faults[0].reason, message="; ".join(one.message for one in faults))
    daemon = next(iter(wanted.values()))
    why = f"LvsDirectorGroup {settings.sync.group}"
    return (SettingRow(name=CONNECTION_SYNC, value=f"{roles} {daemon}", why=why, fault=fault),)
