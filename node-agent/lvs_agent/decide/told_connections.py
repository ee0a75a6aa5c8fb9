"""The kernel's connections in the API's words, as they are told to `kubectl lvs list --connections`."""

from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address
from typing import Final

from lvs_api.director_table import DirectorConnections, TableConnection

_FIELDS: Final = 9
"""Of each line; a persistence engine adds its name and data."""
_HEXADECIMAL: Final = 16


def tell_connections(node: str, lines: Iterable[str], *, cut: bool) -> DirectorConnections:
    """All of these lines of /proc/net/ip_vs_conn, without its heading. Raises ValueError for one that is none."""
    return DirectorConnections(node=node, connections=[_connection(line) for line in lines], cut=cut)


def _connection(line: str) -> TableConnection:
    """As ip_vs_conn_seq_show (net/netfilter/ipvs/ip_vs_conn.c) writes it."""
    fields = line.split()
    if len(fields) < _FIELDS:
        raise ValueError(f"no line of a connection: {line.strip()!r}")
    protocol, client, client_port, virtual, virtual_port, address, port, state, seconds = fields[:_FIELDS]
    return TableConnection(
        protocol=protocol,
        client_address=_address(client),
        client_port=int(client_port, _HEXADECIMAL),
        virtual_address=_address(virtual),
        virtual_port=int(virtual_port, _HEXADECIMAL),
        address=_address(address),
        port=int(port, _HEXADECIMAL),
        state=state,
        expires_seconds=int(seconds),
    )


def _address(text: str) -> str:
    """IPv4 is written as one hexadecimal number, IPv6 in full."""
    return str(ip_address(text) if ":" in text else IPv4Address(int(text, _HEXADECIMAL)))
