"""What is said of this node after each round, and when a round fails.

The same is not put together again: most rounds find everything as it was.
"""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from lvs_agent.converge.addresses import AddressOutcome
from lvs_agent.converge.table import TableOutcome
from lvs_agent.converge.virtual_routers import VrrpOutcome
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import AddressBinding, AnyServiceKey, IPAddress
from lvs_agent.decide.node_facts import NodeFacts, Troubles
from lvs_agent.decide.node_report import report, report_failure
from lvs_agent.decide.prepared_plan import PreparedPlan
from lvs_agent.errors import LvsAgentError
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.conditions import Condition, Reason, timestamp
from lvs_api.lvs_node import CountersZeroed, LvsNodeStatus, NodeCapabilities

TELL_FAILURE_SECONDS: Final = 3.0
"""Rounds have failed for so long before it is told: a dump that was interrupted, say, is over with the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentity:
    """What does not change while the agent runs."""

    boot_id: str
    agent_version: str
    capabilities: Callable[[], NodeCapabilities]


@dataclass(frozen=True, slots=True)
class Round:
    """What a round came to."""

    prepared: PreparedPlan
    table: TableOutcome
    addresses: AddressOutcome
    troubles: Troubles
    lacking: Mapping[AnyServiceKey, Fault]
    """Of services that lack something beside the IPVS table: packet filter rules, say, or a helper."""
    closed_ports: Mapping[AddressBinding, Mapping[int, Fault]]
    """Of VIPs those that are to be open for GUE and are not."""
    zeroed: CountersZeroed | None
    vrrp: VrrpOutcome
    withdrawn: AbstractSet[IPAddress] = frozenset()
    """VIPs that are not carried for want of quorum."""

    def says_as(self, other: "Round") -> bool:
        """Whether the same would be said of both. Outcomes are the same objects where nothing changed."""
        return (
            self.prepared.plan is other.prepared.plan
            and self.table is other.table
            and self.addresses is other.addresses
            and (self.troubles, self.lacking, self.zeroed) == (other.troubles, other.lacking, other.zeroed)
            and (self.vrrp, self.closed_ports) == (other.vrrp, other.closed_ports)
            and self.withdrawn == other.withdrawn
        )


class StatusKeeper:
    """Owner of what is said; `tell` has a status written."""

    def __init__(
        self,
        reported: Callable[[], LvsNodeStatus | None],
        identity: NodeIdentity,
        metrics: AgentMetrics,
        tell: Callable[[LvsNodeStatus], None],
    ) -> None:
        self._reported = reported
        self._identity = identity
        self._metrics = metrics
        self._tell = tell
        self._last: Round | None = None
        self._facts: NodeFacts | None = None
        self._conditions: tuple[Condition, ...] | None = None
        self._failing_since: float | None = None
        self.said: LvsNodeStatus | None = None
        """Of the last round; None before the first, and once a failure is told."""

    def report(self, made: Round, now: str) -> None:
        """Say what a round came to at this time."""
        self._failing_since = None
        capabilities = self._identity.capabilities()
        if self._is_said(made, capabilities):
            return
        table, addresses = made.table, made.addresses
        self._facts = NodeFacts(
            boot_id=self._identity.boot_id,
            agent_version=self._identity.agent_version,
            capabilities=capabilities,
            plan=made.prepared.plan,
            refusals=made.prepared.refusals,
            desired=table.desired,
            service_faults={**made.lacking, **table.faults},
            service_notes=table.notes,
            former_names=table.former_names,
            present=table.present,
            addresses=addresses.desired,
            bound=addresses.owned,
            own=addresses.own,
            address_faults={**addresses.faults, **made.vrrp.conflicts},
            closed_ports=made.closed_ports,
            routers=made.vrrp.routers,
            withdrawn=made.withdrawn,
            takes_traffic=addresses.takes_traffic,
            node_fault=table.unavailable or addresses.sysctl_fault,
            troubles=made.troubles,
            zeroed=made.zeroed,
            now=now,
        )
        self._last, self.said = made, self._say(self._facts)
        self._metrics.services_not_programmed.set(len(self._facts.service_faults))
        self._metrics.words_awaited.set(len(table.desired.asks))
        self._metrics.addresses_withdrawn.set(len(made.withdrawn))
        self._metrics.members = table.desired.services

    def _is_said(self, made: Round, capabilities: NodeCapabilities) -> bool:
        """Whether the last status says just this; it is handed on again, for it may have been changed."""
        last, facts, said = self._last, self._facts, self.said
        if last is None or facts is None or said is None:
            return False
        is_same = made.says_as(last) and capabilities == facts.capabilities
        if is_same:
            self._hand_on(said, facts)
        return is_same

    def tell_failure(self, error: LvsAgentError, now: float) -> None:
        """Say what was so before the failure, and the failure, once it has lasted; `now` is the boot clock."""
        self._failing_since = now if self._failing_since is None else self._failing_since
        if now - self._failing_since < TELL_FAILURE_SECONDS:
            return
        fault = Fault(reason=Reason.KERNEL_REFUSED, message=str(error)[:1024])
        told = timestamp(datetime.now(UTC))
        if self._facts is not None:
            self._say(replace(self._facts, node_fault=fault, now=told))
        else:
            before = self._reported()
            status = report_failure(before, fault, self._identity.boot_id, self._identity.agent_version, told)
            self._note(status)
            self._tell(status)
        self.said = None

    def _say(self, facts: NodeFacts) -> LvsNodeStatus:
        if self._conditions is None:
            before = self._reported()
            self._conditions = tuple(before.conditions or ()) if before is not None else ()
        status = report(facts, self._conditions)
        self._note(status)
        self._hand_on(status, facts)
        return status

    def _note(self, status: LvsNodeStatus) -> None:
        self._conditions = tuple(status.conditions or ())
        self._metrics.status = status

    def _hand_on(self, status: LvsNodeStatus, facts: NodeFacts) -> None:
        """Have it written. By a provisional plan nothing is said: it is not what this node was last told to do."""
        if not facts.plan.provisional:
            self._tell(status)
