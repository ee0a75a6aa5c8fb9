"""What is said of a LvsVirtualService in a few words."""

from lvs_api.conditions import ConditionType, Reason, find_condition
from lvs_api.objects import ApiObject
from lvs_api.virtual_service import LvsVirtualServiceSpec, LvsVirtualServiceStatus

Service = ApiObject[LvsVirtualServiceSpec, LvsVirtualServiceStatus]


def addresses_of(service: Service) -> str:
    """The addresses that it names, or was given by a pool; - where it has none."""
    named, status = service.spec.addresses, service.status
    if service.spec.address_pool_ref is not None:
        named = status.addresses if status is not None else None
    return ",".join(named or ()) or "-"


def ports_of(spec: LvsVirtualServiceSpec) -> str:
    """The ports, or the mark that stands for every port."""
    if spec.firewall_mark is not None:
        return f"mark {spec.firewall_mark.value}"
    return ",".join(f"{port.port}/{port.protocol}" for port in spec.ports or ())


def why(service: Service, status: LvsVirtualServiceStatus) -> str:
    """What the operator says of readiness, which names the cause; empty where that is simply Ready."""
    ready = find_condition(status.conditions, ConditionType.READY)
    if ready is None or status.observed_generation is None:
        return "not seen by the operator yet"
    late = status.observed_generation < service.metadata.generation
    said = "" if ready.reason == Reason.READY else f"{ready.reason}: {ready.message}" if ready.message else ready.reason
    return "; ".join(filter(None, (said, "the last edit is not carried out yet" if late else "")))
