"""P13: the share of established connections that live on at the other director when the active one loses its power.

Told of by the sync daemon alone (rr), and where the other director finds the real server without being told, too (mh
with sloppy_tcp). The Master tells of a connection with its third packet: the request, here. So its sync daemon has to
run before. One whose client's port has an entry from an earlier connection is not told of: the kernel counts on in that
entry (ip_vs_sync_conn_needed), and such ports are rare only where there was no load before.
"""

from collections.abc import Collection
from contextlib import ExitStack
from functools import partial
from math import inf
from typing import Final

from bench.director_kinds import READY_SECONDS, Kind
from bench.figure import Figure, Goal, Measured
from lvs_lab.errors import DeadlineError
from lvs_lab.waiting import wait_for
from support.fault_lab import VIP
from support.held_connections import ends, known_ends, lives, sync_roles
from support.traffic import HeldConnection

OURS: Final = "ours: alive, rr"
PEER: Final = "keepalived alone: alive, rr"
OURS_HASHED: Final = "ours: alive, mh with sloppy_tcp"
PEER_HASHED: Final = "keepalived alone: alive, mh with sloppy_tcp"
CONNECTIONS: Final = 200
_TOLD_SECONDS: Final = 10.0
"""The kernel sends what it has to tell every two seconds at the latest."""

FIGURE: Final = Figure(
    name="P13",
    title=f"{CONNECTIONS} established connections after a power-off, with the sync daemon",
    ways={},
    ours=OURS,
    goals=tuple(
        Goal(series=mine, peer=theirs, at_least=1.0, at_most=inf)
        for mine, theirs in ((OURS, PEER), (OURS_HASHED, PEER_HASHED))
    ),
    units=dict.fromkeys((OURS, PEER, OURS_HASHED, PEER_HASHED), "%"),
)


def measure(kind: Kind, repetitions: int, measured: Measured, series: str) -> None:
    """So many power-offs."""
    found = measured.series.setdefault(series, [])
    namespace = kind.pair.deployment.client_namespace(kind.pair.client_name)
    for _ in range(repetitions):
        master = kind.pair.master()
        other = kind.pair.other(master)
        kind.wait_ready(master)
        for name, role in ((master, "master"), (other, "backup")):
            wait_for(partial(must_run, kind, name, role), READY_SECONDS, f"the sync daemon of {name} to be {role}")
        before = known_ends(kind.pair.deployment.lab.guest(master))
        with ExitStack() as stack:
            held = [stack.enter_context(HeldConnection(namespace, VIP)) for _ in range(CONNECTIONS)]
            servers = [one.ask() for one in held]
            untold = _wait_told(kind, other, ends(held))
            kind.pair.deployment.lab.guest(master).power_off()
            kind.pair.wait_master(other)
            alive = sum(lives(one, server) for one, server in zip(held, servers, strict=True))
        found.append(100 * alive / CONNECTIONS)
        if untold:
            measured.remarks.append(
                f"{series}: {other} was not told of {len(untold)}, {len(untold & before)} of them with a port that had "
                f"an entry before"
            )
        kind.boot(master)


def must_run(kind: Kind, node: str, role: str) -> bool:
    """Whether this is the one sync daemon of a director. Raises AssertionError with what runs instead, and why."""
    roles = sync_roles(kind.pair.deployment.lab.guest(node))
    assert roles == [role], f"{roles}, {kind.said_of_sync(node)}"
    return True


def _wait_told(kind: Kind, node: str, wanted: Collection[str]) -> set[str]:
    """Wait until a director knows all connections, or as long as it takes to tell; those that it does not know then."""
    try:
        wait_for(
            lambda: set(wanted) <= known_ends(kind.pair.deployment.lab.guest(node)),
            _TOLD_SECONDS,
            f"{node} to be told",
            interval=0.5,
        )
    except DeadlineError:
        return set(wanted) - known_ends(kind.pair.deployment.lab.guest(node))
    return set()
