"""A saved table as the agent of a director that has it tells it."""

from collections.abc import Iterable
from typing import Any, Final

from lvs_api.director_table import (
    DirectorTable,
    TablePersistence,
    TableRealServer,
    TableService,
    TableTimeouts,
    TableTunnel,
    Traffic,
)
from lvs_api.network_types import ForwardingMethod
from lvs_cli.saved_table import SavedServer, SavedService, read_saved_table
from lvs_core.plan import MarkKey

NOTHING: Final = Traffic(**dict.fromkeys(Traffic.model_fields, 0))
_FLAGS: Final = {"--tun-csum": "CHECKSUM", "--tun-remcsum": "REMOTE_CHECKSUM"}


def told_services(text: str) -> list[TableService]:
    """What lines for `ipvsadm -R` make of an empty kernel; nothing of it is ours."""
    table = read_saved_table(text)
    assert table.faults == ()
    return [_service(one) for one in table.services]


def told_table(services: Iterable[TableService], node: str = "director-1") -> DirectorTable:
    """The whole page."""
    return DirectorTable(
        node=node,
        ipvs_version="1.2.1",
        connection_table_size=4096,
        wide_counters=True,
        timeouts=TableTimeouts(tcp_seconds=900, tcp_fin_seconds=120, udp_seconds=300),
        sync_daemons=[],
        services=list(services),
    )


def _service(one: SavedService) -> TableService:
    key, persistence = one.key, one.persistence
    place: dict[str, Any] = (
        {"firewall_mark": key.mark}
        if isinstance(key, MarkKey)
        else {"protocol": key.protocol.value, "address": str(key.address), "port": key.port}
    )
    return TableService(
        **place,
        family=one.family,
        scheduler=one.scheduler,
        scheduler_flags=one.flags,
        one_packet_scheduling=one.one_packet_scheduling,
        persistence=None
        if persistence is None
        else TablePersistence(
            timeout_seconds=persistence.timeout_seconds,
            prefix_length=persistence.prefix_length or 0,
            engine=one.engine,
        ),
        traffic=NOTHING,
        real_servers=[_real_server(one, server) for server in one.servers],
    )


def _real_server(service: SavedService, server: SavedServer) -> TableRealServer:
    return TableRealServer(
        ours=False,
        address=str(server.address),
        port=service.port_of(server),
        method=server.method.value,
        tunnel=_tunnel(server) if server.method is ForwardingMethod.TUNNEL else None,
        weight=server.weight,
        upper_threshold=server.upper_threshold,
        lower_threshold=server.lower_threshold,
        active_connections=0,
        inactive_connections=0,
        persistent_connections=0,
        traffic=NOTHING,
    )


def _tunnel(server: SavedServer) -> TableTunnel:
    ports = [int(one.split()[1]) for one in server.tunnel_options if one.startswith("--tun-port ")]
    flags = tuple(_FLAGS[one] for one in server.tunnel_options if one in _FLAGS)
    return TableTunnel(type=server.tunnel.upper(), port=ports[0] if ports else 0, flags=flags)
