"""Which kernel services that nobody wants any more wait: for those that take their place, or for their address to go.

An edit of ports, of an address or of how ports are grouped makes other kernel services of a LvsVirtualService. The
kernel may refuse them, for want of a scheduler, say, and the ledger's disk may take nothing. What served goes on then.

An address without its services refuses clients. So it goes first; where the VRRP daemon carries it that takes a moment.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from lvs_agent.decide.changes import AddService, IpvsChange
from lvs_agent.decide.desired_service import ServicePart
from lvs_agent.decide.kernel_state import AnyServiceKey, IPAddress, ServiceKey
from lvs_core.cluster_view import ObjectKey


def predecessors(
    changes: Iterable[IpvsChange],
    services: Mapping[ObjectKey, Sequence[ServicePart]],
    names: Mapping[AnyServiceKey, ObjectKey],
) -> frozenset[AnyServiceKey]:
    """Kernel services that are not taken away while `changes` have yet to make one of the same LvsVirtualService.

    `services` are the wanted ones; `names` tells whose those are that the kernel has.
    """
    absent = {change.service for change in changes if isinstance(change, AddService)}
    if not absent:
        return frozenset()
    wanted = {part.key for parts in services.values() for part in parts}
    coming = {name for name, parts in services.items() if any(part.key in absent for part in parts)}
    return frozenset(key for key, name in names.items() if name in coming and key not in wanted)


def carried_on(
    changes: Iterable[IpvsChange], still_carried: AbstractSet[IPAddress], wanted: AbstractSet[AnyServiceKey]
) -> frozenset[AnyServiceKey]:
    """Kernel services that are not taken away, nor any real server of theirs, while their address is still carried."""
    if not still_carried:
        return frozenset()
    gone = (change.service for change in changes if change.service not in wanted)
    return frozenset(key for key in gone if isinstance(key, ServiceKey) and key.address in still_carried)
