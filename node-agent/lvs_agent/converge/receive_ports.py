"""Keeps the ports for GUE: closed after their VIPs are unbound, open before these are bound.

One that is open already counts as ours, as an address that is bound already does. One that somebody closes is opened
again; one that is not ours and not wanted is left alone.
"""

import logging
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import ReceivePort
from lvs_agent.decide.remembered import not_remembered
from lvs_agent.errors import KernelError
from lvs_agent.kernel.interface import ReceivePorts
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.conditions import Reason

Remember = Callable[[AbstractSet[ReceivePort]], frozenset[ReceivePort]]
"""Called before a port is opened with all that will be ours; what the ledger on disk names."""
_KIND = "receive_port"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortOutcome:
    """How the ports stand after a round."""

    owned: frozenset[ReceivePort] = frozenset()
    """Ours: open, or not closed yet."""
    faults: Mapping[ReceivePort, Fault] = field(default_factory=dict)
    """Wanted and not open, or not known to be so; or to be closed."""


class ReceivePortKeeper:
    """Owner of the seam. While no port is wanted or ours nothing is looked at."""

    def __init__(self, ports: ReceivePorts, metrics: AgentMetrics) -> None:
        self._ports = ports
        self._metrics = metrics
        self._settled: frozenset[ReceivePort] = frozenset()
        self._said: Mapping[ReceivePort, Fault] = {}

    def converge(
        self, wanted: frozenset[ReceivePort], owned: frozenset[ReceivePort], remember: Remember
    ) -> PortOutcome:
        """One round. What fails is told, and tried again in the next."""
        outcome = PortOutcome()
        if wanted or owned:
            try:
                outcome = self._keep(wanted, owned, remember)
            except KernelError as error:
                outcome = PortOutcome(owned=owned, faults=dict.fromkeys(wanted | owned, _refused(error)))
        for port, fault in outcome.faults.items():
            if self._said.get(port) != fault:
                _log.warning("%s", fault.message)
        self._said = outcome.faults
        self._settled = wanted - outcome.faults.keys()
        return outcome

    def _keep(self, wanted: frozenset[ReceivePort], owned: frozenset[ReceivePort], remember: Remember) -> PortOutcome:
        present = self._ports.read()
        ours = present & (owned | wanted)
        faults: dict[ReceivePort, Fault] = {}
        for port in sorted(ours - wanted):
            try:
                self._ports.close_port(port)
            except KernelError as error:
                faults[port] = _refused(error)
            else:
                _log.info("closed %s", port)
                self._metrics.kernel_writes.labels(_KIND).inc()
                ours -= {port}
        missing = wanted - present
        on_disk = remember(ours | missing) if missing else missing
        for port in sorted(missing):
            fault = self._open(port) if port in on_disk else not_remembered(str(port))
            if fault is not None:
                faults[port] = fault
            else:
                ours |= {port}
        return PortOutcome(owned=ours, faults=faults)

    def _open(self, port: ReceivePort) -> Fault | None:
        try:
            self._ports.open(port)
        except KernelError as error:
            return _refused(error)
        if port in self._settled:
            self._metrics.repairs.labels(_KIND).inc()
            _log.warning("%s was closed by somebody else: opened again", port)
        else:
            _log.info("opened %s", port)
        self._metrics.kernel_writes.labels(_KIND).inc()
        return None


def _refused(error: KernelError) -> Fault:
    return Fault(reason=Reason.KERNEL_REFUSED, message=str(error))
