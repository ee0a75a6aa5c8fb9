"""From a service's slices to the virtual services that a director's kernel is to have for it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from lvs_api.network_types import ConnectionHelper, Family, Tunnel, TunnelChecksum, TunnelType
from lvs_api.quorum import BelowQuorum, Quorum
from lvs_api.real_server_pool import HealthCheck
from lvs_api.service_slice import AcceptedPool, AcceptedService
from lvs_api.virtual_service import Persistence, ServicePort
from lvs_core import udp_flows
from lvs_core.cluster_view import Member, ObjectKey, Slice, family_of
from lvs_core.crossing import served_families
from lvs_core.forwarding import needs_address
from lvs_core.frontends import destination_port, families, marked_families, own_port, ports, takes, vips
from lvs_core.plan import (
    AnyVirtualKey,
    CheckTarget,
    FormerMethod,
    HttpTarget,
    IpAddress,
    MarkKey,
    PlannedMember,
    PlannedPersistence,
    PlannedQuorum,
    PlannedService,
    PlannedTunnel,
    TcpTarget,
    VirtualServerKey,
    protocols_of,
)


class OwnNode(NamedTuple):
    """The node that the plan is for: by which addresses it is known, and whether nobody else directs the group."""

    node: str
    addresses: tuple[IpAddress, ...]
    is_alone: bool


def compile_service(key: ObjectKey, parts: Sequence[Slice], me: OwnNode) -> tuple[PlannedService, ...] | None:
    """The virtual services of one LvsVirtualService, from all its slices; None where its first has not been seen."""
    settings = next((part.content for part in parts if part.content.service is not None), None)
    if settings is None or settings.service is None or settings.pool is None:
        return None
    service, pool = settings.service, settings.pool
    members = tuple(member for part in parts for member in part.content.members)
    made = (
        PlannedService(
            key=front.key,
            vip=front.vip,
            service=key,
            service_uid=parts[0].content.service_uid,
            port_name=front.port.name if front.port is not None else None,
            marked=front.marked,
            delivered=service.firewall_mark is not None and bool(service.firewall_mark.local_delivery),
            ftp_ports=_ftp_ports(service, front),
            scheduler=service.scheduler,
            scheduler_flags=tuple(sorted(service.scheduler_flags or ())),
            persistence=_persistence(service.persistence, front.family),
            one_packet_scheduling=service.one_packet_scheduling,
            on_failure=(pool.udp_on_failure if flows else None) or pool.on_failure,
            drain_seconds=udp_flows.drain_seconds(pool.drain, flows=flows),
            paused=service.paused,
            members=_leaving_in_time(_members(members, service, front, pool.health_check), pool, flows=flows),
            has_one_director=me.is_alone,
            quorum=_quorum(service.quorum),
        )
        for front, flows in ((front, _has_flows_alone(service, front)) for front in _fronts(service))
    )
    return tuple(_with_me(one, me) for one in made)


def _with_me(planned: PlannedService, me: OwnNode) -> PlannedService:
    """One of several directors is no stranger to itself: what falls to it needs no report of its own."""
    if not any(_is_me(member, me) for member in planned.members):
        return planned
    members = (
        replace(member, node=None, prepared=True, boot_id=None, is_here=True) if _is_me(member, me) else member
        for member in planned.members
    )
    return replace(planned, members=tuple(members))


def _is_me(member: PlannedMember, me: OwnNode) -> bool:
    is_known = member.node == me.node or member.address in me.addresses
    return is_known and member.refused is None and needs_address(member.method)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Front:
    """What one virtual service of the kernel is found by."""

    key: AnyVirtualKey
    family: Family
    vip: IpAddress | None
    port: ServicePort | None = None
    marked: tuple[VirtualServerKey, ...] = ()


def _fronts(service: AcceptedService) -> Iterator[_Front]:
    """A virtual service for each address and port; under a mark one for each family."""
    if service.firewall_mark is not None:
        for family, vip in marked_families(service):
            key = MarkKey(mark=service.firewall_mark.value, family=family)
            marked = [] if vip is None else [server for server, _ in _servers(service, vip)]
            yield _Front(
                key=key,
                family=family,
                vip=None if vip is None else ip(vip),
                marked=tuple(sorted(marked, key=order_of)),
            )
        return
    for address in vips(service):
        for server, port in _servers(service, address):
            yield _Front(key=server, family=family_of(address), vip=server.address, port=port)


def _has_flows_alone(service: AcceptedService, front: _Front) -> bool:
    carried = protocols_of(front.key, front.marked)
    return udp_flows.has_flows_alone(carried, one_packet_scheduling=service.one_packet_scheduling)


def _ftp_ports(service: AcceptedService, front: _Front) -> tuple[int, ...]:
    """Those of the front; under a mark all of the service."""
    met = (front.port,) if front.port is not None else ports(service)
    return tuple(sorted(port.port for port in met if port.helper is ConnectionHelper.FTP))


def _servers(service: AcceptedService, address: str) -> Iterator[tuple[VirtualServerKey, ServicePort]]:
    for port in ports(service):
        yield VirtualServerKey(address=ip(address), port=port.port, protocol=port.protocol), port


def order_of(key: AnyVirtualKey) -> tuple[int, int, int, str]:
    """By which virtual services are sorted."""
    if isinstance(key, MarkKey):
        return (0, key.mark, 0, key.family)
    return (key.address.version, int(key.address), key.port, key.protocol)


def _persistence(persistence: Persistence | None, family: Family) -> PlannedPersistence | None:
    if persistence is None:
        return None
    prefix = persistence.ipv4_prefix_length if family is Family.IPV4 else persistence.ipv6_prefix_length
    return PlannedPersistence(
        timeout_seconds=persistence.timeout_seconds, prefix_length=prefix, engine=persistence.engine
    )


def _quorum(quorum: Quorum | None) -> PlannedQuorum | None:
    if quorum is None:
        return None
    return PlannedQuorum(quorum.weight, quorum.hysteresis, quorum.below == BelowQuorum.WITHDRAW_ADDRESS)


def _members(
    members: Iterable[Member], service: AcceptedService, front: _Front, check: HealthCheck | None
) -> tuple[PlannedMember, ...]:
    """The members to which the front's packets can come.

    Where two mean the same destination, one that stays goes before one that leaves, then the first by name.
    """
    chosen: dict[tuple[str, int], Member] = {}
    every = families(service)
    fitting = (
        one
        for one in members
        if front.family in served_families(one.address, one.forwarding, every) and takes(one, front.port)
    )
    for member in sorted(fitting, key=lambda member: (member.draining_seconds is not None, member.name)):
        number = destination_port(service, own_port(member, front.port), front.port)
        chosen.setdefault((member.address, number), member)
    return tuple(
        _planned_member(member, number, check)
        for (_, number), member in sorted(chosen.items(), key=lambda item: item[1].name)
    )


def _leaving_in_time(
    members: tuple[PlannedMember, ...], pool: AcceptedPool, *, flows: bool
) -> tuple[PlannedMember, ...]:
    """The members, of a virtual service of UDP none with more time to leave than it has there.

    Slices say it once for all ports. One that is not there any more has none, whatever the pool says.
    """
    if not flows:
        return members
    most = udp_flows.drain_seconds(pool.drain, flows=True)
    return tuple(
        member
        if member.draining_seconds is None
        else replace(member, draining_seconds=0 if member.unready else min(member.draining_seconds, most))
        for member in members
    )


def _planned_member(member: Member, port: int, check: HealthCheck | None) -> PlannedMember:
    return PlannedMember(
        name=member.name,
        address=ip(member.address),
        port=port,
        weight=member.weight,
        method=member.forwarding.method,
        tunnel=_planned_tunnel(member.forwarding.tunnel),
        source_nat=bool(member.forwarding.source_nat),
        upper_threshold=member.upper_threshold,
        lower_threshold=member.lower_threshold,
        check=_check_target(member, port, check),
        node=member.node,
        prepared=member.prepared,
        boot_id=member.boot_id,
        refused=member.refused,
        former=None
        if member.former is None
        else FormerMethod(
            method=member.former.forwarding.method,
            timeout_seconds=member.former.timeout_seconds,
        ),
        draining_seconds=member.draining_seconds,
        unready=member.unready,
    )


def _planned_tunnel(tunnel: Tunnel | None) -> PlannedTunnel | None:
    if tunnel is None:
        return None
    checksum = TunnelChecksum(tunnel.checksum) if tunnel.checksum is not None else None
    return PlannedTunnel(TunnelType(tunnel.type), tunnel.port or 0, checksum)


def _check_target(member: Member, port: int, check: HealthCheck | None) -> CheckTarget | None:
    if check is None:
        return None
    number = check.port or port or member.port
    if not number:
        return None  # port 0 or a mark, and no port named: such a pool is not accepted
    what: TcpTarget | HttpTarget = TcpTarget()
    if check.http is not None:
        what = HttpTarget(
            path=check.http.path,
            host=check.http.host,
            expected_statuses=tuple(sorted(check.http.expected_statuses or ())),
        )
    return CheckTarget(
        address=ip(member.address),
        port=number,
        what=what,
        interval_seconds=check.interval_seconds,
        timeout_seconds=check.timeout_seconds,
        rise=check.rise,
        fall=check.fall,
    )


@lru_cache(maxsize=65536)
def ip(text: str) -> IpAddress:
    """An address that was valid when it was read."""
    return ip_address(text)
