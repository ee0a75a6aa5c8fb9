"""Break a machine's network card, and mend it: carrier away, a silent port, loss and delay.

Carrier, loss and delay are made inside the guest, on the far side of its card's wire, with its own kernel's netem; a silent port is the
lab's end of the card set down, of which the guest notices nothing.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lvs_lab.errors import CommandError, LabError
from lvs_lab.guest import Guest
from lvs_lab.guest_setup import LAB_NAMESPACE
from lvs_lab.host_commands import run
from lvs_lab.network import on_control_network
from lvs_lab.places import Places, guest_cards, port
from lvs_lab.topology import Kind, Machine, Topology

_PERCENT = re.compile(r"\d+(\.\d+)?%?")
_DURATION = re.compile(r"\d+(\.\d+)?(us|ms|s)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What is wanted of a card: `down`, `silent`, or a percentage lost and a time of delay each way."""

    down: bool = False
    silent: bool = False
    loss: str = ""
    delay: str = ""


def parse_fault(words: list[str]) -> Fault:
    """`up`, `down`, `silent`, `loss=5%`, `delay=20ms`; loss and delay go together."""
    if words in (["up"], ["down"], ["silent"]):
        return Fault(down=words == ["down"], silent=words == ["silent"])
    wanted = dict(word.partition("=")[::2] for word in words)
    if not wanted or not wanted.keys() <= {"loss", "delay"}:
        raise LabError(f"{' '.join(words)}: say up, down, silent, loss=PERCENT or delay=TIME")
    loss, delay = wanted.get("loss", ""), wanted.get("delay", "")
    if loss and not _PERCENT.fullmatch(loss):
        raise LabError(f"loss={loss}: a percentage is wanted, such as loss=5%")
    if delay and not _DURATION.fullmatch(delay):
        raise LabError(f"delay={delay}: a time with its unit is wanted, such as delay=20ms")
    return Fault(loss=loss and loss.rstrip("%") + "%", delay=delay)


def apply_fault(places: Places, topology: Topology, machine: Machine, device: str, fault: Fault) -> None:
    """Bring one card into the state asked for, whatever state it was in."""
    near = _near_end(topology, machine, device)
    run(["ip", "-n", places.switches, "link", "set", near, "down" if fault.silent else "up"])
    mark = _mark(places, machine.name, device)
    mark.parent.mkdir(parents=True, exist_ok=True)
    if fault.silent or fault.down:
        mark.touch()
    else:
        mark.unlink(missing_ok=True)
    if machine.kind is Kind.NAMESPACE:
        if fault.loss or fault.delay:
            raise LabError(f"{machine.name} is a namespace of this machine, whose kernel has no netem: make it kind: guest")
        run(["ip", "-n", places.switches, "link", "set", near, "down" if fault.down or fault.silent else "up"])
        return
    wired = any(interface.name == device and interface.carrier for interface in machine.interfaces)
    if not wired:
        if fault.down or fault.loss or fault.delay:
            raise LabError(f"{machine.name} {device} has no wire to cut: `silent` works; cards of a machine with carrier: true have one")
        return
    _set_wire(Guest(places, topology, machine), device, fault)


def is_cut(places: Places, machine: str, device: str) -> bool:
    """Whether nothing passes a card."""
    return _mark(places, machine, device).exists()


def forget(places: Places, machine: str) -> None:
    """A machine that boots has whole wires again."""
    directory = places.run / "cut"
    for mark in directory.glob(f"{machine}.*"):
        with suppress(FileNotFoundError):
            mark.unlink()


def _set_wire(guest: Guest, device: str, fault: Fault) -> None:
    inside = ["ip", "netns", "exec", LAB_NAMESPACE]
    ends = (f"wire-{device}", f"port-{device}")
    netem = [*(["loss", fault.loss] if fault.loss else []), *(["delay", fault.delay] if fault.delay else [])]
    for end in ends:
        with suppress(CommandError):  # there was none to delete
            guest.channel.run(["tc", "-n", LAB_NAMESPACE, "qdisc", "del", "dev", end, "root"], check=True)
        if netem:
            limit = ["limit", "10000"]
            guest.channel.run(["tc", "-n", LAB_NAMESPACE, "qdisc", "add", "dev", end, "root", "netem", *netem, *limit], check=True)
    guest.channel.run([*inside, "ip", "link", "set", ends[0], "down" if fault.down else "up"], check=True)


def _near_end(topology: Topology, machine: Machine, device: str) -> str:
    names = [interface.name for interface in machine.interfaces]
    if machine.kind is Kind.GUEST:
        names = [card.device for card in guest_cards(machine, topology.segments, control=on_control_network(topology, machine))]
    if device not in names:
        raise LabError(f"{machine.name} has no card {device!r}; it has {', '.join(names)}")
    return port(machine, names.index(device))


def _mark(places: Places, machine: str, device: str) -> Path:
    return places.run / "cut" / f"{machine}.{device}"
