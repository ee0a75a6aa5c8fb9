"""Keeps the ports for GUE: closed after their VIPs are unbound, open before these are bound.

One that is open before it is wanted is somebody else's, who may need it: it is used, and left as it is. One that he has
of another use is left to him, too. One of ours that somebody closes is opened again.
"""

import logging
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import ReceivePort
from lvs_agent.decide.receive_ports import NOTHING, PortClaims, in_use, judge_ports
from lvs_agent.decide.remembered import not_remembered
from lvs_agent.decide.tunnel_guard import NO_PORTS, PortSight
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
        self._claims = NOTHING
        self._sight = NO_PORTS
        self._unread: Fault | None = None

    def look(self, claims: PortClaims) -> PortSight:
        """How they are before anything is done about them; those that can not be read are taken for as they were."""
        self._unread, self._claims = None, claims
        self._sight = PortSight(ours=claims.owned)
        if claims.wanted or claims.owned:
            try:
                present = self._ports.read()
            except KernelError as error:
                self._unread = _refused(error)
            else:
                free = {port for port in claims.wanted - present if self._ports.is_free(port)}
                self._sight = judge_ports(present, claims, free)
        return self._sight

    def converge(self, remember: Remember) -> PortOutcome:
        """What is to be done after that look. What fails is told, and tried again in the next round."""
        wanted, owned, _ = self._claims
        if self._unread is not None:
            outcome = PortOutcome(owned=owned, faults=dict.fromkeys(wanted | owned, self._unread))
        else:
            outcome = self._keep(wanted, remember)
        for port, fault in outcome.faults.items():
            if self._said.get(port) != fault:
                _log.warning("%s", fault.message)
        self._said = outcome.faults
        self._settled = wanted - outcome.faults.keys()
        return outcome

    def _keep(self, wanted: frozenset[ReceivePort], remember: Remember) -> PortOutcome:
        ours, missing, theirs = self._sight
        faults: dict[ReceivePort, Fault] = {
            port: Fault(reason=Reason.KERNEL_REFUSED, message=in_use(port)) for port in wanted - ours - missing - theirs
        }
        for port in sorted(ours - wanted):
            try:
                self._ports.close_port(port)
            except KernelError as error:
                faults[port] = _refused(error)
            else:
                _log.info("closed %s", port)
                self._metrics.kernel_writes.labels(_KIND).inc()
                ours -= {port}
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
