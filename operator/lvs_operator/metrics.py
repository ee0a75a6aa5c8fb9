"""What the operator counts, for Prometheus."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

REGISTRY = CollectorRegistry()

ROUNDS = Counter("lvs_operator_rounds", "Rounds of the loop, by how they ended", ["result"], registry=REGISTRY)
ROUND_SECONDS = Histogram("lvs_operator_round_seconds", "How long a round took, its writes included", registry=REGISTRY)
WRITES = Counter("lvs_operator_writes", "Writes that the API server took", ["kind", "verb"], registry=REGISTRY)
WRITE_ERRORS = Counter("lvs_operator_write_errors", "Writes that failed", ["kind", "error"], registry=REGISTRY)
OBJECTS = Gauge("lvs_operator_objects", "Objects in the view", ["kind"], registry=REGISTRY)
VIEW_COMPLETE = Gauge("lvs_operator_view_complete", "1: every kind has been listed completely", registry=REGISTRY)
DIFFERENCES = Counter(
    "lvs_operator_view_differences",
    "Objects whose change no event had told, found by a list",
    ["kind"],
    registry=REGISTRY,
)
WENT_BACK = Counter(
    "lvs_operator_view_went_back",
    "Kinds of which the API server was found to be in an older state than seen before",
    registry=REGISTRY,
)
REMOVALS_HELD = Gauge(
    "lvs_operator_removals_held",
    "1: nothing is taken away, for a CRD is missing or being deleted, or cannot be looked at",
    registry=REGISTRY,
)
LEADING = Gauge("lvs_operator_leading", "1: this replica holds the Lease", registry=REGISTRY)
SILENT_AGENTS = Gauge("lvs_operator_silent_agents", "Agents whose Lease ran out", registry=REGISTRY)
EVENTS = Counter("lvs_operator_events", "Events, by what became of them", ["result"], registry=REGISTRY)
WATCH_RESTARTS = Counter("lvs_operator_watch_restarts", "Restarts of kopf after it ended", registry=REGISTRY)


class ServicesByReadiness(Collector):
    """LvsVirtualServices by status and reason of their condition Ready; a whole table is shown, or the next one."""

    def __init__(self) -> None:
        self._rows: Mapping[tuple[str, str], int] = {}

    def show(self, rows: Mapping[tuple[str, str], int]) -> None:
        """These from now on; none where another replica leads, which shows them."""
        self._rows = rows

    def collect(self) -> Iterator[Metric]:
        """The rows of this moment. From the endpoint's threads."""
        family = GaugeMetricFamily(
            "lvs_operator_services",
            "LvsVirtualServices by status and reason of Ready",
            labels=["status", "reason"],
        )
        for (status, reason), number in sorted(self._rows.items()):
            family.add_metric([status, reason], number)
        yield family


SERVICES = ServicesByReadiness()
REGISTRY.register(SERVICES)
for _result in ("posted", "dropped", "refused"):
    EVENTS.labels(_result)
