"""Which ports for GUE this real server has open, and which of its VIPs lack them."""

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import AddressBinding, KernelLinks, ReceivePort
from lvs_agent.decide.tunnel_guard import TUNNEL_KINDS, PortSight
from lvs_core.plan import BoundAddress, NodePlan


class PortClaims(NamedTuple):
    """What of the ports for GUE is ours to have open."""

    wanted: frozenset[ReceivePort]
    owned: frozenset[ReceivePort]
    """By the ledger."""
    former: frozenset[ReceivePort] = frozenset()
    """See `former_ports`."""


NOTHING: Final = PortClaims(frozenset(), frozenset())


def wanted_ports(plan: NodePlan, owned: AbstractSet[ReceivePort]) -> frozenset[ReceivePort]:
    """What the VIPs need; by a provisional plan nothing goes."""
    needed = frozenset(port for bound in plan.bind for port in _ports(bound))
    return needed | owned if plan.provisional else needed


def former_ports(plan: NodePlan, links: KernelLinks, known: AbstractSet[AddressBinding]) -> frozenset[ReceivePort]:
    """Those that are ours if they are open, though the ledger may not say so: an earlier life made them, or a person.

    They belong to VIPs that are bound as they shall be, of which the ledger (`known`) says nothing, either.
    """
    adopted = links.bindings() - known
    return frozenset(port for bound in plan.bind if _binding(bound) in adopted for port in _ports(bound))


def judge_ports(present: frozenset[ReceivePort], mine: PortClaims, free: AbstractSet[ReceivePort]) -> PortSight:
    """Whose the ports are that are open; `free` are those that can be."""
    ours = present & (mine.owned | (mine.former & mine.wanted))
    return PortSight(ours=ours, opening=mine.wanted & free, theirs=(present & mine.wanted) - ours)


def in_use(port: ReceivePort) -> str:
    """Why a port can not be opened that a program or the kernel has."""
    return f"{port}: something else on this node has it: see ss -lun and ip fou show"


def closed_ports(plan: NodePlan, faults: Mapping[ReceivePort, Fault]) -> Mapping[AddressBinding, Mapping[int, Fault]]:
    """VIPs that need ports that are not open, which ones, and why: by these nothing comes to them, else all does."""
    found: dict[AddressBinding, dict[int, Fault]] = {}
    for bound in plan.bind:
        for port in _ports(bound):
            if port in faults:
                found.setdefault(_binding(bound), {})[port.port] = faults[port]
    return found


def _binding(bound: BoundAddress) -> AddressBinding:
    return AddressBinding(address=bound.address, device=bound.device.value)


def _ports(bound: BoundAddress) -> Collection[ReceivePort]:
    """Of the family of what the device unwraps, whatever is in it."""
    if not bound.gue_ports:
        return ()
    family = TUNNEL_KINDS[bound.device].family
    return tuple(ReceivePort(family, port) for port in bound.gue_ports)
