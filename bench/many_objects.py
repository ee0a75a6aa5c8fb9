"""Many services with their pools: as objects, and brought to an API server."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Final

from bench.large_table import Shape
from lvs_api.testing import real_server, real_server_pool, virtual_service
from support.api_server import ApiServer

AT_ONCE: Final = 4
_FIRST_VIP, _FIRST_SERVER = IPv4Address("10.1.0.1"), IPv4Address("10.64.0.1")
_ROOM: Final = 256
"""Addresses for the real servers of one service."""
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ManyObjects:
    """So many services, each with a VIP of its own and plain machines as real servers behind Masquerade."""

    shape: Shape

    def pairs(self) -> Iterator[tuple[Json, Json]]:
        """The pool and the service of each."""
        return ((self.pool(number), self.service(number)) for number in range(self.shape.services))

    def pool(self, number: int, *, weight: int = 1, more: int = 0) -> Json:
        """A pool; its first real server has this weight, and there may be more or fewer than usual."""
        first = _FIRST_SERVER + number * _ROOM
        servers = [
            real_server(f"rs{member}", str(first + member), weight=1 if member else weight)
            for member in range(self.shape.real_servers + more)
        ]
        return real_server_pool(name_of(number), realServers=servers)

    def service(self, number: int, *, scheduler: str = "wrr") -> Json:
        """A service."""
        return virtual_service(
            name_of(number),
            addresses=[str(_FIRST_VIP + number)],
            scheduler=scheduler,
            forwarding={"method": "Masquerade"},
        )


def name_of(number: int) -> str:
    """Of a service and its pool."""
    return f"many-{number}"


def create_all(server: ApiServer, pairs: Sequence[tuple[Json, Json]]) -> None:
    """Create them, several at once."""
    own = threading.local()

    def create(pair: tuple[Json, Json]) -> None:
        if not hasattr(own, "server"):
            own.server = another_connection(server)
        for raw in pair:
            own.server.create(raw).raise_for_status()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(create, pairs):
            pass


def another_connection(server: ApiServer) -> ApiServer:
    """The same API server by a connection of one's own, for another thread."""
    return ApiServer(directory=server.directory, port=server.port, etcd_port=server.etcd_port, programs=server.programs)
