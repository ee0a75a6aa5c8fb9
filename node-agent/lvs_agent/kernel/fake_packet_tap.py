"""What arrives at the network cards, in memory, for unit tests."""

from collections.abc import Collection
from dataclasses import dataclass, field

from lvs_agent.decide.kernel_state import ServiceKey
from lvs_agent.decide.unseen_packets import Arrival, Arrivals
from lvs_agent.errors import ArrivalsUnknown
from lvs_agent.kernel.arrival_filter import MOST_FRONTS


@dataclass(kw_only=True)
class FakePacketTap:
    """`PacketTap` that hears what tests let come, at once and in every look."""

    arriving: dict[ServiceKey, Arrival] = field(default_factory=dict)
    fails: bool = False
    listened: list[frozenset[ServiceKey]] = field(default_factory=list)
    seconds: float = 0.0
    """In all looks together."""

    async def listen(self, fronts: Collection[ServiceKey], seconds: float) -> Arrivals:
        """What comes to these; as the kernel's, it takes no more of them than a filter has room for."""
        if len(set(fronts)) > MOST_FRONTS:
            raise ValueError(f"{len(set(fronts))} fronts are more than {MOST_FRONTS}")
        if self.fails:
            raise ArrivalsUnknown("listening to what arrives for VIPs: Cannot allocate memory")
        self.listened.append(frozenset(fronts))
        self.seconds += seconds
        every_port = {(front.protocol, front.address) for front in fronts if not front.port}
        return {
            front: arrival
            for front, arrival in self.arriving.items()
            if front in fronts or (front.protocol, front.address) in every_port
        }
