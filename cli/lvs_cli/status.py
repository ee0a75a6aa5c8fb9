"""`kubectl lvs status`: every service, who serves it, and why not."""

from lvs_api.conditions import Condition, ConditionStatus, ConditionType, Reason
from lvs_api.kinds import VIRTUAL_SERVICE
from lvs_api.objects import ApiObject
from lvs_api.virtual_service import DirectorState, LvsVirtualServiceSpec, LvsVirtualServiceStatus
from lvs_cli.cluster import Cluster
from lvs_cli.output import table

Service = ApiObject[LvsVirtualServiceSpec, LvsVirtualServiceStatus]
HEADER = ("NAMESPACE", "NAME", "ADDRESSES", "PORTS", "ACTIVE", "READY", "REAL SERVERS", "WHY")


def show_status(cluster: Cluster, *, namespace: str | None) -> str:
    """The table; `namespace` None for all."""
    services = cluster.list(VIRTUAL_SERVICE, namespace=namespace)
    if not services:
        return f"No LvsVirtualServices in {f'namespace {namespace}' if namespace else 'any namespace'}."
    return table(HEADER, [row(service) for service in services])


def row(service: Service) -> tuple[str, ...]:
    """One service's line of the table."""
    status = service.status or LvsVirtualServiceStatus()
    active = [director.node for director in status.directors or () if director.state is DirectorState.ACTIVE]
    counts = status.real_servers
    ready = _condition(status, ConditionType.READY)
    return (
        service.metadata.namespace or "",
        service.metadata.name,
        ",".join(service.spec.addresses or ()) or "-",
        _ports(service.spec),
        ",".join(active) or "-",
        ready.status.value if ready else ConditionStatus.UNKNOWN.value,
        f"{counts.ready}/{counts.total}" if counts else "-",
        _why(service, status),
    )


def _ports(spec: LvsVirtualServiceSpec) -> str:
    """The ports, or the mark that stands for every port."""
    if spec.firewall_mark is not None:
        return f"mark {spec.firewall_mark.value}"
    return ",".join(f"{port.port}/{port.protocol}" for port in spec.ports or ())


def _why(service: Service, status: LvsVirtualServiceStatus) -> str:
    """What the operator says of readiness, which names the cause, where there is more to say than Ready."""
    ready = _condition(status, ConditionType.READY)
    if ready is None or status.observed_generation is None:
        return "not seen by the operator yet"
    late = status.observed_generation < service.metadata.generation
    said = "" if ready.reason == Reason.READY else f"{ready.reason}: {ready.message}" if ready.message else ready.reason
    return "; ".join(filter(None, (said, "the last edit is not carried out yet" if late else "")))


def _condition(status: LvsVirtualServiceStatus, kind: ConditionType) -> Condition | None:
    return next((found for found in status.conditions or () if found.type == kind), None)
