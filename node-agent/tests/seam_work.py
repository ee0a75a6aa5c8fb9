"""Work with a seam's real implementation in a network namespace."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from lvs_agent.kernel.testing import NetworkNamespace


class Closing(Protocol):
    """A seam that holds a socket."""

    async def close(self) -> None:
        """Let it go."""


Seam = TypeVar("Seam", bound=Closing)
Result = TypeVar("Result")


def with_seam(
    namespace: NetworkNamespace, make: Callable[[], Seam], work: Callable[[Seam], Awaitable[Result]]
) -> Result:
    """What comes of the work, in a loop of its own."""

    async def main() -> Result:
        seam = make()
        try:
            return await work(seam)
        finally:
            await seam.close()

    return namespace.run(lambda: asyncio.run(main()))
