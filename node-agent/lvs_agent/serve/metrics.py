"""What the agent counts, for Prometheus. Labels are bounded: kinds and reasons; members only up to a limit."""

from collections import Counter as Counted
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lvs_agent.decide.desired_service import ServicePart
from lvs_agent.decide.virtual_routers import DaemonWord
from lvs_api.conditions import Reason
from lvs_api.lvs_node import LvsNodeStatus, NodeAddressState, VirtualRouterState
from lvs_core.cluster_view import ObjectKey

MAX_HEALTH_ROWS: Final = 1000
NOT_BOUND: Final = (Reason.ADDRESS_CONFLICT, Reason.ADDRESS_REFUSED)


class AgentMetrics:
    """The agent's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.rounds = Counter("lvs_agent_rounds", "Rounds of the loop", ["result"], registry=self.registry)
        self.round_seconds = Histogram(
            "lvs_agent_round_seconds",
            "Time a round took",
            registry=self.registry,
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
        )
        self.kernel_writes = Counter(
            "lvs_agent_kernel_writes", "Entries written to the kernel", ["kind"], registry=self.registry
        )
        self.repairs = Counter(
            "lvs_agent_repairs",
            "Entries of ours that somebody else changed, put right",
            ["kind"],
            registry=self.registry,
        )
        self.arrival_looks = Counter(
            "lvs_agent_arrival_looks",
            "Times that it was listened whether packets arrive for services that count none",
            registry=self.registry,
        )
        self.announcements = Counter(
            "lvs_agent_announcements", "Gratuitous ARP and unsolicited NA sent", registry=self.registry
        )
        self.status_writes = Counter(
            "lvs_agent_status_writes", "Writes of LvsNode.status", ["result"], registry=self.registry
        )
        self.events = Counter("lvs_agent_events", "Events, by what became of them", ["result"], registry=self.registry)
        self.probe_restarts = Gauge(
            "lvs_agent_probe_restarts", "Times that the probe process was started again", registry=self.registry
        )
        self.checks = Counter("lvs_agent_checks", "Checks of real servers", ["result"], registry=self.registry)
        self.state_failures = Counter(
            "lvs_agent_state_failures",
            "Times that a file of the state directory was damaged or could not be written",
            ["file"],
            registry=self.registry,
        )
        self.api_up = Gauge("lvs_agent_api_up", "1 while every watch of the API server runs", registry=self.registry)
        self.view_age_seconds = Gauge(
            "lvs_agent_view_age_seconds", "Seconds since the plan that is carried out changed", registry=self.registry
        )
        self.removals_held = Gauge(
            "lvs_agent_removals_held",
            "Slices, addresses and director groups that stay though the API server does not have them",
            registry=self.registry,
        )
        self.services_not_programmed = Gauge(
            "lvs_agent_services_not_programmed",
            "Virtual services that the kernel does not hold",
            registry=self.registry,
        )
        self.words_awaited = Gauge(
            "lvs_agent_words_awaited",
            "Real servers that lack nothing but their agent's word that they carry the VIP",
            registry=self.registry,
        )
        self.addresses_not_bound = Gauge(
            "lvs_agent_addresses_not_bound",
            "Addresses that this node is told to carry and does not, since they are refused or somebody else has them",
            ["reason"],
            registry=self.registry,
        )
        self.addresses_withdrawn = Gauge(
            "lvs_agent_addresses_withdrawn",
            "VIPs that this director does not carry, for every service of them is below quorum",
            registry=self.registry,
        )
        self.counters_up = Gauge(
            "lvs_agent_counters_up",
            "0 when the IPVS table could not be read for this page, which then lacks the kernel's counters",
            registry=self.registry,
        )
        self.counters_up.set(1)
        self.counters_seconds = Gauge(
            "lvs_agent_counters_seconds", "Time that reading the kernel's counters took", registry=self.registry
        )
        self.counters_summed = Gauge(
            "lvs_agent_counters_summed_services",
            "Virtual services whose real servers are summed, as there are more than --counted-real-servers",
            registry=self.registry,
        )
        self.counters_wide = Gauge(
            "lvs_agent_counters_wide",
            "0 where the kernel counts connections and packets in 32 bits only (before Linux 4.1)",
            registry=self.registry,
        )
        self.counters_wide.set(1)
        self.daemon: DaemonWord | None = None
        """What the VRRP daemon's supervisor said last."""
        self.registry.register(_RouterRows(self))
        self.members: Mapping[ObjectKey, tuple[ServicePart, ...]] = {}
        """Shown as they are at the moment of a scrape."""
        self.status: LvsNodeStatus | None = None
        """As last told; shown by type, reason and state, never by name."""
        self.registry.register(_MemberRows(self))
        self.registry.register(_StatusRows(self))
        for kind in (
            "service",
            "destination",
            "address",
            "sysctl",
            "timeout",
            "sync_daemon",
            "packet_filter",
            "receive_port",
        ):
            self.repairs.labels(kind)
        for kind in ("ipvs", "address", "route", "sysctl", "timeout", "sync_daemon", "packet_filter", "receive_port"):
            self.kernel_writes.labels(kind)
        for reason in NOT_BOUND:
            self.addresses_not_bound.labels(reason)
        for result in ("passed", "failed", "unanswered", "not_made"):
            self.checks.labels(result)
        for file in ("ledger", "view"):
            self.state_failures.labels(file)
        for result in ("ok", "failed"):
            self.rounds.labels(result)
            self.status_writes.labels(result)
        for result in ("posted", "dropped", "refused"):
            self.events.labels(result)


class _MemberRows(Collector):
    """One row for each real server, up to a limit."""

    def __init__(self, metrics: AgentMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """The rows of this moment."""
        rows = GaugeMetricFamily(
            "lvs_agent_real_server_has_weight",
            f"1 where a real server gets new connections (at most {MAX_HEALTH_ROWS} rows)",
            labels=["namespace", "service", "member"],
        )
        for (name, member), has_weight in islice(_has_weight(self._metrics.members).items(), MAX_HEALTH_ROWS):
            rows.add_metric([name.namespace, name.name, member], float(has_weight))
        yield rows


class _StatusRows(Collector):
    """What the node's status says, without the objects that it names."""

    def __init__(self, metrics: AgentMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """The rows of this moment."""
        status = self._metrics.status or LvsNodeStatus()
        conditions = GaugeMetricFamily(
            "lvs_agent_condition",
            "1 for what each condition of the LvsNode says",
            labels=["type", "status", "reason"],
        )
        for condition in status.conditions or ():
            conditions.add_metric([condition.type, condition.status.value, condition.reason], 1.0)
        yield conditions
        yield _numbers("lvs_agent_exceptions", "Services with something to say", "reason", _reasons(status))
        yield _numbers("lvs_agent_addresses", "VIPs of a real-server node", "state", _states(status))


class _RouterRows(Collector):
    """Virtual routers, as far as the VRRP daemon has spoken of them: there are few."""

    def __init__(self, metrics: AgentMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """The rows of this moment."""
        labels = ["group", "id", "family"]
        states = GaugeMetricFamily(
            "lvs_agent_virtual_router_state", "1 for what a virtual router does here", labels=[*labels, "state"]
        )
        changes = CounterMetricFamily(
            "lvs_agent_virtual_router_changes", "Changes of state since the supervisor started", labels=labels
        )
        restarts = CounterMetricFamily(
            "lvs_agent_vrrp_restarts", "Times that the VRRP daemon ended by itself, since its supervisor started"
        )
        if (word := self._metrics.daemon) is not None:
            restarts.add_metric([], word.restarts)
            for key, one in sorted(word.routers.items()):
                names = [key.group, str(key.id), key.family.value]
                changes.add_metric(names, one.changes)
                for state in VirtualRouterState:
                    states.add_metric([*names, state.value], float(state is one.state))
        yield from (states, changes, restarts)


def _reasons(status: LvsNodeStatus) -> Counted[str]:
    return Counted(exception.reason for exception in status.exceptions or ())


def _states(status: LvsNodeStatus) -> Counted[str]:
    """Every state, so that a rule sees 0 rather than nothing."""
    found = Counted(dict.fromkeys((state.value for state in NodeAddressState), 0))
    found.update(address.state.value for address in status.addresses or ())
    return found


def _numbers(name: str, text: str, label: str, rows: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, f"{text}, by {label}", labels=[label])
    for value, number in sorted(rows.items()):
        family.add_metric([value], number)
    return family


def _has_weight(services: Mapping[ObjectKey, tuple[ServicePart, ...]]) -> dict[tuple[ObjectKey, str], bool]:
    found: dict[tuple[ObjectKey, str], bool] = {}
    for name, parts in services.items():
        for part in parts:
            without = {waiting.name for waiting in part.waiting if not waiting.has_weight}
            for member in part.member_names:
                found[name, member] = found.get((name, member), True) and member not in without
    return found
