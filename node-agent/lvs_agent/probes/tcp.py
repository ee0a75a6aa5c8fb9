"""A connection is opened and closed."""

import asyncio
import socket

from lvs_agent.probes.interface import Outcome


class TcpProbe:
    """Passes when the real server accepts a TCP connection."""

    def __init__(self, address: str, port: int) -> None:
        self._peer = (address, port)
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET

    async def check(self) -> Outcome:
        """Connect."""
        with socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as connection:
            await asyncio.get_running_loop().sock_connect(connection, self._peer)
        return Outcome(passed=True)
