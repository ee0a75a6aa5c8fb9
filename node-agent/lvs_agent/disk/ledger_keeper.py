"""What is ours, as this agent knows it: on disk before it is made, in memory while the disk takes nothing.

Nothing is made that could not be remembered: entries that the file names may be made anew, others wait. What is there
already needs no word on disk to be changed or removed, so weights, repairs and removals go on; how far drains got stays
in memory then. A write that failed is tried again after 1, 2, 4 … 10 s.
"""

import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Final

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_settings import SyncDaemons
from lvs_agent.decide.kernel_state import AddressBinding, ReceivePort
from lvs_agent.decide.kernel_sysctls import KernelSysctls
from lvs_agent.decide.ownership import OwnedIpvs
from lvs_agent.decide.setting_values import Numbers
from lvs_agent.disk.ledger import Ledger, LedgerFile
from lvs_agent.disk.state_file import set_aside
from lvs_agent.errors import StateFileDamaged, StateNotWritten
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.conditions import Reason

_FIRST_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 10.0
_WAITS: Final = (
    "new IPVS entries, addresses and sysctls wait until it can be written; weights, repairs and removals go on"
)
_LOST: Final = (
    "what equals the plan is ours again, whatever else was made before counts as somebody else's, and sysctls keep "
    "their present values for good. Remove by hand what nobody needs"
)
_log = logging.getLogger(__name__)


class LedgerKeeper:
    """Owner of the ledger."""

    def __init__(self, file: LedgerFile, metrics: AgentMetrics, monotonic: Callable[[], float]) -> None:
        self._file = file
        self._failures = metrics.state_failures.labels("ledger")
        self._monotonic = monotonic
        self._not_written: str | None = None
        self._next_try = 0.0
        self._delay = _FIRST_RETRY
        self._damaged_in_place: str | None = None
        """What is wrong with the file that lies there still: it is not overwritten before it is set aside."""
        self.is_lost = False
        """The ledger was damaged when this agent started: what was made before is known by the plan only."""
        self.ledger = self._read()
        """What is ours now."""

    def reserve(self, ledger: Ledger) -> Ledger:
        """Before something is made: store what will be ours then; return what the file names, which may be made."""
        if self._store(ledger):
            self.ledger = ledger
            return ledger
        return self._file.stored

    def reserve_table(self, owned: OwnedIpvs) -> OwnedIpvs:
        """The same of the IPVS table alone."""
        return self.reserve(replace(self.ledger, ipvs=owned)).ipvs

    def reserve_settings(self, numbers: Numbers) -> Numbers:
        """The same of settings."""
        return self.reserve(replace(self.ledger, settings=numbers)).settings

    def reserve_ports(self, ports: AbstractSet[ReceivePort]) -> frozenset[ReceivePort]:
        """The same of ports for GUE."""
        return self.reserve(replace(self.ledger, ports=frozenset(ports))).ports

    def reserve_daemons(self, daemons: SyncDaemons) -> SyncDaemons:
        """The same of synchronization daemons."""
        return self.reserve(replace(self.ledger, daemons=daemons)).daemons

    def reserve_addresses(self, owned: AbstractSet[AddressBinding], sysctls: KernelSysctls) -> Ledger:
        """The same of addresses, and of values of sysctls from before our first write."""
        return self.reserve(replace(self.ledger, bindings=frozenset(owned), sysctls=sysctls))

    def settle(self, ledger: Ledger) -> None:
        """This is ours now: store it, at once or when the disk takes it."""
        self.ledger = ledger
        self._store(ledger)

    def take_back(self, bindings: AbstractSet[AddressBinding], *, is_all: bool) -> None:
        """After a damaged ledger: these addresses are ours again; `is_all` where no more of them will be known."""
        self.is_lost = not is_all
        self.ledger = replace(self.ledger, bindings=self.ledger.bindings | bindings)

    def faults(self) -> tuple[Fault, ...]:
        """What is the matter with the file."""
        found = []
        if self._not_written is not None:
            found.append(Fault(reason=Reason.STATE_NOT_WRITTEN, message=f"{self._not_written}: {_WAITS}"))
        if self._damaged_in_place is not None:
            found.append(Fault(reason=Reason.STATE_DAMAGED, message=f"{self._damaged_in_place}: {_LOST}"))
        elif self._file.aside.exists():
            message = f"{self._file.path} was damaged: {_LOST}, then {self._file.aside}"
            found.append(Fault(reason=Reason.STATE_DAMAGED, message=message))
        return tuple(found)

    def _read(self) -> Ledger:
        """The ledger; a damaged one owns nothing: what equals the plan is adopted, all else is foreign."""
        try:
            return self._file.read()
        except StateFileDamaged as error:
            self.is_lost = True
            self._damaged_in_place = str(error)
            self._failures.inc()
            _log.error("%s: %s", error, _LOST)
            return Ledger()

    def _store(self, ledger: Ledger) -> bool:
        """Whether the file says so now."""
        failed_before = self._not_written is not None
        if not failed_before or self._monotonic() >= self._next_try:
            try:
                self._write(ledger, anyway=failed_before)
            except StateNotWritten as error:
                self._failed(str(error))
            else:
                if failed_before:
                    _log.info("the ledger is written again")
                self._not_written, self._delay = None, _FIRST_RETRY
        return ledger == self._file.stored

    def _write(self, ledger: Ledger, *, anyway: bool) -> None:
        if self._damaged_in_place is not None:
            set_aside(self._file.path, self._file.aside)
            _log.warning("what is damaged is kept as %s", self._file.aside)
            self._damaged_in_place = None
        self._file.write(ledger, anyway=anyway)

    def _failed(self, why: str) -> None:
        self._failures.inc()
        self._next_try = self._monotonic() + self._delay
        self._delay = min(2 * self._delay, _LONGEST_RETRY)
        if why != self._not_written:
            _log.error("the ledger is not written: %s", why)
        self._not_written = why
