"""A table as `ipvsadm -S -n` writes it and people write it by hand, read as `ipvsadm -R` reads it.

What `ipvsadm -R` itself would refuse is a fault of the file; so are names in place of numbers, which mean something
else on another machine. What only our objects can not say is none: it is told by `table_objects`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import Final

from lvs_api.network_types import Family, ForwardingMethod, Protocol
from lvs_cli.ipvsadm_form import HOST_LENGTH
from lvs_cli.ipvsadm_line import DAEMON_AND_TIMEOUTS, LineFaultError, Options, read_options, spelled, words_of
from lvs_core.plan import AnyVirtualKey, IpAddress, MarkKey, VirtualServerKey, family_of_ip

_PROTOCOLS: Final[Mapping[str, Protocol]] = {"t": Protocol.TCP, "u": Protocol.UDP, "sctp-service": Protocol.SCTP}
_METHODS: Final[Mapping[str, ForwardingMethod]] = {
    "g": ForwardingMethod.DIRECT_ROUTING,
    "i": ForwardingMethod.TUNNEL,
    "m": ForwardingMethod.MASQUERADE,
}
_TUNNEL_FLAGS: Final = ("tun-nocsum", "tun-csum", "tun-remcsum")
_OF_A_SERVICE: Final = frozenset({*_PROTOCOLS, "A", "f", "6", "s", "b", "p", "M", "o", "pe"})
_OF_A_SERVER: Final = frozenset(
    {*_PROTOCOLS, "a", "f", "6", "r", *_METHODS, "w", "x", "y", "tun-type", "tun-port", *_TUNNEL_FLAGS}
)
_COMMANDS: Final = frozenset("AEDaedCZ")
_MAX_PORT: Final = 65535
_MAX_WEIGHT: Final = 65535
_MAX_THRESHOLD: Final = 2**31 - 1
_MAX_MARK: Final = 2**32 - 1
_MOST_DIGITS: Final = 10
_MAX_MASK: Final = 2**32 - 1
_MAX_TIMEOUT: Final = 31 * 24 * 3600
_DEFAULT_TIMEOUT: Final = 300
_DEFAULT_SCHEDULER: Final = "wlc"
_EXPECTED: Final = "a table is of lines with -A and -a, as `ipvsadm -S -n` writes it (`ipvsadm -L` writes another form)"
_NUMBERS: Final = "names are another thing on another machine: save the table with `ipvsadm -S -n`"


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedPersistence:
    """-p and -M."""

    timeout_seconds: int
    prefix_length: int | None
    """Of the client's address; None for a netmask whose ones have gaps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedServer:
    """A line with -a."""

    line: int
    address: IpAddress
    port: int
    """As it stands there; with -g and -i ipvsadm takes the service's in its place."""
    method: ForwardingMethod
    tunnel: str = "ipip"
    """--tun-type."""
    tunnel_options: tuple[str, ...] = ()
    """--tun-port and the checksum options that are there."""
    weight: int = 1
    upper_threshold: int = 0
    lower_threshold: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedService:
    """A line with -A, and its servers."""

    line: int
    key: AnyVirtualKey
    scheduler: str = _DEFAULT_SCHEDULER
    flags: tuple[str, ...] = ()
    persistence: SavedPersistence | None = None
    netmask_alone: bool = False
    """-M without -p."""
    engine: str | None = None
    one_packet_scheduling: bool = False
    servers: tuple[SavedServer, ...] = ()
    has_own_ports: bool = False
    """Its real servers' ports are as the kernel has them, whatever the method."""

    @property
    def family(self) -> Family:
        """The family of its packets."""
        return self.key.family if isinstance(self.key, MarkKey) else family_of_ip(self.key.address)

    @property
    def port(self) -> int:
        """0 under a mark."""
        return 0 if isinstance(self.key, MarkKey) else self.key.port

    def port_of(self, server: SavedServer) -> int:
        """The port that the kernel has of a server.

        ipvsadm takes the service's where the method leaves ports as they are, though not under a mark.
        """
        if self.has_own_ports or isinstance(self.key, MarkKey) or server.method is ForwardingMethod.MASQUERADE:
            return server.port
        return self.port


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedTable:
    """The whole file, or a kernel's table in its words."""

    services: tuple[SavedService, ...]
    others: tuple[tuple[int, str], ...] = ()
    """Lines that say something else than virtual services and real servers, with their commands."""
    faults: tuple[str, ...] = ()
    """Why lines can not be read."""
    is_file: bool = True
    """Else no line number says anything to people."""


def read_saved_table(text: str) -> SavedTable:
    """The table, and every fault by its line."""
    table = _Table()
    for number, line in enumerate(text.split("\n"), 1):
        words = words_of(line)
        try:
            if words:
                table.read(number, words)
        except LineFaultError as fault:
            table.faults.append(f"line {number}: {fault}")
    return SavedTable(
        services=tuple(table.service(key) for key in table.services),
        others=tuple(table.others),
        faults=tuple(table.faults),
    )


@dataclass(kw_only=True, slots=True)
class _Table:
    services: dict[AnyVirtualKey, SavedService] = field(default_factory=dict)
    servers: dict[AnyVirtualKey, dict[tuple[IpAddress, int], SavedServer]] = field(default_factory=dict)
    others: list[tuple[int, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    refused: set[AnyVirtualKey] = field(default_factory=set)
    """Of virtual services with a fault, which is told: their servers have none of their own by that."""

    def service(self, key: AnyVirtualKey) -> SavedService:
        """One with its servers."""
        return replace(self.services[key], servers=tuple(self.servers[key].values()))

    def read(self, number: int, words: list[str]) -> None:
        """One line. Raises LineFaultError."""
        if not words[0].startswith("-"):
            raise LineFaultError(f"{words[0]} is no command: {_EXPECTED}")
        command = words[0].partition("=")[0]
        if command in DAEMON_AND_TIMEOUTS:
            self.others.append((number, command))
            return
        options = read_options(words)
        given = [name for name in options if name in _COMMANDS]
        match given:
            case ["A"]:
                self._add_service(number, options)
            case ["a"]:
                self._add_server(number, options)
            case ["C"] if not self.services:
                return
            case [] | [_, _, *_]:
                raise LineFaultError("expected one of -A, which adds a virtual service, and -a, which adds a server")
            case [other]:
                raise LineFaultError(
                    f"{spelled(other)} changes a table; expected one as `ipvsadm -S -n` writes it, of -A and -a"
                )

    def _add_service(self, number: int, options: Options) -> None:
        _refuse_others(options, _OF_A_SERVICE, "-A")
        key = _key(options)
        if key in self.services:
            raise LineFaultError(f"{key} was added by line {self.services[key].line} already")
        self.refused.add(key)
        self.services[key] = _service(number, key, options)
        self.servers[key] = {}
        self.refused.discard(key)

    def _add_server(self, number: int, options: Options) -> None:
        _refuse_others(options, _OF_A_SERVER, "-a")
        key = _key(options)
        if key in self.refused:
            return
        if key not in self.services:
            raise LineFaultError(f"{key} was not added by a line before (-A)")
        service = self.services[key]
        one = _server(number, options, service.port)
        first = self.servers[key].setdefault((one.address, service.port_of(one)), one)
        if first is not one:
            raise LineFaultError(f"the same real server of {key} was added by line {first.line} already")


def _refuse_others(options: Options, known: frozenset[str], command: str) -> None:
    for name in options:
        if name not in known:
            raise LineFaultError(f"{spelled(name)} does not go with {command}")


def _service(number: int, key: AnyVirtualKey, options: Options) -> SavedService:
    family = key.family if isinstance(key, MarkKey) else family_of_ip(key.address)
    prefix = _prefix_length(options["M"] or "", family) if "M" in options else HOST_LENGTH[family]
    persistence = None
    if "p" in options:
        seconds = options["p"]
        timeout = _DEFAULT_TIMEOUT if seconds is None else _number("-p", seconds, 1, _MAX_TIMEOUT)
        persistence = SavedPersistence(timeout_seconds=timeout, prefix_length=prefix)
    if isinstance(key, VirtualServerKey):
        if key.port == 0 and persistence is None:
            raise LineFaultError("port 0 (every port, as where none stands) needs -p")
        if "o" in options and key.protocol is not Protocol.UDP:
            raise LineFaultError("-o is only for UDP (-u) and marks (-f)")
    return SavedService(
        line=number,
        key=key,
        scheduler=options.get("s") or _DEFAULT_SCHEDULER,
        flags=tuple(filter(None, (options.get("b") or "").split(","))),
        persistence=persistence,
        netmask_alone="M" in options and "p" not in options,
        engine=options.get("pe"),
        one_packet_scheduling="o" in options,
    )


def _server(number: int, options: Options, service_port: int) -> SavedServer:
    if options.get("r") is None:
        raise LineFaultError("-r, the real server, is missing")
    address, port = _endpoint("-r", options["r"] or "")
    methods = [name for name in _METHODS if name in options]
    if len(methods) > 1:
        raise LineFaultError(f"only one of {' and '.join(map(spelled, methods))} is possible")
    upper = _number("-x", options.get("x") or "0", 0, _MAX_THRESHOLD)
    lower = _number("-y", options.get("y") or "0", 0, _MAX_THRESHOLD)
    if lower > upper:
        raise LineFaultError(f"-y {lower} is above -x {upper}")
    said = [("tun-port", options.get("tun-port")), *((name, "") for name in _TUNNEL_FLAGS if name in options)]
    return SavedServer(
        line=number,
        address=address,
        port=service_port if port is None else port,
        method=_METHODS[methods[0]] if methods else ForwardingMethod.DIRECT_ROUTING,
        tunnel=options.get("tun-type") or "ipip",
        tunnel_options=tuple(f"{spelled(name)} {value}".rstrip() for name, value in said if value is not None),
        weight=_number("-w", options.get("w") or "1", 0, _MAX_WEIGHT),
        upper_threshold=upper,
        lower_threshold=lower,
    )


def _key(options: Options) -> AnyVirtualKey:
    given = [name for name in (*_PROTOCOLS, "f") if name in options]
    if len(given) != 1:
        raise LineFaultError("expected one virtual service: -t, -u, --sctp-service or -f")
    (name,) = given
    value = options[name] or ""
    if name == "f":
        return MarkKey(mark=_mark(value), family=Family.IPV6 if "6" in options else Family.IPV4)
    if "6" in options:
        raise LineFaultError("-6 is only for marks (-f)")
    address, port = _endpoint(spelled(name), value)
    return VirtualServerKey(address=address, port=port or 0, protocol=_PROTOCOLS[name])


def _mark(text: str) -> int:
    """A firewall mark; ipvsadm writes those of the upper half as negative numbers."""
    if text.startswith("-"):
        return _MAX_MARK + 1 - _number("-f -", text[1:], 1, 2**31)
    return _number("-f", text, 1, _MAX_MARK)


def _endpoint(option: str, text: str) -> tuple[IpAddress, int | None]:
    """Address and port of `ADDRESS:PORT`, `[ADDRESS]:PORT` or an address alone."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not rest.startswith(":"):
            raise LineFaultError(f"{option} {text}: expected [ADDRESS]:PORT")
        port: str | None = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, None
    try:
        address = ip_address(host)
    except ValueError:
        raise LineFaultError(f"{option} {text}: {host} is no IP address; {_NUMBERS}") from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise LineFaultError(f"{option} {text}: an address with a zone can not be balanced")
    if port is not None and not port.isdecimal():
        raise LineFaultError(f"{option} {text}: {port} is no port number; {_NUMBERS}")
    return address, None if port is None else _number(option, port, 0, _MAX_PORT)


def _prefix_length(text: str, family: Family) -> int | None:
    """Of -M: bits for IPv6, dotted for IPv4."""
    if family is Family.IPV6:
        return _number("-M", text, 1, HOST_LENGTH[family])
    try:
        mask = IPv4Address(text)
    except AddressValueError:
        raise LineFaultError(f"-M {text}: expected a netmask, such as 255.255.255.0") from None
    zeros = int(mask) ^ _MAX_MASK
    return HOST_LENGTH[family] - zeros.bit_length() if zeros & (zeros + 1) == 0 else None


def _number(option: str, text: str, least: int, most: int) -> int:
    is_number = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
    if not is_number or not least <= int(text) <= most:
        raise LineFaultError(f"{option} {text}: expected a number from {least} to {most}")
    return int(text)
