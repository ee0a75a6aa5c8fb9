"""What the operator counts, for Prometheus."""

from collections.abc import Iterator, Mapping, Sequence

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


class Table(Collector):
    """Gauges of which a whole table is shown, or the next one."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._rows: Mapping[tuple[str, ...], int] = {}

    def show(self, rows: Mapping[tuple[str, ...], int]) -> None:
        """These from now on, by the values of their labels; none where another replica leads, which shows them."""
        self._rows = rows

    def collect(self) -> Iterator[Metric]:
        """The rows of this moment. From the endpoint's threads."""
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, number in sorted(self._rows.items()):
            family.add_metric(values, number)
        yield family


SERVICES = Table("lvs_operator_services", "LvsVirtualServices by status and reason of Ready", ["status", "reason"])
DIRECTOR_GROUPS = Table(
    "lvs_operator_director_groups", "LvsDirectorGroups by status and reason of Ready", ["status", "reason"]
)
LOAD_BALANCERS = Table(
    "lvs_operator_load_balancers",
    "Services of type LoadBalancer and our class by status and reason of lvs-operator.io/Accepted",
    ["status", "reason"],
)
REGISTRY.register(LOAD_BALANCERS)
REGISTRY.register(SERVICES)
REGISTRY.register(DIRECTOR_GROUPS)
MASTERS = Table(
    "lvs_operator_masters",
    "Directors that report to be Master of a virtual router; anything but 1 for long is a trouble",
    ["group", "virtual_router"],
)
REGISTRY.register(MASTERS)
ACTIVE_CHANGES = Counter(
    "lvs_operator_active_director_changes", "Changes of who carries addresses", ["group"], registry=REGISTRY
)
for _result in ("posted", "dropped", "refused"):
    EVENTS.labels(_result)
