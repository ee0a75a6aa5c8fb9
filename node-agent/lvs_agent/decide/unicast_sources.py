"""From which addresses adverts go by unicast, and whether other directors find those on the link of the VIPs. Pure.

keepalived speaks by the device of the VIPs, whatever device its source is on. A peer that has a route to the source by
that link asks for it there (ARP, neighbour solicitations), where the kernel answers for an address of another device
only over IPv4, and not with arp_ignore 1.
"""

from collections.abc import Iterable
from typing import Final

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import KernelLinks
from lvs_agent.decide.vrrp_config import PlacedRouter
from lvs_api.conditions import Reason

_NAMED: Final = 3
_LINKLESS: Final = frozenset({"lo"})
"""An address there is on no link: whoever reaches it has a route that names a neighbour."""
_WHY: Final = (
    "on the VIPs' link the other directors may get no answer when they ask for that address (arp_ignore 1, IPv6), or "
    "drop what comes from it (rp_filter 1): then two are Master"
)
_REMEDY: Final = (
    "set spec.vrrp.transport to Multicast, or make the Node's address on that link its first InternalIP, or name the "
    "device of this one in spec.interface, if the VIPs belong there"
)


def off_link(placed: Iterable[PlacedRouter], links: KernelLinks) -> Fault | None:
    """Sources that are on another device than the one that adverts go by; None where there are none.

    One that is on no device at all is a fault of its virtual router, which says so itself.
    """
    found: list[str] = []
    for one in placed:
        devices = {there.device for there in links.addresses if there.address == one.source}
        if devices and one.device not in devices and not devices & _LINKLESS:
            found.append(
                f"LvsDirectorGroup {one.key.group}: unicast adverts go by {one.device}, which carries the VIPs, from "
                f"{one.source}, which is on {', '.join(sorted(devices))}"
            )
    told = list(dict.fromkeys(found))
    if not told:
        return None
    more = [f"and {len(told) - _NAMED} more"] if len(told) > _NAMED else []
    said = "; ".join([*told[:_NAMED], *more])
    return Fault(reason=Reason.UNICAST_OFF_LINK, message=f"{said}; {_WHY}; {_REMEDY}")
