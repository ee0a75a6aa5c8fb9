"""Agents of the lab that are killed and started again, and their state directories in trouble."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from lvs_lab.guest_setup import STATE_DIRECTORY
from lvs_lab.lab_machine import GuestMachine
from lvs_lab.waiting import wait_for
from support.deployment import Deployment

LEDGER: Final = f"{STATE_DIRECTORY}/ledger"
VIEW: Final = f"{STATE_DIRECTORY}/view"
_KEPT: Final = "/run/kept-state"
ROUNDS: Final = 5


def restart_agent(web: Deployment, node: str, meanwhile: Callable[[GuestMachine], object] | None = None) -> None:
    """Kill a node's agent, do something, start another one and wait for some of its rounds."""
    web.lab.agent(node).kill()
    if meanwhile is not None:
        meanwhile(web.lab.guest(node))
    web.start_agent(node)
    wait_rounds(web, node)


def wait_rounds(web: Deployment, node: str) -> None:
    """Wait until a node's agent has a view and made some rounds by it."""
    guest = web.lab.guest(node)

    def seen() -> bool:
        ready = guest.exec(["curl", "--silent", "--fail", "http://127.0.0.1:9461/readyz"]).ok
        return ready and web.agent_metric(node, "lvs_agent_rounds_total") >= ROUNDS

    wait_for(seen, 90, f"{ROUNDS} rounds of {node}'s new agent", interval=0.1)


def node_condition(web: Deployment, node: str, kind: str) -> dict[str, Any]:
    """A condition of a LvsNode; empty while it has none."""
    conditions = web.get("lvsnode", node).get("status", {}).get("conditions", ())
    return next((dict(one) for one in conditions if one["type"] == kind), {})


def wait_node_condition(web: Deployment, node: str, kind: str, reason: str | None, *, deadline: float = 20) -> str:
    """Wait until a LvsNode has the condition for this reason, or none for None; return its message."""

    def seen() -> bool:
        assert node_condition(web, node, kind).get("reason") == reason
        return True

    wait_for(seen, deadline, f"{node} to have {kind} for {reason}", interval=0.2)
    return str(node_condition(web, node, kind).get("message", ""))


@contextmanager
def small_disk(web: Deployment, node: str) -> Iterator[GuestMachine]:
    """Give a node's agent a state directory on a disk of its own that is easily filled; what is in it stays."""
    guest = web.lab.guest(node)
    guest.sh(
        f"rm -rf {_KEPT} && cp -a {STATE_DIRECTORY} {_KEPT} && mount -t tmpfs -o size=512k tmpfs {STATE_DIRECTORY}"
    )
    guest.sh(f"cp -a {_KEPT}/. {STATE_DIRECTORY}/")
    try:
        yield guest
    finally:
        if web.lab.agent(node).running:
            web.lab.agent(node).kill()
        guest.sh(f"mount -o remount,rw {STATE_DIRECTORY}; rm -rf {_KEPT} {STATE_DIRECTORY}/fill")
        guest.sh(f"cp -a {STATE_DIRECTORY} {_KEPT} && umount {STATE_DIRECTORY} && cp -a {_KEPT}/. {STATE_DIRECTORY}/")
        web.start_agent(node)


def fill(guest: GuestMachine) -> None:
    """Leave no byte on it."""
    guest.sh(f"cat /dev/zero > {STATE_DIRECTORY}/fill 2>/dev/null; test -s {STATE_DIRECTORY}/fill")


def make_read_only(guest: GuestMachine) -> None:
    """Take no writes, as the kernel does with a file system that it found damaged."""
    guest.sh(f"mount -o remount,ro {STATE_DIRECTORY}")


def free(guest: GuestMachine) -> None:
    """Take writes again."""
    guest.sh(f"mount -o remount,rw {STATE_DIRECTORY}; rm -f {STATE_DIRECTORY}/fill")
