"""Which FTP ports of this node the kernel's helper is to follow, and what is said where it does not."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import AnyServiceKey
from lvs_agent.decide.prepared_plan import PreparedPlan
from lvs_api.conditions import Reason


def ftp_ports(prepared: PreparedPlan) -> frozenset[int]:
    """All of the node; a paused service asks for nothing."""
    return frozenset(
        port for service in prepared.services if not service.planned.paused for port in service.planned.ftp_ports
    )


def unhelped_services(prepared: PreparedPlan, followed: AbstractSet[int]) -> Mapping[AnyServiceKey, Fault]:
    """The services with a port that the helper should follow and does not."""
    faults: dict[AnyServiceKey, Fault] = {}
    for service in prepared.services:
        missing = [port for port in service.planned.ftp_ports if port not in followed]
        if missing and not service.planned.paused:
            faults[service.key] = Fault(reason=Reason.HELPER_UNAVAILABLE, message=_why(missing[0], followed))
    return faults


def _why(port: int, followed: AbstractSet[int]) -> str:
    if not followed:
        return (
            f"nothing follows FTP on port {port}: the kernel has no module ip_vs_ftp, or may not load it; "
            "`modprobe ip_vs_ftp` on this node says why"
        )
    others = ",".join(map(str, sorted(followed)))
    return (
        f"the module ip_vs_ftp follows port {others} here and not {port}: its ports are chosen when it is loaded; "
        f"unload it and load it with ports={others},{port}"
    )
