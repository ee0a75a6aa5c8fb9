"""Kernel IPVS tables as `ipvsadm` prints them: read with a tool that is not ours."""

import re
from dataclasses import dataclass

_SERVICE = re.compile(r"(?P<protocol>TCP|UDP|SCTP|FWM)\s+(?P<address>\S+(?: IPv6)?)\s+(?P<scheduler>\S+)(?P<flags>.*)")
_DESTINATION = re.compile(r"\s+->\s+(?P<address>\S+)\s+(?P<rest>.*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """A real server in a table."""

    method: str
    """Route, Tunnel, Masq or Local."""
    weight: int
    active: int
    inactive: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """A virtual service in a table."""

    scheduler: str
    flags: str
    destinations: dict[str, Destination]


@dataclass(frozen=True, kw_only=True, slots=True)
class Counters:
    """What passed through one entry."""

    connections: int
    in_packets: int
    out_packets: int


Table = dict[str, Service]
"""By protocol and address, as in `TCP 192.168.4.15:80`."""
Shape = dict[str, dict[str, tuple[str, int]]]
"""`TCP 192.168.4.15:80 wrr persistent 20` -> real server -> (method, weight): all that a plan decides."""


def parse_table(text: str) -> Table:
    """The output of `ipvsadm -Ln --exact`."""
    table: Table = {}
    current: dict[str, Destination] = {}
    for line in _entries(text):
        if found := _DESTINATION.fullmatch(line):
            method, weight, active, inactive = found["rest"].split()[:4]
            current[found["address"]] = Destination(
                method=method, weight=int(weight), active=int(active), inactive=int(inactive)
            )
        elif found := _SERVICE.fullmatch(line):
            current = {}
            table[f"{found['protocol']} {found['address']}"] = Service(
                scheduler=found["scheduler"], flags=" ".join(found["flags"].split()), destinations=current
            )
        else:
            raise ValueError(f"not a line of ipvsadm -Ln: {line!r}")
    return table


def parse_counters(text: str) -> dict[tuple[str, str], Counters]:
    """The output of `ipvsadm -Ln --stats --exact`, by service and real server (empty for the service's own line)."""
    counters: dict[tuple[str, str], Counters] = {}
    service = ""
    for line in _entries(text):
        arrow, _, rest = line.partition("->")
        words = (rest or arrow).split()
        if not rest:
            service = f"{words[0]} {words[1]}"
            words = words[1:]
        connections, in_packets, out_packets = (int(word) for word in words[1:4])
        counters[service, words[0] if rest else ""] = Counters(
            connections=connections, in_packets=in_packets, out_packets=out_packets
        )
    return counters


def shape(table: Table) -> Shape:
    """What of a table is decided, without what is counted."""
    return {
        " ".join(filter(None, (key, service.scheduler, service.flags))): {
            address: (destination.method, destination.weight) for address, destination in service.destinations.items()
        }
        for key, service in table.items()
    }


def _entries(text: str) -> list[str]:
    heads = ("IP Virtual Server", "Prot LocalAddress", "  -> RemoteAddress", "               -> RemoteAddress")
    return [line for line in text.splitlines() if line.strip() and not line.startswith(heads)]
