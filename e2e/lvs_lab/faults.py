"""Break a machine's network card, and mend it: carrier away, a silent port, loss and delay.

Carrier, loss and delay are made inside the guest, on the far side of its card's wire, with its own kernel's netem; a
silent port is the lab's end of the card taken out of its bridge, of which the guest notices nothing. Cards that are
apart are on a second bridge of their segment, and reach one another there: a switch whose link to the other is cut.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from lvs_lab.errors import LabError
from lvs_lab.guest import Guest
from lvs_lab.guest_setup import LAB_NAMESPACE
from lvs_lab.host_commands import run
from lvs_lab.network import on_control_network
from lvs_lab.places import Places, guest_cards, port, segment_bridge
from lvs_lab.topology import Kind, Machine, Topology

_CUT, _CUT_OUTSIDE, _APART, _LOSSY = "no carrier", "silent", "apart", "lossy or slow"
_PERCENT = re.compile(r"\d+(\.\d+)?%?")
_DURATION = re.compile(r"\d+(\.\d+)?(us|ms|s)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What is wanted of a card: `down`, `silent`, `apart`, or a percentage lost and a time of delay each way."""

    down: bool = False
    silent: bool = False
    apart: bool = False
    loss: str = ""
    delay: str = ""
    jitter: str = ""
    """By so much, at most, the delay of each packet is more or less; so they overtake one another."""


def parse_fault(words: list[str]) -> Fault:
    """`up`, `down`, `silent`, `apart`, `loss=5%`, `delay=20ms`, `jitter=10ms`; the last three go together."""
    if words in (["up"], ["down"], ["silent"], ["apart"]):
        return Fault(down=words == ["down"], silent=words == ["silent"], apart=words == ["apart"])
    wanted = dict(word.partition("=")[::2] for word in words)
    if not wanted or not wanted.keys() <= {"loss", "delay", "jitter"}:
        raise LabError(f"{' '.join(words)}: say up, down, silent, apart, loss=PERCENT, delay=TIME or jitter=TIME")
    loss, delay, jitter = (wanted.get(word, "") for word in ("loss", "delay", "jitter"))
    if loss and not _PERCENT.fullmatch(loss):
        raise LabError(f"loss={loss}: a percentage is wanted, such as loss=5%")
    for word, value in (("delay", delay), ("jitter", jitter)):
        if value and not _DURATION.fullmatch(value):
            raise LabError(f"{word}={value}: a time with its unit is wanted, such as {word}=20ms")
    if jitter and not delay:
        raise LabError(f"jitter={jitter}: it is more or less than a delay, so name one, such as delay={jitter}")
    return Fault(loss=loss and loss.rstrip("%") + "%", delay=delay, jitter=jitter)


def apply_fault(places: Places, topology: Topology, machine: Machine, device: str, fault: Fault) -> None:
    """Bring one card into the state asked for, whatever state it was in."""
    _apply(places, topology, machine, device, fault)
    _note(places, machine.name, device, fault)


def _apply(places: Places, topology: Topology, machine: Machine, device: str, fault: Fault) -> None:
    near, bridge = _near_end(topology, machine, device)
    # Out of the bridge, not down: writes to a tap that is down fail, and the guest's driver then tries for ever.
    place = ["nomaster"] if fault.silent else ["master", _other_bridge(places, bridge) if fault.apart else bridge]
    run(["ip", "-n", places.switches, "link", "set", near, *place])
    if machine.kind is Kind.NAMESPACE:
        if fault.loss or fault.delay:
            raise LabError(
                f"{machine.name} is a namespace of this machine, whose kernel has no netem: make it kind: guest"
            )
        run(["ip", "-n", places.switches, "link", "set", near, "down" if fault.down else "up"])
        return
    wired = any(interface.name == device and interface.carrier for interface in machine.interfaces)
    if not wired:
        if fault.down or fault.loss or fault.delay:
            raise LabError(
                f"{machine.name} {device} has no wire, so only `silent` and `apart` work (guests with carrier: true "
                "have wires)"
            )
        return
    _set_wire(Guest(places, topology, machine), device, fault)


def is_cut(places: Places, machine: str, device: str) -> bool:
    """Whether nothing passes a card."""
    mark = _mark(places, machine, device)
    return mark.exists() and mark.read_text() in (_CUT, _CUT_OUTSIDE)


def broken_cards(places: Places) -> list[tuple[str, str]]:
    """The cards that have a fault now: machine and device."""
    marks = (places.run / "faults").glob("*/*")
    return sorted((mark.parent.name, mark.name) for mark in marks)


def forget(places: Places, machine: str) -> None:
    """A machine that boots has whole wires again; its silent ports stay silent, and those that are apart stay there."""
    for mark in (places.run / "faults" / machine).glob("*"):
        if mark.read_text() not in (_CUT_OUTSIDE, _APART):
            mark.unlink()


def _other_bridge(places: Places, bridge: str) -> str:
    """The second bridge of a segment, made when a card is first put there."""
    name = f"{bridge}-apart"
    if run(["ip", "-n", places.switches, "link", "show", "dev", name], check=False).ok:
        return name
    settings = ["type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0"]
    run(["ip", "-n", places.switches, "link", "add", name, *settings])
    run(["ip", "-n", places.switches, "link", "set", name, "up"])
    return name


def _set_wire(guest: Guest, device: str, fault: Fault) -> None:
    wire, far = f"wire-{device}", f"port-{device}"
    netem = [
        *(["loss", fault.loss] if fault.loss else []),
        *(["delay", fault.delay, *fault.jitter.split()] if fault.delay else []),
    ]
    for end in (wire, far):
        queue = ["tc", "-n", LAB_NAMESPACE, "qdisc"]
        if netem:
            guest.channel.run([*queue, "replace", "dev", end, "root", "netem", *netem, "limit", "10000"], check=True)
        elif "netem" in guest.channel.run([*queue, "show", "dev", end, "root"], check=True).stdout:
            guest.channel.run([*queue, "delete", "dev", end, "root"], check=True)
    state = "down" if fault.down else "up"
    guest.channel.run(["ip", "-n", LAB_NAMESPACE, "link", "set", wire, state], check=True)


def _near_end(topology: Topology, machine: Machine, device: str) -> tuple[str, str]:
    """The lab's end of a card, and the bridge that it belongs to."""
    if machine.kind is Kind.GUEST:
        cards = guest_cards(machine, topology.segments, control=on_control_network(topology, machine))
        ends = [(card.device, card.bridge) for card in cards]
    else:
        ends = [(card.name, segment_bridge(topology.segments, card.segment)) for card in machine.interfaces]
    for number, (name, bridge) in enumerate(ends):
        if name == device:
            return port(machine, number), bridge
    raise LabError(f"{machine.name} has no card {device!r}; it has {', '.join(name for name, _ in ends)}")


def _mark(places: Places, machine: str, device: str) -> Path:
    return places.run / "faults" / machine / device


def _note(places: Places, machine: str, device: str, fault: Fault) -> None:
    mark = _mark(places, machine, device)
    if fault == Fault():
        mark.unlink(missing_ok=True)
        return
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(_CUT_OUTSIDE if fault.silent else _APART if fault.apart else _CUT if fault.down else _LOSSY)
