"""Runs in a guest: tells when real servers that it is asked for are in the kernel.

Standard input has a line for each: a number to call it by, the service's address and port, the real server's address,
and its weight, or - where any will do. The number is printed when it is there. Only services that somebody waits for
are read, and with many of them seldom enough to take the guest a tenth of its processor at most: else who is late would
be so all the more.
"""

import os
import select
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final, NamedTuple

from lvs_agent.decide.kernel_state import ServiceKey, TransportProtocol
from lvs_agent.kernel.ipvs import KernelIpvsTable

_LOOK_SECONDS: Final = 0.005
"""The resolution of what is measured: the kernel tells nobody of a changed entry."""
_REST: Final = 9
"""Or so many times as long as a look takes."""


class Awaited(NamedTuple):
    """A real server that somebody waits for."""

    service: ServiceKey
    address: str
    weight: int | None


def _read(line: str) -> tuple[str, Awaited]:
    number, vip, port, address, weight = line.split()
    key = ServiceKey(protocol=TransportProtocol.TCP, address=ip_address(vip), port=int(port))
    return number, Awaited(key, address, None if weight == "-" else int(weight))


def _found(table: KernelIpvsTable, awaited: dict[str, Awaited]) -> Iterator[str]:
    services = table.read_only({one.service for one in awaited.values()}).services
    for number, one in awaited.items():
        there = services[one.service].destinations.items() if one.service in services else ()
        weights = [entry.settings.weight for key, entry in there if str(key.address) == one.address]
        if weights and (one.weight is None or one.weight in weights):
            yield number


def main() -> None:
    """Until standard input ends."""
    table, awaited, text = KernelIpvsTable(), dict[str, Awaited](), ""
    table.info()
    next_look = 0.0
    while True:
        rest = max(next_look - time.monotonic(), 0.0)
        ready, _, _ = select.select([sys.stdin], [], [], rest if awaited else None)
        if ready:
            data = os.read(sys.stdin.fileno(), 65_536).decode()
            if not data:
                return
            *lines, text = (text + data).split("\n")
            awaited.update(_read(line) for line in lines)
        began = time.monotonic()
        if not awaited or began < next_look:
            continue
        for number in list(_found(table, awaited)):
            print(number, flush=True)
            del awaited[number]
        ended = time.monotonic()
        next_look = ended + max(_LOOK_SECONDS, _REST * (ended - began))


if __name__ == "__main__":
    main()
