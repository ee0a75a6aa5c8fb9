"""What the agent counts, for Prometheus. Labels are bounded: kinds and reasons; members only up to a limit."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

MAX_HEALTH_ROWS: Final = 1000


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
        self.announcements = Counter(
            "lvs_agent_announcements", "Gratuitous ARP and unsolicited NA sent", registry=self.registry
        )
        self.status_writes = Counter(
            "lvs_agent_status_writes", "Writes of LvsNode.status", ["result"], registry=self.registry
        )
        self.probe_restarts = Gauge(
            "lvs_agent_probe_restarts", "Times that the probe process was started again", registry=self.registry
        )
        self.api_up = Gauge("lvs_agent_api_up", "1 while every watch of the API server runs", registry=self.registry)
        self.view_age_seconds = Gauge(
            "lvs_agent_view_age_seconds", "Seconds since the plan that is carried out changed", registry=self.registry
        )
        self.services_not_programmed = Gauge(
            "lvs_agent_services_not_programmed",
            "Virtual services that the kernel does not hold",
            registry=self.registry,
        )
        self.member_has_weight = Gauge(
            "lvs_agent_real_server_has_weight",
            f"1 where a real server gets new connections (at most {MAX_HEALTH_ROWS} rows)",
            ["namespace", "service", "real_server"],
            registry=self.registry,
        )
        self._rows: dict[tuple[str, str, str], bool] = {}
        for kind in ("service", "destination", "address", "sysctl"):
            self.repairs.labels(kind)
        for kind in ("ipvs", "address", "sysctl"):
            self.kernel_writes.labels(kind)

    def show_members(self, members: Mapping[tuple[str, str, str], bool]) -> None:
        """Which real servers have weight, by namespace, service and name."""
        rows = dict(list(members.items())[:MAX_HEALTH_ROWS])
        for gone in self._rows.keys() - rows.keys():
            self.member_has_weight.remove(*gone)
        for row, has_weight in rows.items():
            if self._rows.get(row) is not has_weight:
                self.member_has_weight.labels(*row).set(1 if has_weight else 0)
        self._rows = rows
