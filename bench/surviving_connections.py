"""P13: the share of established connections that live on at the other director when the active one loses its power.

The Master tells of a connection with its third packet: the request, here. So its sync daemon has to run before.
"""

from collections.abc import Collection
from contextlib import ExitStack
from functools import partial
from math import inf
from typing import Final

from bench.director_kinds import READY_SECONDS, Kind
from bench.figure import Figure, Goal, Measured
from lvs_lab.waiting import wait_for
from support.fault_lab import VIP
from support.traffic import HeldConnection

OURS: Final = "ours: alive"
PEER: Final = "keepalived alone: alive"
CONNECTIONS: Final = 200

FIGURE: Final = Figure(
    name="P13",
    title=f"{CONNECTIONS} established connections after a power-off, with the sync daemon",
    ways={},
    ours=OURS,
    goals=(Goal(series=OURS, peer=PEER, at_least=1.0, at_most=inf),),
    units={OURS: "%", PEER: "%"},
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
            wait_for(partial(_must_run, kind, name, role), READY_SECONDS, f"the sync daemon of {name} to be {role}")
        with ExitStack() as stack:
            held = [stack.enter_context(HeldConnection(namespace, VIP)) for _ in range(CONNECTIONS)]
            servers = [one.ask() for one in held]
            ends = {one.source for one in held}
            wait_for(partial(_must_know, kind, other, ends), READY_SECONDS, f"{other} to be told")
            kind.pair.deployment.lab.guest(master).power_off()
            kind.pair.wait_master(other)
            alive = sum(_lives(one, server) for one, server in zip(held, servers, strict=True))
        found.append(100 * alive / CONNECTIONS)
        kind.boot(master)


def _must_run(kind: Kind, node: str, role: str) -> bool:
    """Whether this is the one sync daemon of a director. Raises AssertionError with what runs instead, and why."""
    lines = kind.pair.deployment.lab.guest(node).out("ipvsadm", "-L", "--daemon").splitlines()
    assert [line.split(maxsplit=1)[0] for line in lines] == [role], f"{lines}, {kind.said_of_sync(node)}"
    return True


def _must_know(kind: Kind, node: str, ends: Collection[str]) -> bool:
    """Whether a director knows all connections. Raises AssertionError with how many are unknown, and what it runs."""
    unknown = set(ends) - _known(kind, node)
    daemons = {one: kind.pair.deployment.lab.guest(one).out("ipvsadm", "-L", "--daemon") for one in kind.pair.names}
    assert not unknown, f"{len(unknown)} of {len(ends)} are unknown, {daemons}, {kind.said_of_sync(node)}"
    return True


def _known(kind: Kind, node: str) -> set[str]:
    rows = (line.split() for line in kind.pair.deployment.lab.guest(node).out("ipvsadm", "-Lnc").splitlines())
    return {row[3] for row in rows if row[0] == "TCP"}


def _lives(one: HeldConnection, server: str) -> bool:
    try:
        return one.ask() == server
    except (OSError, EOFError):
        return False
