"""Local delivery by marks without a kernel, for unit tests."""

from collections.abc import Collection
from dataclasses import dataclass, field

from lvs_agent.decide.kernel_state import FirewallMarkKey, LocalDelivery
from lvs_agent.errors import LinkError


@dataclass(kw_only=True)
class FakeDeliveryRoutes:
    """`DeliveryRoutes` in memory; `refuses` is a kernel without policy routing (CONFIG_IP_MULTIPLE_TABLES)."""

    present: LocalDelivery = field(default_factory=LocalDelivery)
    refuses: bool = False
    reads: int = 0
    writes: int = 0

    async def read(self) -> LocalDelivery:
        """Ours."""
        self.reads += 1
        return self.present

    async def replace(self, marks: Collection[FirewallMarkKey]) -> None:
        """Just what these need."""
        if self.refuses and marks:
            raise LinkError("rule for mark: Operation not supported")
        self.writes += 1
        self.present = LocalDelivery.of(marks)

    async def close(self) -> None:
        """Nothing to release."""
