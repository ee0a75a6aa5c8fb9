"""A saved table in the words of our objects, and what of it they can not say.

A virtual service or real server that would mean something else without what is lost is left out as a whole; nothing is
left out without a word.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from lvs_api.network_types import (
    RESERVED_MARK,
    ForwardingMethod,
    PersistenceEngine,
    Protocol,
    Scheduler,
    SchedulerFlag,
    TunnelType,
    host_address,
)
from lvs_cli.ipvsadm_form import CHECKSUM_OPTIONS, endpoint
from lvs_cli.saved_table import SavedPersistence, SavedServer, SavedService, SavedTable
from lvs_core.plan import AnyVirtualKey, IpAddress, MarkKey, PlannedTunnel, VirtualServerKey, family_of_ip

MOST_SERVERS: Final = 256
"""Of one LvsRealServerPool by address."""
_FLAGS: Final[Mapping[str, Mapping[str, SchedulerFlag]]] = {
    "sh": {"flag-1": SchedulerFlag.SH_FALLBACK, "flag-2": SchedulerFlag.SH_PORT},
    "mh": {"flag-1": SchedulerFlag.MH_FALLBACK, "flag-2": SchedulerFlag.MH_PORT},
}
"""Options of schedulers by the words that ipvsadm has for all of them."""
_OTHERS: Final[Mapping[str, str]] = {
    "--set": "time-outs are the whole node's: LvsDirectorGroup spec.timeouts",
    "--start-daemon": "sync daemons are the whole node's: LvsDirectorGroup spec.connectionSync",
    "--stop-daemon": "sync daemons are the whole node's: LvsDirectorGroup spec.connectionSync",
}
_METHODS: Final = tuple(ForwardingMethod)
_CHECKSUMS: Final = {option: checksum for checksum, option in CHECKSUM_OPTIONS.items()}
_PORT_OPTION: Final = "--tun-port "
_HIGHEST_PORT: Final = 65535
_NO_HOST: Final = "its address is no host's (unspecified, loopback, link-local, multicast, broadcast or IPv4-mapped)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A real server as a pool has it."""

    address: IpAddress
    port: int | None
    """Where it has one of its own."""
    weight: int
    method: ForwardingMethod | None
    """Where it is not the service's."""
    tunnel: PlannedTunnel | None
    """Where it is not IPIP; with a method of its own then."""
    upper_threshold: int
    lower_threshold: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What ports of one LvsVirtualService have in common."""

    scheduler: Scheduler
    flags: tuple[SchedulerFlag, ...]
    persistence: SavedPersistence | None
    engine: PersistenceEngine | None
    one_packet_scheduling: bool
    method: ForwardingMethod


@dataclass(frozen=True, kw_only=True, slots=True)
class Front:
    """One virtual service of the table as it will be."""

    key: AnyVirtualKey
    settings: Settings
    members: tuple[Member, ...]
    real_server_port: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Fronts:
    """A whole table."""

    fronts: tuple[Front, ...]
    losses: tuple[str, ...]
    """What is left out, by the line where it stands, if it stands in a file."""
    notes: tuple[str, ...]
    """What is otherwise than it stands there, as it is for ipvsadm -R, too."""


@dataclass(kw_only=True, slots=True)
class _Told:
    by_line: bool
    losses: list[tuple[int, str]] = field(default_factory=list)
    notes: list[tuple[int, str]] = field(default_factory=list)

    def spoken(self, texts: list[tuple[int, str]]) -> tuple[str, ...]:
        """In the table's order."""
        return tuple(f"line {line}: {text}" if self.by_line else text for line, text in sorted(texts))


def fronts_of(table: SavedTable) -> Fronts:
    """Every virtual service that our objects can say."""
    told = _Told(by_line=table.is_file)
    told.losses += [(line, f"{command}: {_OTHERS[command]}") for line, command in table.others]
    fronts = tuple(front for one in table.services if (front := _front(one, told)) is not None)
    return Fronts(
        fronts=fronts,
        losses=told.spoken(told.losses),
        notes=told.spoken(told.notes),
    )


def _front(service: SavedService, told: _Told) -> Front | None:
    """None for one that is left out, with its real servers."""
    why = _why_left_out(service)
    servers = [] if why is not None else list(_servers(service, told))
    if why is None and not 0 < len(servers) <= MOST_SERVERS:
        why = f"{len(servers)} real servers are left, and a LvsRealServerPool has 1 to {MOST_SERVERS} by address"
    if why is not None:
        told.losses.append((service.line, f"{service.key} is left out: {why}"))
        return None
    real_server_port = _real_server_port(service, servers)
    settings = _settings(service, servers, told)
    own_port = service.port if real_server_port is None else real_server_port
    members = [
        Member(
            address=server.address,
            port=None if isinstance(service.key, MarkKey) or service.port_of(server) == own_port else server.port,
            weight=server.weight,
            method=None if server.method is settings.method and _tunnel(server) is None else server.method,
            tunnel=_tunnel(server),
            upper_threshold=server.upper_threshold,
            lower_threshold=server.lower_threshold,
        )
        for server in servers
    ]
    return Front(
        key=service.key,
        settings=settings,
        members=tuple(sorted(members, key=lambda one: (place(one.address), one.port or 0))),
        real_server_port=real_server_port,
    )


def _settings(service: SavedService, servers: Iterable[SavedServer], told: _Told) -> Settings:
    if service.netmask_alone:
        told.losses.append((service.line, f"{service.key}: -M is left out: it counts only with -p"))
    return Settings(
        scheduler=Scheduler(service.scheduler),
        flags=_flags(service, told),
        persistence=service.persistence,
        engine=_engine(service, told),
        one_packet_scheduling=service.one_packet_scheduling,
        method=_common_method(servers),
    )


def _engine(service: SavedService, told: _Told) -> PersistenceEngine | None:
    if service.engine is None:
        return None
    why = None
    if service.engine not in PersistenceEngine.__members__.values():
        why = f"there is no such engine, but {', '.join(PersistenceEngine)}"
    elif service.persistence is None:
        why = "it counts only with -p"
    elif isinstance(service.key, VirtualServerKey) and service.key.protocol is not Protocol.UDP:
        why = "it counts only for UDP (-u) and marks (-f)"
    if why is None:
        return PersistenceEngine(service.engine)
    told.losses.append((service.line, f"{service.key}: --pe {service.engine} is left out: {why}"))
    return None


def _why_left_out(service: SavedService) -> str | None:
    if isinstance(service.key, VirtualServerKey) and host_address(str(service.key.address)) is None:
        return _NO_HOST
    if isinstance(service.key, MarkKey) and service.key.mark == RESERVED_MARK:
        return f"{RESERVED_MARK} is the mark by which directors that are real servers know what others hand on to them"
    if service.scheduler not in Scheduler.__members__.values():
        return f"there is no scheduler {service.scheduler}, but {', '.join(Scheduler)}"
    if service.persistence is not None and not service.persistence.prefix_length:
        return "its netmask (-M) is no prefix of at least one bit"
    return None


def _servers(service: SavedService, told: _Told) -> Iterator[SavedServer]:
    """Those that stay, each with the port that it gets."""
    seen: dict[tuple[IpAddress, int], SavedServer] = {}
    for server in service.servers:
        where = f"real server {endpoint(str(server.address), server.port)} of {service.key}"
        why = _why_server_left_out(service, server)
        is_mapped = server.method is ForwardingMethod.MASQUERADE and server.port != 0
        port = server.port if is_mapped else service.port
        if why is None and (first := seen.setdefault((server.address, port), server)) is not server:
            other = f"line {first.line}" if told.by_line else endpoint(str(first.address), first.port)
            why = f"with port {port} it is that of {other}"
        if why is not None:
            told.losses.append((server.line, f"{where} is left out: {why}"))
            continue
        if service.port_of(server) != port:
            told.losses.append((server.line, f"{where}: its port is left out: it gets port {port}"))
        elif server.port != port:
            text = f"{where}: gets port {port}, as from ipvsadm -R: -g and -i change no ports"
            told.notes.append((server.line, text))
        yield replace(server, port=port)


def _why_server_left_out(service: SavedService, server: SavedServer) -> str | None:
    if host_address(str(server.address)) is None:
        return _NO_HOST
    if isinstance(service.key, VirtualServerKey) and server.address == service.key.address:
        return "its address is the virtual service's; name the machine's own address"
    if family_of_ip(server.address) is not service.family and not _is_by_gre(server):
        return f"it is {family_of_ip(server.address)} in a service of {service.family}"
    if server.method is ForwardingMethod.TUNNEL and _read_tunnel(server) is None:
        words = " ".join(("--tun-type", server.tunnel, *server.tunnel_options))
        return f"{words} can not be said: ipip and gre go without options, gue with --tun-port and one kind of checksum"
    if server.method is ForwardingMethod.MASQUERADE and service.port == 0 and server.port != 0:
        what = "a mark" if isinstance(service.key, MarkKey) else "port 0"
        return f"under {what} every port stays as it is, and it maps all of them to {server.port}"
    return None


def _is_by_gre(server: SavedServer) -> bool:
    """By it alone a real server is reached whatever its family."""
    return server.method is ForwardingMethod.TUNNEL and _read_tunnel(server) == PlannedTunnel(TunnelType.GRE)


def _tunnel(server: SavedServer) -> PlannedTunnel | None:
    found = _read_tunnel(server) if server.method is ForwardingMethod.TUNNEL else None
    return None if found == PlannedTunnel(TunnelType.IPIP) else found


def _read_tunnel(server: SavedServer) -> PlannedTunnel | None:
    """None where there are no words of ours for it."""
    ports = [one.removeprefix(_PORT_OPTION) for one in server.tunnel_options if one.startswith(_PORT_OPTION)]
    checksums = [one for one in server.tunnel_options if one in _CHECKSUMS]
    match server.tunnel, ports, checksums:
        case "ipip", [], []:
            return PlannedTunnel(TunnelType.IPIP)
        case "gre", [], [] | ["--tun-nocsum"]:
            return PlannedTunnel(TunnelType.GRE)
        case "gue", [port], [] | [_] if port.isdecimal() and 0 < int(port) <= _HIGHEST_PORT:
            checksum = _CHECKSUMS[checksums[0]] if checksums else None
            return PlannedTunnel(TunnelType.GUE, int(port), checksum)
    return None


def _flags(service: SavedService, told: _Told) -> tuple[SchedulerFlag, ...]:
    known = _FLAGS.get(service.scheduler, {})
    found = set[SchedulerFlag]()
    for word in service.flags:
        flag = known.get(word) or next((one for one in known.values() if one == word), None)
        if flag is not None:
            found.add(flag)
        else:
            text = f"{service.key}: -b {word} is left out: scheduler {service.scheduler} has no such option"
            told.losses.append((service.line, text))
    return tuple(sorted(found))


def _common_method(servers: Iterable[SavedServer]) -> ForwardingMethod:
    """That of most; the first in the API's order of equally many."""
    count = Counter(server.method for server in servers)
    return max(_METHODS, key=lambda method: (count[method], -_METHODS.index(method)))


def _real_server_port(service: SavedService, servers: Iterable[SavedServer]) -> int | None:
    """The one that all have in place of the service's."""
    found = {(server.method, server.port) for server in servers}
    if len(found) != 1 or service.port == 0:
        return None
    ((method, port),) = found
    return port if method is ForwardingMethod.MASQUERADE and port not in {0, service.port} else None


def place(address: IpAddress) -> tuple[int, int]:
    """By what addresses are sorted: IPv4 first."""
    return address.version, int(address)
