"""One user-mode Linux guest as a process of this machine: started, paused, cut off its power."""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lvs_lab import processes
from lvs_lab.errors import LabError, NotUpError
from lvs_lab.exec_channel import ExecChannel
from lvs_lab.guest_setup import SETUP_ERRORS, Mount, setup_script
from lvs_lab.kernel_build import GuestKernel
from lvs_lab.network import on_control_network
from lvs_lab.places import EXEC_PORT, Places, exec_address, guest_cards, hardware_address, port
from lvs_lab.topology import Machine, Topology
from lvs_lab.waiting import wait_for

_BOOT_SECONDS = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class GuestImage:
    """What a guest boots from."""

    kernel: GuestKernel
    root: Path


class Guest:
    """A guest by its place in a lab; any process can make this object for a guest that another one started."""

    def __init__(self, places: Places, topology: Topology, machine: Machine) -> None:
        self.machine = machine
        self._places = places
        self._topology = topology
        self._program = processes.Program(places.pid(f"guest.{machine.name}"))
        self.channel = ExecChannel(
            machine=machine.name,
            namespace=places.switches,
            address=(exec_address(machine), EXEC_PORT),
            power=lambda: self._program.run_note,
        )

    @property
    def running(self) -> bool:
        """Whether its power is on (a paused one counts)."""
        return self._program.pid is not None

    @property
    def paused(self) -> bool:
        """Whether it is stopped where it is."""
        return self._program.stopped

    @property
    def finished(self) -> bool:
        """Whether what runs was brought all the way to where `up` has a machine."""
        return self.running and self._boot_note.exists() and self._boot_note.read_text() == self._program.note

    def note_finished(self) -> None:
        """Note that this boot was brought to its end; one that was cut short is made again by the next `up`."""
        self._boot_note.write_text(self._program.note)

    @property
    def _boot_note(self) -> Path:
        return self._places.node(self.machine.name) / "finished"

    @property
    def console(self) -> Path:
        """What its kernel and init wrote."""
        return self._places.log(f"guest.{self.machine.name}")

    def start(self, image: GuestImage, mounts: Sequence[Mount]) -> None:
        """Switch it on; `wait_until_up` tells when it answers."""
        cards = guest_cards(
            self.machine, self._topology.segments, control=on_control_network(self._topology, self.machine)
        )
        directory = self._places.node(self.machine.name)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "setup.sh").write_text(setup_script(self._topology, self.machine, cards, mounts))
        self._places.memory.mkdir(parents=True, exist_ok=True)
        arguments = [
            f"mem={self.machine.memory_mib}M",
            f"umid={self.machine.name}",
            f"uml_dir={self._places.run}/uml/",
            "root=/dev/root",
            "rootfstype=hostfs",
            f"rootflags={image.root}",
            "ro",
            "init=/lab/init",
            "con=null",
            "con0=null,fd:1",
            "ssl=null",
            "quiet",
            "seccomp=on",
            *(self._card_argument(number) for number in range(len(cards))),
            f"lab.node={directory}",
        ]
        # One CPU for all of a guest: its processes and its kernel hand over to one another at each system call.
        pinned = ["taskset", "--cpu-list", str(self._cpu()), str(image.kernel.image), *arguments]
        processes.start(
            self._program.pid_file,
            pinned,
            log=self.console,
            netns=self._places.switches,
            env={"TMPDIR": str(self._places.memory)},
            # A machine whose timers are late because tests run beside it would be no Master for long.
            urgent=True,
        )

    def wait_until_up(self) -> None:
        """Wait until the exec channel answers. Raises LabError when a part of the topology could not be set up."""

        def must_run() -> None:
            if not self.running:
                raise NotUpError(f"{self.machine.name} ended while it booted; its console: {self.console}")

        wait_for(
            lambda: self.channel.run(["true"], timeout=5).ok,
            _BOOT_SECONDS,
            f"{self.machine.name} to answer (console: {self.console})",
            interval=0.02,
            always=must_run,
        )
        said = self.channel.run(["cat", SETUP_ERRORS], check=True).stdout.strip()
        if said:
            raise LabError(f"{self.machine.name} is not as its topology says: {said}")

    def cut_power(self) -> None:
        """End it in an instant, as a pulled plug does."""
        self._program.kill()

    def pause(self) -> None:
        """Stop it where it is; its clocks read on when it goes on."""
        self._program.signal(signal.SIGSTOP)
        wait_for(lambda: self.paused, 5, f"{self.machine.name} to stop", interval=0.002)

    def resume(self) -> None:
        """Let a paused one go on."""
        self._program.signal(signal.SIGCONT)

    def _card_argument(self, number: int) -> str:
        mac = hardware_address(self.machine, number)
        return f"vec{number}:transport=tap,ifname={port(self.machine, number)},depth=64,gro=1,mac={mac}"

    def _cpu(self) -> int:
        cpus = sorted(os.sched_getaffinity(0))
        return cpus[self.machine.index % len(cpus)]
