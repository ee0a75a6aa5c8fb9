"""What every DeliveryRoutes must answer alike: the kernel, and the fake that stands in for it."""

from collections.abc import Sequence
from typing import Final

from lvs_agent.decide.kernel_state import AddressFamily, FirewallMarkKey, LocalDelivery
from lvs_agent.kernel.interface import DeliveryRoutes

_TEN: Final = FirewallMarkKey(family=AddressFamily.IPV4, mark=10)
_TEN6: Final = FirewallMarkKey(family=AddressFamily.IPV6, mark=10)
_LAST: Final = FirewallMarkKey(family=AddressFamily.IPV4, mark=0xFFFFFFFF)
STEPS: Final[Sequence[frozenset[FirewallMarkKey]]] = (
    frozenset(),
    frozenset({_TEN}),
    frozenset({_TEN}),
    frozenset({_TEN, _LAST, _TEN6}),
    frozenset({_LAST, _TEN6}),
    frozenset({_LAST}),
    frozenset(),
)
"""Marks, one set after the other."""


async def complaint(routes: DeliveryRoutes) -> str | None:
    """Go through the steps, which end as they begin, with nothing; what was not as it should be, or None."""
    for number, marks in enumerate(STEPS):
        await routes.replace(marks)
        if (found := await routes.read()) != LocalDelivery.of(marks):
            return f"after step {number} there is {found}"
    return None
