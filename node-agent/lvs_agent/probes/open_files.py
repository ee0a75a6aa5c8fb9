"""How many checks may be made at once: each holds a connection until its real server answers or its time is up."""

import resource
from typing import Final

RESERVED: Final = 32
"""Open files that are no checks' own: pipes, epoll, and connections that are being closed."""
MOST_AT_ONCE: Final = 4096
"""More would only wait for one another in this process."""


def raise_limit() -> int:
    """Allow this process as many open files as its hard limit says; many systems start processes with 1,024.

    asyncio waits with epoll, which has no limit of its own. Gives how many checks may be made at once.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return at_once(hard)


def at_once(open_files: int) -> int:
    """How many checks so many open files are enough for; `RLIM_INFINITY` is none too many."""
    if open_files == resource.RLIM_INFINITY:
        return MOST_AT_ONCE
    return min(max(open_files - RESERVED, 1), MOST_AT_ONCE)
