"""The kernel's table in the API's words, as it is told to `kubectl lvs list`."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lvs_agent.decide.kernel_settings import KernelTimeouts, SyncDaemon, SyncDaemons, SyncState, Timeout
from lvs_agent.decide.kernel_state import (
    IPIP,
    AddressFamily,
    DestinationSettings,
    FirewallMarkKey,
    ForwardingMethod,
    IpvsInfo,
    Persistence,
    ServiceFlag,
    ServiceKey,
    ServiceSettings,
    TrafficCounters,
    TunnelFlag,
)
from lvs_agent.decide.named_table import NamedMember, NamedService
from lvs_api.director_table import (
    DirectorTable,
    TablePersistence,
    TableRealServer,
    TableService,
    TableSyncDaemon,
    TableTimeouts,
    TableTunnel,
    Traffic,
)
from lvs_api.network_types import Family

_FAMILIES: Final = {AddressFamily.IPV4: Family.IPV4, AddressFamily.IPV6: Family.IPV6}
_METHODS: Final = {
    ForwardingMethod.DIRECT_ROUTE: "DirectRouting",
    ForwardingMethod.TUNNEL: "Tunnel",
    ForwardingMethod.MASQUERADE: "Masquerade",
    ForwardingMethod.LOCAL: "Local",
    ForwardingMethod.BYPASS: "Bypass",
    ForwardingMethod.OTHER: "Other",
}
_FLAGS: Final = (ServiceFlag.SCHEDULER_1, ServiceFlag.SCHEDULER_2, ServiceFlag.SCHEDULER_3)
_FLAG_NAMES: Final = ("flag-1", "flag-2", "flag-3")
_NAMES_OF_FLAGS: Final = {
    "sh": ("sh-fallback", "sh-port", "flag-3"),
    "mh": ("mh-fallback", "mh-port", "flag-3"),
}
"""By scheduler, as ipvsadm(8) names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """What is told beside the entries."""

    node: str
    info: IpvsInfo
    timeouts: KernelTimeouts
    daemons: SyncDaemons
    wide_counters: bool


def tell_table(services: Iterable[NamedService], facts: TableFacts) -> DirectorTable:
    """All of it."""
    return DirectorTable(
        node=facts.node,
        ipvs_version=facts.info.version,
        connection_table_size=facts.info.connection_table_size,
        wide_counters=facts.wide_counters,
        timeouts=TableTimeouts(
            tcp_seconds=facts.timeouts.get(Timeout.TCP),
            tcp_fin_seconds=facts.timeouts.get(Timeout.TCP_FIN),
            udp_seconds=facts.timeouts.get(Timeout.UDP),
        ),
        sync_daemons=[_sync_daemon(state, one) for state, one in sorted(facts.daemons.items())],
        services=[_service(service) for service in services],
    )


def _sync_daemon(state: SyncState, one: SyncDaemon) -> TableSyncDaemon:
    return TableSyncDaemon(
        state=state.name.lower(),
        interface=one.interface,
        sync_id=one.sync_id,
        max_length=one.max_length,
        group=str(one.group),
        port=one.port,
        ttl=one.ttl,
    )


def _service(service: NamedService) -> TableService:
    key, settings, name = service.key, service.state.settings, service.service
    return TableService(
        namespace=name.namespace if name is not None else None,
        name=name.name if name is not None else None,
        port_name=service.port_name,
        family=_FAMILIES[key.family],
        protocol=key.protocol.name if isinstance(key, ServiceKey) else None,
        address=str(key.address) if isinstance(key, ServiceKey) else None,
        port=key.port if isinstance(key, ServiceKey) else None,
        firewall_mark=key.mark if isinstance(key, FirewallMarkKey) else None,
        scheduler=settings.scheduler,
        scheduler_flags=_flags(settings),
        one_packet_scheduling=ServiceFlag.ONE_PACKET in settings.flags,
        persistence=_persistence(settings.persistence, settings.persistence_engine),
        traffic=_traffic(service.state.counters),
        real_servers=[_real_server(member) for member in service.members],
    )


def _real_server(member: NamedMember) -> TableRealServer:
    state, settings = member.state, member.state.settings
    return TableRealServer(
        name=member.name,
        ours=member.ours,
        address=str(member.key.address),
        port=member.key.port,
        method=_METHODS[settings.method],
        tunnel=_tunnel(settings),
        weight=settings.weight,
        upper_threshold=settings.upper_threshold,
        lower_threshold=settings.lower_threshold,
        active_connections=state.active_connections,
        inactive_connections=state.inactive_connections,
        persistent_connections=state.persistent_connections,
        traffic=_traffic(state.counters),
    )


def _tunnel(settings: DestinationSettings) -> TableTunnel | None:
    if settings.method is not ForwardingMethod.TUNNEL:
        return None
    tunnel = settings.tunnel
    if tunnel == IPIP:
        return TableTunnel(type=IPIP.type.name)
    flags = (flag.name for flag in TunnelFlag if flag in tunnel.flags and flag.name is not None)
    return TableTunnel(type=tunnel.type.name, port=tunnel.port, flags=tuple(flags))


def _flags(settings: ServiceSettings) -> tuple[str, ...]:
    names = _NAMES_OF_FLAGS.get(settings.scheduler, _FLAG_NAMES)
    return tuple(name for flag, name in zip(_FLAGS, names, strict=True) if flag in settings.flags)


def _persistence(persistence: Persistence | None, engine: str) -> TablePersistence | None:
    if persistence is None:
        return None
    return TablePersistence(
        timeout_seconds=persistence.timeout_seconds, prefix_length=persistence.prefix_length, engine=engine or None
    )


def _traffic(counters: TrafficCounters) -> Traffic:
    return Traffic(**counters._asdict())
