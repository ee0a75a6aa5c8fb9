"""Brings what IPVS has once on this node to what it shall be: read, decide, write, verify by reading."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from lvs_agent.converge.number_seams import NumberSeams
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.prepared_plan import PreparedPlan
from lvs_agent.decide.remembered import not_remembered
from lvs_agent.decide.setting_report import SettingRow, missing_fault, number_fault, seam_fault
from lvs_agent.decide.setting_values import Numbers, NumbersVerdict, WantedNumber, judge_numbers
from lvs_agent.decide.tenure import Tenure
from lvs_agent.decide.wanted_settings import wanted_numbers
from lvs_agent.errors import KernelError
from lvs_agent.kernel.interface import IpvsSettings, Sysctls
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.node_settings import SettingKey

Remember = Callable[[Numbers], Numbers]
"""Called before a first write with the values from before; what the ledger on disk has of them then."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsOutcome:
    """How the node's settings stand after a round."""

    remembered: Numbers = field(default_factory=dict)
    """Values from before our first write."""
    rows: tuple[SettingRow, ...] = ()
    """What is wanted, by name."""


class NodeSettingsKeeper:
    """Owner of the seam for IPVS as a whole."""

    def __init__(
        self, settings: IpvsSettings, sysctls: Sysctls, metrics: AgentMetrics, monotonic: Callable[[], float]
    ) -> None:
        self._kernel = NumberSeams(settings, sysctls)
        self._metrics = metrics
        self._monotonic = monotonic
        self._tenures: Mapping[SettingKey, Tenure[int]] = {}
        self._last = SettingsOutcome()

    def converge(self, prepared: PreparedPlan, remembered: Numbers, remember: Remember) -> SettingsOutcome:
        """One round. What fails is told and tried again in the next; nothing else waits for it."""
        wanted = wanted_numbers(prepared)
        outcome = SettingsOutcome(remembered=remembered)
        kept = dict(remembered)

        def reserve(numbers: Numbers) -> Numbers:
            on_disk = remember(numbers)
            kept.update({key: value for key, value in on_disk.items() if key in numbers})
            return on_disk

        if wanted or remembered:
            try:
                outcome = self._keep(prepared, wanted, remembered, reserve)
            except KernelError as error:
                fault = seam_fault(error)
                outcome = SettingsOutcome(remembered=kept, rows=_rows(wanted, dict.fromkeys(wanted, fault)))
        if outcome != self._last:
            self._last = outcome
        return self._last

    def _keep(
        self,
        prepared: PreparedPlan,
        wanted: Mapping[SettingKey, WantedNumber],
        remembered: Numbers,
        remember: Remember,
    ) -> SettingsOutcome:
        found = self._kernel.read(wanted.keys() | remembered.keys())
        # What no group asks for is done where the kernel can.
        asked = prepared.plan.settings.numbers.keys()
        wanted = {key: want for key, want in wanted.items() if key in found or key in asked}
        if prepared.plan.provisional:  # what was set before was wanted by a view that may be newer
            wanted = {key: want for key, want in wanted.items() if key not in remembered}
        verdict = judge_numbers(wanted, found, remembered, self._tenures, self._monotonic())
        if not prepared.plan.settings.is_complete:  # somebody may want what nobody is known to want
            verdict = replace(verdict, restores={}, remember={**remembered, **verdict.remember})
        self._tenures = verdict.tenures
        faults: dict[SettingKey, Fault] = {key: missing_fault(key) for key in verdict.missing}
        kept = verdict.remember
        if verdict.writes or verdict.restores:
            on_disk = remember({**remembered, **verdict.remember})
            waiting = {key for key in verdict.writes if key not in remembered and key not in on_disk}
            faults.update({key: not_remembered(str(key)) for key in waiting})
            kept = self._write(verdict, waiting, remembered, wanted)
        faults.update(
            {
                key: fault
                for key, tenure in self._tenures.items()
                if key not in faults and (fault := number_fault(key, tenure)) is not None
            }
        )
        return SettingsOutcome(remembered=kept, rows=_rows(wanted, faults))

    def _write(
        self,
        verdict: NumbersVerdict,
        waiting: Collection[SettingKey],
        remembered: Numbers,
        wanted: Mapping[SettingKey, WantedNumber],
    ) -> Numbers:
        """Write, put back, and look; what is to be remembered from now on."""
        writes = {key: value for key, value in verdict.writes.items() if key not in waiting}
        _tell(verdict, writes)
        refused = dict(self._kernel.write({**writes, **verdict.restores}))
        found = self._kernel.read(writes.keys())
        for key in writes.keys() - refused.keys():
            if found.get(key) not in wanted[key].accepted:
                refused[key] = f"it is {found.get(key)} after {writes[key]} was written"
        for key in {*writes, *verdict.restores} - refused.keys():
            self._metrics.kernel_writes.labels(_kind(key)).inc()
        for key in verdict.repairs - refused.keys():
            self._metrics.repairs.labels(_kind(key)).inc()
        known = {key: tenure for key, tenure in self._tenures.items() if key not in waiting}
        self._tenures = known | self._refused(writes.keys() & refused.keys(), refused)
        kept = {key: value for key, value in verdict.remember.items() if key not in waiting}
        return kept | {key: remembered[key] for key in verdict.restores.keys() & refused.keys()}

    def _refused(self, keys: Collection[SettingKey], why: Mapping[SettingKey, str]) -> dict[SettingKey, Tenure[int]]:
        now = self._monotonic()
        return {key: self._tenures[key].refused_with(why[key], now) for key in keys}


def _tell(verdict: NumbersVerdict, writes: Numbers) -> None:
    for key, value in writes.items():
        if key in verdict.repairs:
            _log.warning("%s was changed by somebody else: back to %d", key, value)
        else:
            _log.info("%s: %d", key, value)
    for key, value in verdict.restores.items():
        _log.info("%s: back to %d", key, value)


def _rows(wanted: Mapping[SettingKey, WantedNumber], faults: Mapping[SettingKey, Fault]) -> tuple[SettingRow, ...]:
    return tuple(
        SettingRow(name=str(key), value=str(want.value), why=want.why, fault=faults.get(key))
        for key, want in sorted(wanted.items())
    )


def _kind(key: SettingKey) -> str:
    return key.part.removesuffix("s")
