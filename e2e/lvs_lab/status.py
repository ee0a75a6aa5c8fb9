"""What a lab looks like now, as text for a person."""

from lvs_lab import network, processes
from lvs_lab.errors import NotUpError
from lvs_lab.guest import Guest
from lvs_lab.places import Places
from lvs_lab.record import read_topology
from lvs_lab.topology import Kind


def describe(name: str) -> str:
    """A line per machine and per program."""
    places = Places(name)
    try:
        topology = read_topology(places)
    except NotUpError:
        return f"lab {name!r}: only remains are left; `lvs-lab down --name {name}` removes them\n"
    there = network.namespaces(places)
    rows = []
    for machine in topology.machines:
        if machine.kind is Kind.GUEST:
            guest = Guest(places, topology, machine)
            state = "paused" if guest.paused else "on" if guest.running else "off"
        else:
            state = "up" if places.namespace(machine) in there else "gone"
        kind = "kubelet" if machine.kubelet else machine.kind.value
        cards = "; ".join(f"{i.name}@{i.segment} {' '.join(map(str, i.addresses))}" for i in machine.interfaces)
        rows.append((machine.name, machine.part.value, kind, state, cards))
    for pid_file in sorted((places.run / "pids").glob("*")):
        if not pid_file.name.startswith(("guest.", "serve.")):
            pid = processes.Program(pid_file).pid
            rows.append(
                (
                    pid_file.name,
                    "program",
                    "",
                    "ended" if pid is None else "runs",
                    "" if pid is None else f"process {pid}",
                )
            )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]).rstrip() + "\n"
        for row in rows
    )
