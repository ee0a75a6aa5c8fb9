"""Whose each entry of a director's table is, or what keeps it from being ours, by what the slices want there.

An agent takes over what equals the plan, a real server's weight aside (`lvs_agent.decide.ownership`); this says
beforehand what it will do, and of the rest which field differs.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

from lvs_api.director_table import TableRealServer, TableService
from lvs_api.network_types import ForwardingMethod, TunnelType
from lvs_cli.ipvsadm_form import endpoint
from lvs_cli.told_entries import CHECKSUM_FLAGS, key_of
from lvs_core.plan import AnyVirtualKey, IpAddress, PlannedMember, PlannedService


class Standing(StrEnum):
    """What an entry is to us."""

    OURS = "ours"
    EQUAL = "becomes ours"
    """It equals what an object wants: its agent takes it over without removing and adding it."""
    IN_THE_WAY = "in the way"
    """An object wants it otherwise."""
    UNWANTED = "not ours"
    """No object wants it."""
    MISSING = "not there"
    """A real server that an object wants in a virtual service that is there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RealServerEntry:
    """One real server of a virtual service, or the want of it."""

    address: str
    port: int
    standing: Standing
    why: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceEntry:
    """A virtual service of the table."""

    told: TableService
    key: AnyVirtualKey
    standing: Standing
    wanted: PlannedService | None
    """What an object wants under its key."""
    real_servers: tuple[RealServerEntry, ...]
    why: tuple[str, ...] = ()

    @property
    def wanted_by(self) -> str:
        """The object; empty where there is none."""
        if self.wanted is None:
            return "/".join(filter(None, (self.told.namespace, self.told.name)))
        return f"{self.wanted.service}{' (paused)' if self.wanted.paused else ''}"


def judge(services: Iterable[TableService], planned: Mapping[AnyVirtualKey, PlannedService]) -> list[ServiceEntry]:
    """Every virtual service of the table, in its order."""
    return [_judge(service, planned.get(key_of(service))) for service in services]


def left_alone(entry: ServiceEntry) -> Iterator[str]:
    """What of it nobody takes over, though an object wants the virtual service, and why."""
    if entry.wanted is None:
        return
    if entry.standing is Standing.IN_THE_WAY:
        yield f"{entry.key} stays as it is: {entry.wanted_by} wants it otherwise: {'; '.join(entry.why)}"
    for one in entry.real_servers:
        where = f"real server {endpoint(one.address, one.port)} of {entry.key} stays as it is"
        if one.standing is Standing.IN_THE_WAY and one.why:
            yield f"{where}: {entry.wanted_by} wants it otherwise: {'; '.join(one.why)}"
        elif one.standing is Standing.UNWANTED:
            yield f"{where}: {entry.wanted_by} has the virtual service, and no such real server in its pool"


def _judge(service: TableService, wanted: PlannedService | None) -> ServiceEntry:
    # One that is ours has its object's name; one that is going has lost that, and its real servers are still ours.
    is_ours = service.name is not None or any(server.ours for server in service.real_servers)
    why = () if is_ours or wanted is None else tuple(_service_differences(service, wanted))
    if is_ours:
        standing = Standing.OURS
    elif wanted is None:
        standing = Standing.UNWANTED
    else:
        standing = Standing.IN_THE_WAY if why else Standing.EQUAL
    return ServiceEntry(
        told=service,
        key=key_of(service),
        standing=standing,
        wanted=wanted,
        real_servers=tuple(_real_servers(service, wanted, is_blocked=standing is Standing.IN_THE_WAY)),
        why=why,
    )


def _real_servers(
    service: TableService, wanted: PlannedService | None, *, is_blocked: bool
) -> Iterator[RealServerEntry]:
    members = {} if wanted is None else _members(wanted)
    for server in service.real_servers:
        member = members.pop((ip_address(server.address), server.port), None)
        yield _real_server(server, member, is_blocked=is_blocked)
    for (address, port), member in members.items():
        if member.draining_seconds is None and not is_blocked:
            yield RealServerEntry(address=str(address), port=port, standing=Standing.MISSING, why=("it is added",))


def _members(wanted: PlannedService) -> dict[tuple[IpAddress, int], PlannedMember]:
    """Those that have an entry; of two with one address and port that which stays."""
    found: dict[tuple[IpAddress, int], PlannedMember] = {}
    for member in sorted(wanted.members, key=lambda one: one.draining_seconds is not None):
        if member.refused is None:
            found.setdefault((member.address, member.port), member)
    return found


def _real_server(server: TableRealServer, member: PlannedMember | None, *, is_blocked: bool) -> RealServerEntry:
    standing, why = Standing.UNWANTED, tuple[str, ...]()
    if server.ours:
        standing = Standing.OURS
    elif member is not None:
        why = tuple(_member_differences(server, member))
        standing = Standing.IN_THE_WAY if why or is_blocked else Standing.EQUAL
        if standing is Standing.EQUAL:
            why = tuple(_weight_change(server, member))
    return RealServerEntry(address=server.address, port=server.port, standing=standing, why=why)


def _service_differences(service: TableService, wanted: PlannedService) -> Iterator[str]:
    there, want = service.persistence, wanted.persistence
    figures: list[tuple[str, object, object]] = [
        ("scheduler", service.scheduler, wanted.scheduler),
        ("schedulerFlags", _listed(service.scheduler_flags), _listed(wanted.scheduler_flags)),
        ("onePacketScheduling", service.one_packet_scheduling, wanted.one_packet_scheduling),
        (
            "persistence.timeoutSeconds",
            there.timeout_seconds if there is not None else None,
            want.timeout_seconds if want is not None else None,
        ),
    ]
    if there is not None and want is not None:
        figures.append(("persistence prefix length", there.prefix_length, want.prefix_length))
        figures.append(("persistence.engine", there.engine, want.engine))
    return _differences(figures)


def _member_differences(server: TableRealServer, member: PlannedMember) -> Iterator[str]:
    return _differences(
        [
            ("forwarding.method", server.method, member.method),
            ("forwarding.tunnel", _told_tunnel(server), _planned_tunnel(member)),
            ("upperThreshold", server.upper_threshold, member.upper_threshold),
            ("lowerThreshold", server.lower_threshold, member.lower_threshold),
        ]
    )


def _differences(figures: Iterable[tuple[str, object, object]]) -> Iterator[str]:
    for name, there, wanted in figures:
        if there != wanted:
            yield f"{name} is {_shown(there)} in the kernel and {_shown(wanted)} there"


def _shown(value: object) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _listed(flags: Iterable[str]) -> str | None:
    return ",".join(sorted(flags)) or None


def _told_tunnel(server: TableRealServer) -> str | None:
    if server.method != ForwardingMethod.TUNNEL:
        return None
    if server.tunnel is None:
        return str(TunnelType.IPIP)
    checksums = [str(CHECKSUM_FLAGS.get(flag, flag)) for flag in server.tunnel.flags]
    return _tunnel_words(server.tunnel.type, server.tunnel.port, checksums)


def _planned_tunnel(member: PlannedMember) -> str | None:
    if member.tunnel is None:
        return None
    checksums = [] if member.tunnel.checksum is None else [str(member.tunnel.checksum)]
    return _tunnel_words(str(member.tunnel.type), member.tunnel.port, checksums)


def _tunnel_words(kind: str, port: int, checksums: Iterable[str]) -> str:
    return " ".join([kind, *([f"to port {port}"] if port else []), *checksums])


def _weight_change(server: TableRealServer, member: PlannedMember) -> Iterator[str]:
    """Weight is no part of what must be equal; it is set in place."""
    weight = member.weight if member.may_have_weight else 0
    if weight != server.weight:
        waits = "" if member.prepared else ": it is not prepared yet"
        yield f"weight {server.weight} becomes {weight}{waits}"
