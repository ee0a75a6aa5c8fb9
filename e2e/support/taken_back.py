"""How many connections live on when a director that comes back takes its addresses again (preemption).

Each passes two directors. The first one told the second of them, or the second found them by their hash. Then the first
one comes back and knows nothing. The second tells it of those that have traffic before it takes the addresses: with the
kernel's numbers, of each that passes 50 packets more (ip_vs_sync_conn_needed).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from lvs_lab.errors import DeadlineError
from lvs_lab.waiting import wait_for
from support.director_pair import DirectorPair
from support.held_connections import ends, known_ends, lives
from support.traffic import HeldConnection

CONNECTIONS: Final = 20
"""Of each sort."""
DELAY_SECONDS: Final = 40
"""Of preemption: the directors tell one another of connections in this time."""
_TOLD_SECONDS: Final = 10.0
"""The kernel sends what it has to tell every two seconds at the latest; the rest is for a busy machine."""
_READY_SECONDS: Final = 60.0
_ROUNDS: Final = 5
_TURNS: Final = 3
"""Of talking, at most. Nobody acknowledges what sync daemons tell: what is lost is told with later packets."""


class Traffic(StrEnum):
    """What passes on a connection between the boot of the director and its taking the addresses."""

    BUSY = "busy"
    """60 requests in a turn: at least as many packets from the client."""
    SELDOM = "seldom"
    """5 requests: 10 packets at most, and not 50 in all turns together."""
    IDLE = "idle"
    """Nothing of its own; the lab's server asks each 15 s whether the client is there (TCP keep-alive)."""


_REQUESTS_A_ROUND: Final = {Traffic.BUSY: 12, Traffic.SELDOM: 1, Traffic.IDLE: 0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A connection, and who answers on it."""

    connection: HeldConnection
    server: str


HeldBy = Mapping[Traffic, Sequence[Held]]


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenBack:
    """What came of it, of `CONNECTIONS` each."""

    told: Mapping[Traffic, int]
    """Of so many the director knew when traffic and telling were over."""
    alive: Mapping[Traffic, int]
    """So many live on with it."""

    def __str__(self) -> str:
        rows = (f"{one}: told of {self.told[one]}, {self.alive[one]} of {CONNECTIONS} live on" for one in Traffic)
        return "; ".join(rows)


def take_back(
    pair: DirectorPair, come_back: Callable[[], None], *, are_told: bool, expected: Sequence[Traffic]
) -> TakenBack:
    """Have the Master, which is to preempt, lose its power and come back, and count what lives on in the end.

    `come_back` brings it back and returns when it is ready to be told. `are_told`: by sync daemons, else nobody tells
    anything. `expected`: sorts of which the returned director is waited for to be told.
    """
    first = pair.master()
    second = pair.other(first)
    with ExitStack() as stack:
        held = _hold(pair, stack)
        everyone = [one.connection for all_of in held.values() for one in all_of]
        if are_told:
            _wait_told(pair, second, everyone)
        pair.deployment.lab.guest(first).power_off()
        pair.wait_master(second)
        come_back()
        for _ in range(_TURNS):
            _talk(held)
            if not are_told or _wait_told(pair, first, [one.connection for sort in expected for one in held[sort]]):
                break
        known = known_ends(pair.deployment.lab.guest(first))
        assert pair.owners() == [second], f"{first} took the address before all was said that had to be"
        told = {sort: len(known & ends(one.connection for one in held[sort])) for sort in Traffic}
        wait_for(lambda: pair.owners() == [first], DELAY_SECONDS + _READY_SECONDS, f"{first} to take the address again")
        pair.wait_master(first)
        alive = {sort: sum(lives(one.connection, one.server) for one in held[sort]) for sort in Traffic}
    return TakenBack(told=told, alive=alive)


def _hold(pair: DirectorPair, stack: ExitStack) -> HeldBy:
    namespace = pair.deployment.client_namespace(pair.client_name)

    def one() -> Held:
        connection = stack.enter_context(HeldConnection(namespace, pair.vip))
        return Held(connection=connection, server=connection.ask())

    return {sort: [one() for _ in range(CONNECTIONS)] for sort in Traffic}


def _talk(held: HeldBy) -> None:
    """By turns. Raises AssertionError where a connection did not outlive the first director."""
    for _ in range(_ROUNDS):
        for sort, requests in _REQUESTS_A_ROUND.items():
            for one in held[sort]:
                for _ in range(requests):
                    assert lives(one.connection, one.server), f"{sort}: {one.connection.source}"


def _wait_told(pair: DirectorPair, name: str, connections: Sequence[HeldConnection]) -> bool:
    """Wait until a director knows these, or as long as it takes to tell: then what is missing is counted in the end.

    Whether it knows all.
    """
    wanted = ends(connections)
    try:
        wait_for(lambda: wanted <= known_ends(pair.deployment.lab.guest(name)), _TOLD_SECONDS, f"{name} to be told")
    except DeadlineError:
        missing = wanted - known_ends(pair.deployment.lab.guest(name))
        print(f"{name} was not told of {len(missing)} of {len(wanted)}")
        return False
    return True
