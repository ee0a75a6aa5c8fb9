"""IPVS tables as ipvsadm(8) prints them, digit for digit, so that people and scripts who know that need learn nothing.

Addresses and ports are numbers always, as with its -n: nobody waits for a name server.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, ip_address
from typing import Final

from lvs_api.director_table import DirectorTable, TableRealServer, TableService, TableSyncDaemon, Traffic
from lvs_api.network_types import Family, TunnelChecksum

CHECKSUM_OPTIONS: Final[Mapping[TunnelChecksum | None, str]] = {
    None: "--tun-nocsum",
    TunnelChecksum.UDP: "--tun-csum",
    TunnelChecksum.REMOTE_OFFLOAD: "--tun-remcsum",
}
"""How ipvsadm names what guards packets of a tunnel."""


class Form(StrEnum):
    """What stands beside the addresses."""

    PLAIN = "plain"
    STATS = "stats"
    RATE = "rate"
    THRESHOLDS = "thresholds"
    PERSISTENT_CONN = "persistent-conn"
    TIMEOUT = "timeout"
    DAEMON = "daemon"


class Order(StrEnum):
    """By what entries are sorted."""

    ADDRESS = "address"
    NAME = "name"
    CONNECTIONS = "connections"
    NONE = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """How a table is printed."""

    form: Form = Form.PLAIN
    order: Order = Order.ADDRESS
    exact: bool = False
    """No K, M, G or T in place of digits."""
    names: bool = False
    """The objects' names behind each line."""


_TITLES: Final = {
    Form.PLAIN: (
        "Prot LocalAddress:Port Scheduler Flags",
        "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn",
    ),
    Form.STATS: ("Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"),
    Form.RATE: ("CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"),
    Form.THRESHOLDS: ("Uthreshold", "Lthreshold", "ActiveConn", "InActConn"),
    Form.PERSISTENT_CONN: ("Weight", "PersistConn", "ActiveConn", "InActConn"),
}
_METHODS: Final = {"DirectRouting": "Route", "Masquerade": "Masq"}
_LARGE: Final = ((10**8, 1, ""), (10**9, 10**3, "K"), (10**11, 10**6, "M"), (10**14, 10**9, "G"))
_NAME_TITLES: Final = ("LvsVirtualService/port", "real server")
HOST_LENGTH: Final = {Family.IPV4: 32, Family.IPV6: 128}


def listing(table: DirectorTable, style: Style) -> str:
    """One director's table."""
    if style.form is Form.TIMEOUT:
        timeouts = table.timeouts
        seconds = (timeouts.tcp_seconds, timeouts.tcp_fin_seconds, timeouts.udp_seconds)
        return "Timeout (tcp tcpfin udp): " + " ".join("-" if one is None else str(one) for one in seconds)
    if style.form is Form.DAEMON:
        return "\n".join(map(_daemon, sorted(table.sync_daemons, key=lambda one: one.state != "master")))
    first, second = _title(style.form)
    lines = [(first, _NAME_TITLES[0]), (second, _NAME_TITLES[1])]
    for service in sort_services(table.services, style.order):
        lines.append((_service_line(service, style), _service_name(service)))
        servers = sort_real_servers(service.real_servers, style.order)
        lines += [(_real_server_line(server, style), _real_server_name(server)) for server in servers]
    head = f"IP Virtual Server version {table.ipvs_version} (size={table.connection_table_size})"
    return "\n".join([head, *(_with_names(lines) if style.names else (line for line, _ in lines))])


def sort_services(services: Sequence[TableService], order: Order) -> list[TableService]:
    """In this order; equal ones by address."""
    found = list(services)
    if order is Order.NONE:
        return found
    found.sort(key=_service_place)
    if order is Order.NAME:
        # What has no name of ours comes last.
        found.sort(key=lambda one: (one.name is None, one.namespace or "", one.name or "", one.port_name or ""))
    if order is Order.CONNECTIONS:
        found.sort(key=lambda one: -sum(server.connections for server in one.real_servers))
    return found


def sort_real_servers(servers: Sequence[TableRealServer], order: Order) -> list[TableRealServer]:
    """In this order; equal ones by address."""
    found = list(servers)
    if order is Order.NONE:
        return found
    found.sort(key=lambda one: (len(ip_address(one.address).packed), ip_address(one.address).packed, one.port))
    if order is Order.NAME:
        found.sort(key=lambda one: (one.name is None, one.name or ""))
    if order is Order.CONNECTIONS:
        found.sort(key=lambda one: -one.connections)
    return found


def service_options(service: TableService) -> str:
    """What is set of a service, behind its scheduler."""
    words = [f"({','.join(service.scheduler_flags)})"] if service.scheduler_flags else []
    persistence = service.persistence
    if persistence is not None:
        words += ["persistent", str(persistence.timeout_seconds)]
        if persistence.prefix_length != HOST_LENGTH[service.family]:
            words += ["mask", mask(service.family, persistence.prefix_length)]
        if persistence.engine:
            words += ["pe", persistence.engine]
    if service.one_packet_scheduling:
        words.append("ops")
    return " ".join(words)


def mask(family: Family, prefix_length: int) -> str:
    """A persistence granularity as ipvsadm writes it: dotted for IPv4, bits for IPv6."""
    return str(prefix_length) if family is Family.IPV6 else str(IPv4Network((0, prefix_length)).netmask)


def endpoint(address: str, port: int) -> str:
    """Address and port."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _daemon(one: TableSyncDaemon) -> str:
    figures = (
        ("mcast", one.interface),
        ("syncid", one.sync_id),
        ("maxlen", one.max_length),
        ("group", one.group),
        ("port", one.port),
        ("ttl", one.ttl),
    )
    return f"{one.state} sync daemon ({', '.join(f'{name}={value}' for name, value in figures if value is not None)})"


def _service_place(service: TableService) -> tuple[int, int, str, bytes, int]:
    """Where it stands by mark, family, protocol, address and port."""
    protocols = ("TCP", "UDP", "SCTP")
    protocol = str(protocols.index(service.protocol)) if service.protocol in protocols else ""
    packed = ip_address(service.address).packed if service.address is not None else b""
    return service.firewall_mark or 0, HOST_LENGTH[service.family], protocol, packed, service.port or 0


def _title(form: Form) -> tuple[str, str]:
    titles = _TITLES[form]
    if form is Form.PLAIN:
        return titles[0], titles[1]
    width = "{:>8}" if form in {Form.STATS, Form.RATE} else "{:<10}"
    if form is Form.PERSISTENT_CONN:
        columns = "{:<9} {:<11} {:<10} {:<10}".format(*titles)
    else:
        columns = " ".join(width.format(title) for title in titles)
    return f"{'Prot LocalAddress:Port':<33} {columns}", "  -> RemoteAddress:Port"


def _service_line(service: TableService, style: Style) -> str:
    if service.firewall_mark is not None:
        place = f"FWM  {service.firewall_mark}" + (" IPv6" if service.family is Family.IPV6 else "")
    else:
        place = f"{service.protocol:<4} {endpoint(service.address or '', service.port or 0)}"
    if style.form in {Form.STATS, Form.RATE}:
        return f"{place:<33}{_counted(service.traffic, style)}"
    return f"{place} {service.scheduler} {service_options(service)}".rstrip()


def _real_server_line(server: TableRealServer, style: Style) -> str:
    place = f"  -> {endpoint(server.address, server.port):<28}"
    connections = f"{server.active_connections:<10} {server.inactive_connections:<10}"
    if style.form is Form.STATS:
        return place + _counted(server.traffic, style)
    if style.form is Form.RATE:
        return place + _counted(server.traffic, style)
    if style.form is Form.THRESHOLDS:
        return f"{place} {server.upper_threshold:<10} {server.lower_threshold:<10} {connections}"
    if style.form is Form.PERSISTENT_CONN:
        return f"{place} {server.weight:<9} {server.persistent_connections:<11} {connections}"
    method = _METHODS.get(server.method, server.method)
    return f"{place} {method:<7} {server.weight:<6} {connections}"


def _counted(traffic: Traffic, style: Style) -> str:
    rates = style.form is Form.RATE
    figures = (
        (
            traffic.connections_per_second,
            traffic.in_packets_per_second,
            traffic.out_packets_per_second,
            traffic.in_bytes_per_second,
            traffic.out_bytes_per_second,
        )
        if rates
        else (traffic.connections, traffic.in_packets, traffic.out_packets, traffic.in_bytes, traffic.out_bytes)
    )
    show: Callable[[int], str] = _exact if style.exact else _short
    return "".join(map(show, figures))


def _exact(number: int) -> str:
    """At least one space, so that two long ones stay apart."""
    return f" {number:>8}"


def _short(number: int) -> str:
    for limit, divisor, letter in _LARGE:
        if number < limit:
            return f"{number // divisor:>{9 - len(letter)}}{letter}"
    return f"{number // 10**12:>8}T"


def _with_names(lines: list[tuple[str, str]]) -> Iterator[str]:
    width = max(len(line.rstrip()) for line, _ in lines)
    return (f"{line.rstrip():<{width}}   {name}".rstrip() for line, name in lines)


def _service_name(service: TableService) -> str:
    if service.name is None:
        return service.port_name or "-"
    return "/".join(filter(None, (service.namespace, service.name, service.port_name)))


def _real_server_name(server: TableRealServer) -> str:
    if server.name is not None:
        return server.name
    return "leaving" if server.ours else "-"
