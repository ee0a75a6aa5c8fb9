"""A connection is opened and closed."""

from lvs_agent.probes.connection import connect
from lvs_agent.probes.interface import Outcome, Result


class TcpProbe:
    """Passes when the real server accepts a TCP connection."""

    def __init__(self, address: str, port: int) -> None:
        self._address = address
        self._port = port

    async def check(self) -> Outcome:
        """Connect."""
        (await connect(self._address, self._port)).close()
        return Outcome(result=Result.PASSED)
