"""The two kinds of directors that are compared: ours, and keepalived alone. Both are left, joined and booted alike."""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from bench.keepalived_pair import PeerDirector, PeerSetup
from lvs_lab.host_commands import run
from lvs_lab.waiting import wait_for
from support.director_pair import DirectorPair
from support.fault_lab import DIRECTORS, NAME, SERVERS, SERVICE

READY_SECONDS: Final = 60.0
_STATE: Final = re.compile(r"Entering ([A-Z]+) STATE")


class Kind(Protocol):
    """What can be done with the two directors of a kind."""

    name: str
    pair: DirectorPair

    def leave(self, name: str) -> None:
        """Have a director hand over in order; its VRRP ends."""

    def join(self, name: str) -> None:
        """Have it take part again."""

    def boot(self, name: str) -> None:
        """Bring one back that had no power."""

    def wait_roles(self, master: str) -> None:
        """Wait until this one is Master and the other Backup."""

    def wait_ready(self, master: str) -> None:
        """Wait for that, until both have the whole table, and so many adverts that a change would have come."""

    def said_of_sync(self, name: str) -> list[str]:
        """What the program of a director has written of its sync daemon last."""


@dataclass(kw_only=True)
class Ours:
    """Agents and their VRRP daemons."""

    pair: DirectorPair
    name: str = "ours"

    def leave(self, name: str) -> None:
        """Its supervisor ends."""
        self.pair.deployment.lab.agent(name).vrrp.kill("TERM")

    def join(self, name: str) -> None:
        """Its supervisor starts."""
        self.pair.deployment.start_vrrp(name)

    def boot(self, name: str) -> None:
        """Power, agent and supervisor."""
        self.pair.deployment.lab.guest(name).power_on()
        self.pair.deployment.ensure_running()

    def hand_over(self) -> None:
        """As an administrator has it done."""
        environment = {**os.environ, "KUBECONFIG": str(self.pair.deployment.lab.host_kubeconfig)}
        run([sys.executable, "-m", "lvs_cli", "failover", NAME], env=environment)

    def wait_roles(self, master: str) -> None:
        """By what the directors report."""
        self.pair.wait_settled(master)

    def wait_ready(self, master: str) -> None:
        """By what the directors report, and by their tables."""
        self.wait_roles(master)
        _wait_tables(self.pair)
        self.pair.must_stay(master)

    def said_of_sync(self, name: str) -> list[str]:
        """By the agent's log."""
        return _lines_with(self.pair.deployment.lab.agent(name).log(), "sync daemon")


@dataclass(kw_only=True)
class Peers:
    """keepalived alone."""

    pair: DirectorPair
    setup: Callable[[str], PeerSetup]
    """By director."""
    name: str = "keepalived alone"
    sysctls: tuple[str, ...] = ()
    _running: dict[str, PeerDirector] = field(default_factory=dict)

    def leave(self, name: str) -> None:
        """The program ends."""
        self._running.pop(name).stop()

    def join(self, name: str) -> None:
        """The program starts."""
        guest = self.pair.deployment.lab.guest(name)
        for setting in self.sysctls:
            guest.sh(f"modprobe ip_vs && sysctl --quiet --write {setting}")
        self._running[name] = PeerDirector(guest)
        self._running[name].start(self.setup(name))

    def boot(self, name: str) -> None:
        """Power, and the program."""
        self.pair.deployment.lab.guest(name).power_on()
        self.join(name)

    def wait_first(self, name: str) -> None:
        """Wait until the first of the two is Master."""
        wait_for(lambda: self.pair.owners() == [name], READY_SECONDS, f"{name} to be keepalived's Master")

    def wait_roles(self, master: str) -> None:
        """By addresses, and by the other's log."""
        self.wait_first(master)
        other = self.pair.other(master)
        wait_for(lambda: last_state(self._running[other].log()) == "BACKUP", READY_SECONDS, f"{other} to be Backup")

    def wait_ready(self, master: str) -> None:
        """By addresses and tables."""
        self.wait_roles(master)
        if self.setup(master).servers:
            _wait_tables(self.pair)
        self.pair.must_stay(master)

    def said_of_sync(self, name: str) -> list[str]:
        """By keepalived's log, which names each command that IPVS refused."""
        return _lines_with(self._running[name].log(), "DAEMON")


def last_state(log: str) -> str:
    """What a keepalived with one instance has written of its last change: BACKUP, MASTER or FAULT; empty before any."""
    changes = _STATE.findall(log)
    return changes[-1] if changes else ""


def _lines_with(log: str, word: str) -> list[str]:
    """The last few."""
    return [line for line in log.splitlines() if word in line][-4:]


def _wait_tables(pair: DirectorPair) -> None:
    for name in DIRECTORS:
        for address in SERVERS.values():
            pair.deployment.wait_weight(name, SERVICE, f"{address}:80", 1, deadline=READY_SECONDS)
