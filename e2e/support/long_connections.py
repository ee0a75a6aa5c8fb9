"""Connections that a client of the lab made once and keeps: some talk all the time, the others only when asked."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from support.traffic import HeldConnection

_INTERVAL_SECONDS: Final = 0.1
"""Between two rounds of requests, one on each connection that talks."""
_END_SECONDS: Final = 30.0


@dataclass(kw_only=True)
class LongConnections:
    """What has become of them so far."""

    talking: dict[HeldConnection, str]
    """Each with the server that has it."""
    silent: dict[HeldConnection, str]
    answers: int = 0
    slowest_seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    def ask_silent(self) -> list[str]:
        """One request on each that does not talk; what is wrong."""
        return [wrong for held, server in self.silent.items() if (wrong := self._ask(held, server))]

    def talk(self) -> None:
        """One request on each that talks. One that broke is told once, and asked no more."""
        for held, server in list(self.talking.items()):
            if wrong := self._ask(held, server):
                self.failures.append(f"{datetime.now(UTC):%H:%M:%S.%f}: {wrong}")
                del self.talking[held]

    def _ask(self, held: HeldConnection, server: str) -> str:
        before = time.monotonic()
        try:
            answered = held.ask()
        except (OSError, EOFError, AssertionError) as error:
            return f"{held.source} to {server}: {error!r} after {time.monotonic() - before:.1f} s"
        self.answers += 1
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - before)
        return "" if answered == server else f"{held.source}: {answered} answers in place of {server}"

    @property
    def by_server(self) -> Counter[str]:
        """How many each server has."""
        return Counter([*self.talking.values(), *self.silent.values()])

    def __str__(self) -> str:
        return (
            f"{len(self.talking)} connections talk and {len(self.silent)} are silent: {self.answers} answers, "
            f"the slowest after {self.slowest_seconds * 1000:.0f} ms, failed: {self.failures}"
        )


@contextmanager
def long_connections(client_namespace: str, address: str, *, talking: int, silent: int) -> Iterator[LongConnections]:
    """Make so many connections of each sort and keep them for as long as the context lasts."""
    with ExitStack() as stack:
        made = [stack.enter_context(HeldConnection(client_namespace, address)) for _ in range(talking + silent)]
        servers = {held: held.ask() for held in made}
        kept = LongConnections(
            talking={held: servers[held] for held in made[:talking]},
            silent={held: servers[held] for held in made[talking:]},
        )
        end = threading.Event()

        def run() -> None:
            while not end.wait(_INTERVAL_SECONDS):
                kept.talk()

        thread = threading.Thread(target=run, name=f"connections to {address}", daemon=True)
        thread.start()
        try:
            yield kept
        finally:
            end.set()
            thread.join(_END_SECONDS)
            assert not thread.is_alive(), "the talk does not end"
