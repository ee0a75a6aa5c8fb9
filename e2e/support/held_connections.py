"""Connections that are held open while their director changes: who of the directors knows them, and which live on."""

from collections.abc import Iterable

from lvs_lab.lab_machine import GuestMachine
from support.traffic import HeldConnection


def known_ends(director: GuestMachine) -> set[str]:
    """The clients' ends of the TCP connections that a director has entries of."""
    rows = (line.split() for line in director.out("ipvsadm", "-Lnc").splitlines())
    return {row[3] for row in rows if row[0] == "TCP"}


def sync_roles(director: GuestMachine) -> list[str]:
    """Of the sync daemons that run on a director: master, backup."""
    lines = director.out("ipvsadm", "-L", "--daemon").splitlines()
    return [line.split(maxsplit=1)[0] for line in lines]


def ends(connections: Iterable[HeldConnection]) -> set[str]:
    """The clients' ends of these."""
    return {one.source for one in connections}


def lives(connection: HeldConnection, server: str) -> bool:
    """Whether it still goes to its real server."""
    try:
        return connection.ask() == server
    except (OSError, EOFError):
        return False
