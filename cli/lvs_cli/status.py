"""`kubectl lvs status`: every service, who serves it, and why not."""

from lvs_api.conditions import Condition, ConditionStatus, ConditionType
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
        ",".join(service.spec.addresses),
        ",".join(f"{port.port}/{port.protocol}" for port in service.spec.ports),
        ",".join(active) or "-",
        ready.status.value if ready else ConditionStatus.UNKNOWN.value,
        f"{counts.ready}/{counts.total}" if counts else "-",
        _why(status),
    )


def _why(status: LvsVirtualServiceStatus) -> str:
    """The first condition, in the order in which one depends on the other, that is not True."""
    order = (ConditionType.ACCEPTED, ConditionType.RESOLVED_REFS, ConditionType.PROGRAMMED, ConditionType.READY)
    for kind in order:
        found = _condition(status, kind)
        if found is not None and found.status is not ConditionStatus.TRUE:
            return f"{found.reason}: {found.message}" if found.message else found.reason
    return "" if _condition(status, ConditionType.READY) else "not seen by the operator yet"


def _condition(status: LvsVirtualServiceStatus, kind: ConditionType) -> Condition | None:
    return next((found for found in status.conditions or () if found.type == kind), None)
