"""Waiting for a condition outside of this process' own events."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Return once the condition holds; raises TimeoutError when it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (sockets and processes set no event of ours)
            await asyncio.sleep(0.01)
