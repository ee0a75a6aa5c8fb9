"""Programs of the lab on this machine: sessions of their own, noted in files, found again by any later process."""

import os
import shlex
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lvs_lab.errors import LabError
from lvs_lab.host_commands import in_namespace, run
from lvs_lab.waiting import wait_for

_MARK = "LVS_LAB_NOTES"
"""Says in the environment of a lab's programs whose they are: the directory of its notes of process ids."""
_GONE_SECONDS = 10
URGENT_NICE = -10
"""Of guests."""
_URGENT_SESSION = f"{{ echo {URGENT_NICE} > /proc/self/autogroup; }} 2> /dev/null;"
"""Where the kernel shares processors among sessions first, the niceness of a process counts within its own only.

sched(7); a kernel without that has no such file.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What the kernel says of a process."""

    pid: int
    state: str
    session: int
    start: str
    """Start time in ticks since boot: with the id it names a process for ever."""
    threads: int

    @property
    def lives(self) -> bool:
        """Whether any of it runs: while other threads end, the first is a zombie, and sockets are still open."""
        return self.state not in "ZX" or self.threads > 1


@dataclass(frozen=True, slots=True)
class Program:
    """One program that the lab runs, by the file that notes its process id."""

    pid_file: Path

    @property
    def pid(self) -> int | None:
        """The id of the living process, none if it has ended or was never started."""
        with suppress(FileNotFoundError):
            pid, start = self.pid_file.read_text().split()
            entry = _entry(int(pid))
            if entry is not None and entry.start == start and entry.lives:
                return entry.pid
        return None

    @property
    def note(self) -> str:
        """What names this run of the program: the text of its file."""
        return self.pid_file.read_text()

    @property
    def run_note(self) -> str | None:
        """The note of the living process, none if there is none."""
        with suppress(FileNotFoundError):  # it ended between the two looks
            return None if self.pid is None else self.note
        return None

    @property
    def stopped(self) -> bool:
        """Whether it is alive and stopped by a signal."""
        pid = self.pid
        entry = None if pid is None else _entry(pid)
        return entry is not None and entry.state in "Tt"

    def signal(self, number: signal.Signals) -> None:
        """Signal every process of its session: children that a guest's kernel runs its programs in, too."""
        pid = self.pid
        if pid is None:
            raise LabError(f"{self.pid_file.name} is not running")
        _signal_session(pid, number)

    def kill(self) -> None:
        """SIGKILL for the whole session, wait until nothing of it is left, forget it. An ended one is fine."""
        pid = self.pid
        if pid is not None:
            _end_session(pid, signal.SIGKILL)
        self.pid_file.unlink(missing_ok=True)

    def terminate(self) -> None:
        """SIGTERM and wait for the end; SIGKILL for what does not end in time."""
        pid = self.pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            with suppress(LabError):
                wait_for(lambda: self.pid is None, _GONE_SECONDS, f"{self.pid_file.name} to end")
        self.kill()


def start(
    pid_file: Path,
    argv: Sequence[str],
    *,
    log: Path,
    netns: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    urgent: bool = False,
) -> Program:
    """Start a program in a session of its own with its output in a log; it outlives the process that starts it.

    It and its children carry the lab's mark, so that `kill_marked` finds them when notes and namespaces are gone.
    What is urgent comes before other programs of this machine, as far as this user may say so.
    """
    program = Program(pid_file)
    if program.pid is not None:
        raise LabError(f"{pid_file.name} runs already (process {program.pid})")
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    pid_file.unlink(missing_ok=True)
    # The shell notes its id and start time and then becomes the program, so the note is there before the program runs.
    new, final = shlex.quote(f"{pid_file}.new"), shlex.quote(str(pid_file))
    note = f'{{ read -r line < /proc/$$/stat; set -- ${{line##*) }}; echo "$$ ${{20}}"; }} > {new}; mv {new} {final}'
    # nice(1) runs the program also where it may not be so urgent, and says so in its log.
    wanted = ["nice", "--adjustment", str(URGENT_NICE), *argv] if urgent else argv
    become = " ".join(shlex.quote(word) for word in in_namespace(netns, wanted))
    script = f"{note}; {_URGENT_SESSION if urgent else ''} exec {become} >> {shlex.quote(str(log))} 2>&1 < /dev/null"
    place = f"cd {shlex.quote(str(cwd))} && " if cwd else ""
    environment = {**(env or {}), **mark(pid_file.parent)}
    run(["setsid", "--fork", "sh", "-c", f"{place}{script}"], env={**os.environ, **environment})
    wait_for(pid_file.exists, 30, f"{pid_file.name} to start", interval=0.002)
    return program


def kill_all_in(namespaces: Sequence[str]) -> int:
    """SIGKILL for every process in some network namespaces; return how many there were."""
    found = [pid for name in namespaces for pid in pids_in(name)]
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for name in namespaces:
        wait_for(partial(_is_empty, name), _GONE_SECONDS, f"the processes in {name} to end", interval=0.01)
    return len(found)


def mark(notes: Path) -> dict[str, str]:
    """The environment variable that makes a process the lab's."""
    return {_MARK: str(notes)}


def marked(notes: Path) -> list[int]:
    """The living processes that carry the mark of a lab, by the directory of its notes."""
    (wanted,) = (f"{key}={value}".encode() for key, value in mark(notes).items())
    found = []
    for entry in _entries():
        with suppress(OSError):  # it has just ended, or may not be looked at and so is none of ours
            if entry.lives and wanted in Path(f"/proc/{entry.pid}/environ").read_bytes().split(b"\0"):
                found.append(entry.pid)
    return found


def kill_marked(notes: Path) -> None:
    """SIGKILL for all that carries the mark of a lab, and for the sessions that its programs lead."""

    def none_left() -> bool:
        living = marked(notes)
        for pid in living:
            _signal_session(pid, signal.SIGKILL)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not living

    wait_for(none_left, _GONE_SECONDS, f"the programs of {notes} to end", interval=0.01)


def pids_in(namespace: str) -> list[int]:
    """The processes in a network namespace."""
    return [int(pid) for pid in run(["ip", "netns", "pids", namespace], check=False).stdout.split()]


def _is_empty(namespace: str) -> bool:
    return not pids_in(namespace)


def _end_session(session: int, number: signal.Signals) -> None:
    def empty() -> bool:
        return not _signal_session(session, number)

    wait_for(empty, _GONE_SECONDS, f"session {session} to end", interval=0.005)


def _signal_session(session: int, number: signal.Signals) -> int:
    """Signal all living members of a session; return how many there were."""
    members = [entry.pid for entry in _entries() if entry.session == session and entry.lives]
    for pid in members:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    return len(members)


def _entries() -> Iterator[Entry]:
    for name in os.listdir("/proc"):  # noqa: PTH208 - a thousand Path objects for one look is too slow
        if name.isdigit():
            entry = _entry(int(name))
            if entry is not None:
                yield entry


def _entry(pid: int) -> Entry | None:
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = line.rpartition(")")[2].split()
    return Entry(pid=pid, state=fields[0], session=int(fields[3]), start=fields[19], threads=int(fields[17]))
