"""What a director tells of its kernel's entries, in the words of a saved table.

Nothing is dropped on the way: thresholds, tunnels and ports are as the kernel has them. What a saved table has no word
for is a fault.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from itertools import count
from typing import Final

from lvs_api.director_table import TablePersistence, TableRealServer, TableService, TableTunnel
from lvs_api.network_types import ForwardingMethod, Protocol, TunnelChecksum, TunnelType
from lvs_cli.ipvsadm_form import CHECKSUM_OPTIONS, endpoint
from lvs_cli.saved_table import SavedPersistence, SavedServer, SavedService, SavedTable
from lvs_core.plan import AnyVirtualKey, MarkKey, VirtualServerKey

CHECKSUM_FLAGS: Final[Mapping[str, TunnelChecksum]] = {
    "CHECKSUM": TunnelChecksum.UDP,
    "REMOTE_CHECKSUM": TunnelChecksum.REMOTE_OFFLOAD,
}
"""What guards wrapped packets, as agents tell it."""


def key_of(service: TableService) -> AnyVirtualKey:
    """What clients connect to."""
    if service.firewall_mark is not None:
        return MarkKey(mark=service.firewall_mark, family=service.family)
    return VirtualServerKey(
        address=ip_address(service.address or ""),
        port=service.port or 0,
        protocol=Protocol(service.protocol or ""),
    )


def real_server_name(service: TableService, server: TableRealServer) -> str:
    """How people are told of it."""
    return f"real server {endpoint(server.address, server.port)} of {key_of(service)}"


def saved_table_of(services: Iterable[TableService]) -> SavedTable:
    """These virtual services with their real servers, in this order."""
    places = count(1)
    faults: list[str] = []
    saved = [_service(service, places, faults) for service in services]
    return SavedTable(services=tuple(saved), faults=tuple(faults), is_file=False)


def _service(service: TableService, places: Iterator[int], faults: list[str]) -> SavedService:
    place = next(places)
    servers = []
    for server in service.real_servers:
        if server.method in ForwardingMethod.__members__.values():
            servers.append(_server(server, next(places)))
        else:
            faults.append(
                f"{real_server_name(service, server)} is left out: there is no method {server.method}, but "
                f"{', '.join(ForwardingMethod)}"
            )
    persistence = service.persistence
    return SavedService(
        line=place,
        key=key_of(service),
        scheduler=service.scheduler,
        flags=service.scheduler_flags,
        persistence=None if persistence is None else _persistence(persistence),
        engine=None if persistence is None else persistence.engine,
        one_packet_scheduling=service.one_packet_scheduling,
        servers=tuple(servers),
        has_own_ports=True,
    )


def _persistence(one: TablePersistence) -> SavedPersistence:
    return SavedPersistence(timeout_seconds=one.timeout_seconds, prefix_length=one.prefix_length)


def _server(server: TableRealServer, place: int) -> SavedServer:
    tunnel = server.tunnel or TableTunnel(type=TunnelType.IPIP.value)
    return SavedServer(
        line=place,
        address=ip_address(server.address),
        port=server.port,
        method=ForwardingMethod(server.method),
        tunnel=tunnel.type.lower(),
        tunnel_options=tuple(_tunnel_options(tunnel)),
        weight=server.weight,
        upper_threshold=server.upper_threshold,
        lower_threshold=server.lower_threshold,
    )


def _tunnel_options(tunnel: TableTunnel) -> Iterator[str]:
    if tunnel.port:
        yield f"--tun-port {tunnel.port}"
    for flag in tunnel.flags:
        checksum = CHECKSUM_FLAGS.get(flag)
        yield f"--tun-{flag.lower()}" if checksum is None else CHECKSUM_OPTIONS[checksum]
