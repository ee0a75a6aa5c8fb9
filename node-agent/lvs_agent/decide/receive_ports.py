"""Which ports for GUE this real server has open, and which of its VIPs wait for them."""

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import AddressBinding, ReceivePort
from lvs_agent.decide.tunnel_guard import TUNNEL_KINDS
from lvs_core.plan import BoundAddress, NodePlan


def wanted_ports(plan: NodePlan, owned: AbstractSet[ReceivePort]) -> frozenset[ReceivePort]:
    """What the VIPs need; by a provisional plan nothing goes."""
    needed = frozenset(port for bound in plan.bind for port in _ports(bound))
    return needed | owned if plan.provisional else needed


def guarded_ports(plan: NodePlan, owned: AbstractSet[ReceivePort]) -> frozenset[ReceivePort]:
    """Those that are open or will be: one that goes is guarded until it is closed."""
    return wanted_ports(plan, owned) | owned


def waiting_bindings(plan: NodePlan, faults: Mapping[ReceivePort, Fault]) -> Mapping[AddressBinding, Fault]:
    """VIPs of which some port is not open, and why: they are not called bound, and not bound where they are not yet."""
    return {
        AddressBinding(address=bound.address, device=bound.device.value): faults[port]
        for bound in plan.bind
        for port in _ports(bound)
        if port in faults
    }


def _ports(bound: BoundAddress) -> Collection[ReceivePort]:
    """Of the family of what the device unwraps, whatever is in it."""
    if not bound.gue_ports:
        return ()
    family = TUNNEL_KINDS[bound.device].family
    return tuple(ReceivePort(family, port) for port in bound.gue_ports)
