"""From LVS words, as the plan has them, to the kernel's."""

from functools import lru_cache
from typing import Final

from lvs_agent.decide.health_verdict import Check, HttpRequest
from lvs_agent.decide.kernel_state import (
    IPIP,
    IPV6,
    NO_SERVICE_FLAGS,
    NO_TUNNEL_FLAGS,
    AddressFamily,
    AnyServiceKey,
    DestinationKey,
    DestinationSettings,
    FirewallMarkKey,
    ForwardingMethod,
    Persistence,
    ServiceFlag,
    ServiceKey,
    ServiceSettings,
    TransportProtocol,
    TunnelFlag,
    TunnelSettings,
    TunnelType,
)
from lvs_api.network_types import Family, Protocol, SchedulerFlag, TunnelChecksum
from lvs_api.network_types import ForwardingMethod as LvsMethod
from lvs_api.network_types import TunnelType as LvsTunnel
from lvs_core.plan import (
    AnyVirtualKey,
    CheckTarget,
    HttpTarget,
    MarkKey,
    PlannedMember,
    PlannedService,
    PlannedTunnel,
)

TRANSPORT_PROTOCOLS: Final = {
    Protocol.TCP: TransportProtocol.TCP,
    Protocol.UDP: TransportProtocol.UDP,
    Protocol.SCTP: TransportProtocol.SCTP,
}
_FAMILIES: Final = {Family.IPV4: AddressFamily.IPV4, Family.IPV6: AddressFamily.IPV6}
_METHODS: Final = {
    LvsMethod.DIRECT_ROUTING: ForwardingMethod.DIRECT_ROUTE,
    LvsMethod.TUNNEL: ForwardingMethod.TUNNEL,
    LvsMethod.MASQUERADE: ForwardingMethod.MASQUERADE,
}
_TUNNELS: Final = {LvsTunnel.IPIP: TunnelType.IPIP, LvsTunnel.GRE: TunnelType.GRE, LvsTunnel.GUE: TunnelType.GUE}
_CHECKSUMS: Final = {
    None: NO_TUNNEL_FLAGS,
    TunnelChecksum.UDP: TunnelFlag.CHECKSUM,
    TunnelChecksum.REMOTE_OFFLOAD: TunnelFlag.REMOTE_CHECKSUM,
}
_FLAGS: Final = {
    SchedulerFlag.SH_FALLBACK: ServiceFlag.SCHEDULER_1,
    SchedulerFlag.SH_PORT: ServiceFlag.SCHEDULER_2,
    SchedulerFlag.MH_FALLBACK: ServiceFlag.SCHEDULER_1,
    SchedulerFlag.MH_PORT: ServiceFlag.SCHEDULER_2,
}
_HTTP_PORT: Final = 80


def service_key(key: AnyVirtualKey) -> AnyServiceKey:
    """The kernel's service for what clients connect to, or for what carries a mark."""
    if isinstance(key, MarkKey):
        return FirewallMarkKey(family=_FAMILIES[key.family], mark=key.mark)
    return ServiceKey(protocol=TRANSPORT_PROTOCOLS[key.protocol], address=key.address, port=key.port)


def service_settings(planned: PlannedService) -> ServiceSettings:
    """What the kernel's service is set to."""
    flags = NO_SERVICE_FLAGS
    for flag in planned.scheduler_flags:
        flags |= _FLAGS[flag]
    if planned.one_packet_scheduling:
        flags |= ServiceFlag.ONE_PACKET
    asked = planned.persistence
    persistence, engine = None, ""
    if asked is not None:
        persistence = Persistence(timeout_seconds=asked.timeout_seconds, prefix_length=asked.prefix_length)
        engine = asked.engine.value if asked.engine is not None else ""
    return ServiceSettings(
        scheduler=planned.scheduler.value, flags=flags, persistence=persistence, persistence_engine=engine
    )


def destination_key(member: PlannedMember) -> DestinationKey:
    """The kernel's destination for a real server."""
    return DestinationKey(address=member.address, port=member.port)


def destination_settings(member: PlannedMember, weight: int) -> DestinationSettings:
    """What the kernel's destination is set to at this effective weight."""
    return _settings(weight, member.method, member.upper_threshold, member.lower_threshold, member.tunnel)


@lru_cache(maxsize=4096)
def _settings(
    weight: int, method: LvsMethod, upper_threshold: int, lower_threshold: int, tunnel: PlannedTunnel | None
) -> DestinationSettings:
    """One shared value for each: thousands of real servers have the same, and those that are one compare at once."""
    return DestinationSettings(
        weight=weight,
        method=_METHODS[method],
        upper_threshold=upper_threshold,
        lower_threshold=lower_threshold,
        tunnel=IPIP if tunnel is None else _tunnel_settings(tunnel),
    )


def _tunnel_settings(tunnel: PlannedTunnel) -> TunnelSettings:
    return TunnelSettings(type=_TUNNELS[tunnel.type], port=tunnel.port, flags=_CHECKSUMS[tunnel.checksum])


def check_of(target: CheckTarget) -> Check:
    """The check to run for a planned one."""
    return Check(
        address=str(target.address),
        port=target.port,
        http=_http_request(target, target.what) if isinstance(target.what, HttpTarget) else None,
        interval_seconds=target.interval_seconds,
        timeout_seconds=target.timeout_seconds,
        rise=target.rise,
        fall=target.fall,
    )


def _http_request(target: CheckTarget, what: HttpTarget) -> HttpRequest:
    """The Host header names the port where it is not the scheme's own (RFC 9110, 7.2)."""
    host = what.host
    if host is None:
        host = f"[{target.address}]" if target.address.version == IPV6 else str(target.address)
        if target.port != _HTTP_PORT:
            host = f"{host}:{target.port}"
    return HttpRequest(path=what.path, host=host, expected_statuses=what.expected_statuses)
