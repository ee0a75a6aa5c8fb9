"""The kernel's counters in Prometheus' text format, under the objects' names.

Ten thousand real servers make some hundred thousand lines: they are written out directly. Names and addresses have
been checked when the objects were read; none has a character that a label's value would have to escape.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from lvs_agent.decide.counted import MemberRow, ServiceRows
from lvs_agent.decide.kernel_state import TrafficCounters

_TRAFFIC: Final = (
    ("connections_total", "counter", "Connections since the entry was made or zeroed"),
    ("incoming_packets_total", "counter", "Packets from clients"),
    ("outgoing_packets_total", "counter", "Packets to clients that came by this director (Masquerade)"),
    ("incoming_bytes_total", "counter", "Bytes from clients"),
    ("outgoing_bytes_total", "counter", "Bytes to clients that came by this director (Masquerade)"),
    ("connections_per_second", "gauge", "New connections, as the kernel estimates"),
    ("incoming_packets_per_second", "gauge", "Packets from clients, as the kernel estimates"),
    ("outgoing_packets_per_second", "gauge", "Packets to clients, as the kernel estimates"),
    ("incoming_bytes_per_second", "gauge", "Bytes from clients, as the kernel estimates"),
    ("outgoing_bytes_per_second", "gauge", "Bytes to clients, as the kernel estimates"),
)
"""In the order of `TrafficCounters`."""
_MEMBER: Final[tuple[tuple[str, str, Callable[[MemberRow], int]], ...]] = (
    ("weight", "Weight in the kernel", lambda row: row.weight),
    ("active_connections", "Connections that are established", lambda row: row.active),
    ("inactive_connections", "Connections in any other state, such as closing", lambda row: row.inactive),
    ("persistent_connections", "Persistence templates: clients that stick to it", lambda row: row.persistent),
)


def counter_texts(services: Iterable[ServiceRows]) -> Iterator[bytes]:
    """All rows, a metric at a time, each with its head."""
    virtual: list[tuple[str, TrafficCounters]] = []
    real: list[tuple[str, MemberRow]] = []
    for one in services:
        labels = f'namespace="{one.namespace}",service="{one.service}",port="{one.port}",address="{one.address}"'
        virtual.append((f"{{{labels}}}", one.counters))
        real += [(f'{{{labels},member="{row.member}"}}', row) for row in one.members]
    for lines in _families(virtual, real):
        yield "".join(lines).encode()


def _families(virtual: list[tuple[str, TrafficCounters]], real: list[tuple[str, MemberRow]]) -> Iterator[Iterable[str]]:
    """A metric's lines stand together, as the format demands."""
    traffic = [(labels, row.counters) for labels, row in real]
    for prefix, rows in (("lvs_virtual_service", virtual), ("lvs_real_server", traffic)):
        for index, (name, kind, text) in enumerate(_TRAFFIC):
            yield _head(f"{prefix}_{name}", kind, text)
            yield [f"{prefix}_{name}{labels} {counters[index]}\n" for labels, counters in rows]
    for name, text, value in _MEMBER:
        yield _head(f"lvs_real_server_{name}", "gauge", text)
        yield [f"lvs_real_server_{name}{labels} {value(row)}\n" for labels, row in real]


def _head(name: str, kind: str, text: str) -> tuple[str, ...]:
    return f"# HELP {name} {text}\n", f"# TYPE {name} {kind}\n"
