"""How many connections may be open at once: each check holds one until its real server answers or its time is up."""

import resource


def raise_limit() -> None:
    """Allow this process as many open files as its hard limit says; many systems start processes with 1,024.

    asyncio waits with epoll, which has no limit of its own.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
