"""P13 with preemption: the share of connections that live on when the director that lost its power takes back.

It has to be told of them by the other one, and is told of what passes many packets only; see e2e/support/taken_back.py.
"""

from functools import partial
from math import inf
from typing import Final

from bench.director_kinds import READY_SECONDS, Kind
from bench.figure import Figure, Goal, Measured
from bench.surviving_connections import must_run
from lvs_lab.waiting import wait_for
from support.fault_lab import DIRECTORS
from support.taken_back import CONNECTIONS, DELAY_SECONDS, Traffic, take_back

NAME: Final = "P13-preemption"
OURS: Final = "ours: alive, rr"
PEER: Final = "keepalived alone: alive, rr"
OURS_HASHED: Final = "ours: alive, mh with sloppy_tcp"
PEER_HASHED: Final = "keepalived alone: alive, mh with sloppy_tcp"


def _series(way: str, traffic: Traffic) -> str:
    return f"{way}, {traffic}"


FIGURE: Final = Figure(
    name=NAME,
    title=f"{CONNECTIONS} connections of each sort after the director that lost its power has taken its address back",
    ways={},
    ours=_series(OURS, Traffic.BUSY),
    goals=tuple(
        Goal(series=_series(way, traffic), at_least=100.0, at_most=inf)
        for way, sorts in ((OURS, (Traffic.BUSY,)), (OURS_HASHED, tuple(Traffic)))
        for traffic in sorts
    ),
    units={_series(way, traffic): "%" for way in (OURS, PEER, OURS_HASHED, PEER_HASHED) for traffic in Traffic},
)


def measure(kind: Kind, repetitions: int, measured: Measured, way: str) -> None:
    """So many power-offs of the director of the higher priority, with the sync daemons running."""
    first, second = DIRECTORS

    def come_back() -> None:
        kind.boot(first)
        _wait_roles(kind, master=second, backup=first)

    # Other figures may have left the address with the other one.
    deadline = DELAY_SECONDS + READY_SECONDS
    wait_for(lambda: kind.pair.owners() == [first], deadline, f"{first} to take the address")
    for _ in range(repetitions):
        kind.wait_ready(first)
        _wait_roles(kind, master=first, backup=second)
        found = take_back(kind.pair, come_back, are_told=True, expected=[Traffic.BUSY])
        for traffic in Traffic:
            samples = measured.series.setdefault(_series(way, traffic), [])
            samples.append(100 * found.alive[traffic] / CONNECTIONS)


def _wait_roles(kind: Kind, *, master: str, backup: str) -> None:
    for name, role in ((master, "master"), (backup, "backup")):
        wait_for(partial(must_run, kind, name, role), READY_SECONDS, f"the sync daemon of {name} to be {role}")
