"""The small parts of the lab that need neither guests nor namespaces."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from lvs_lab import processes
from lvs_lab.artifacts import artifact, digest, forget_unused, locked
from lvs_lab.debian_archive import parse_deb822, parse_one_line
from lvs_lab.errors import BuildError, DeadlineError, LabError
from lvs_lab.faults import Fault, parse_fault
from lvs_lab.guest_setup import Mount, setup_script
from lvs_lab.lab import standard_topology
from lvs_lab.places import Places, guest_cards
from lvs_lab.progress import run_logged
from lvs_lab.topology import parse_topology
from lvs_lab.waiting import wait_for

DEB822 = """Types: deb
URIs: http://archive.test/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /keys/a.gpg

Types: deb
URIs: http://archive.test/security
Suites: bookworm-security
Components: main
"""


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["up"], Fault()),
        (["down"], Fault(down=True)),
        (["silent"], Fault(silent=True)),
        (["loss=5"], Fault(loss="5%")),
        (["apart"], Fault(apart=True)),
        (["loss=0.5%", "delay=20ms"], Fault(loss="0.5%", delay="20ms")),
        (["delay=200ms", "jitter=0.1s"], Fault(delay="200ms", jitter="0.1s")),
    ],
)
def test_faults_as_written(words: list[str], fault: Fault) -> None:
    assert parse_fault(words) == fault


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["off"],
        ["down", "silent"],
        ["apart", "silent"],
        ["loss=a"],
        ["delay=20"],
        ["delay=20ms", "jitter=1"],
        ["jitter=20ms"],
        ["loss=5%", "down"],
    ],
)
def test_other_faults_are_refused(words: list[str]) -> None:
    with pytest.raises(LabError):
        parse_fault(words)


def test_the_archive_is_the_one_of_the_own_suite() -> None:
    found = parse_deb822(DEB822, "bookworm")
    assert found is not None
    assert (found.uri, found.keyring) == ("http://archive.test/debian", "/keys/a.gpg")
    assert "Suites: trixie\n" in found.source_lines("trixie")
    assert parse_deb822(DEB822, "sid") is None


def test_the_archive_in_one_line_style() -> None:
    found = parse_one_line(
        "# x\ndeb [arch=amd64 signed-by=/keys/a.gpg] http://archive.test/debian bookworm main\n", "bookworm"
    )
    assert found is not None
    assert (found.uri, found.keyring) == ("http://archive.test/debian", "/keys/a.gpg")
    assert parse_one_line("deb-src http://archive.test/debian bookworm main\n", "bookworm") is None


def test_an_interrupted_build_leaves_no_artifact(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LVS_LAB_CACHE", str(tmp_path))

    def interrupted(target: Path) -> None:
        (target / "half").touch()
        raise KeyboardInterrupt

    def whole(target: Path) -> None:
        assert not list(target.iterdir())
        (target / "whole").touch()

    with pytest.raises(KeyboardInterrupt):
        artifact("thing", "key", interrupted, title="a thing")
    assert not (tmp_path / "thing" / "key").exists()
    made = artifact("thing", "key", whole, title="a thing")
    assert [file.name for file in made.iterdir()] == ["whole"]
    assert artifact("thing", "key", interrupted, title="a thing") == made


def test_only_what_was_long_unused_is_forgotten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LVS_LAB_CACHE", str(tmp_path))
    old, new = digest("old"), digest("new")
    for key in (old, new):
        artifact("thing", key, lambda target: (target / "file").touch(), title="a thing")
    os.utime(tmp_path / "thing" / old, (0, 0))
    assert forget_unused(1) == [tmp_path / "thing" / old]
    assert (tmp_path / "thing" / new / "file").exists()
    assert (tmp_path / "locks").is_dir()


def test_a_digest_tells_contents_and_names_apart(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    (first / "a").write_text("x")
    before = digest(first)
    (first / "a").rename(first / "b")
    renamed = digest(first)
    (first / "b").write_text("y")
    first.rename(second)
    assert len({before, renamed, digest(second)}) == 3


def test_a_failed_build_step_tells_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="it is broken"):
        run_logged(["sh", "-c", "echo it is broken; exit 3"], tmp_path / "log")


def test_waiting_tells_what_was_seen_last() -> None:
    seen = iter(range(1000))
    with pytest.raises(DeadlineError, match=r"waited 0\.02 s for a thing; last seen: 0"):
        wait_for(lambda: next(seen) * 0, 0.02, "a thing", interval=0.001)
    with pytest.raises(ZeroDivisionError):
        wait_for(lambda: 1 // 0, 10, "a fault")


def test_waiting_forgives_what_is_not_yet_and_nothing_that_must_always_hold() -> None:
    looks = iter(range(1, 4))
    held: list[str] = []

    def third_look() -> int:
        look = next(looks)
        assert look == 3
        return look

    assert wait_for(third_look, 10, "the third look", interval=0.001, always=lambda: held.append("held")) == 3
    assert held == ["held"] * 3

    def broken() -> None:
        raise AssertionError("it went away")

    for condition in (lambda: False, lambda: True):
        with pytest.raises(AssertionError, match="it went away"):
            wait_for(condition, 10, "something else", always=broken)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def test_a_program_is_found_again_and_ended_with_its_children(tmp_path: Path) -> None:
    note, log = tmp_path / "pids" / "sleeper", tmp_path / "log"
    program = processes.start(note, ["sh", "-c", "sleep 1000 & echo $!; wait"], log=log)
    wait_for(lambda: log.read_text().strip(), 5, "the child's id")
    child = int(log.read_text())
    assert alive(child)
    assert processes.Program(note).pid == program.pid
    with pytest.raises(LabError, match="runs already"):
        processes.start(note, ["true"], log=log)
    program.signal(signal.SIGSTOP)
    wait_for(lambda: program.stopped, 5, "the program to stop")
    program.kill()
    assert program.pid is None
    assert not alive(child)


def may_be_urgent() -> bool:
    """Whether this process has CAP_SYS_NICE, number 23 of capabilities(7)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (effective,) = (line.split()[1] for line in lines if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> 23 & 1)


@pytest.mark.skipif(not may_be_urgent(), reason="this user may not say that something comes first")
def test_an_urgent_program_comes_before_others(tmp_path: Path) -> None:
    def started(name: str, *, urgent: bool) -> tuple[processes.Program, int]:
        log = tmp_path / "log"
        program = processes.start(tmp_path / name, ["sleep", "1000"], log=log, urgent=urgent)
        assert program.pid is not None
        return program, program.pid

    urgent, urgent_pid = started("urgent", urgent=True)
    other, other_pid = started("other", urgent=False)
    try:
        assert os.getpriority(os.PRIO_PROCESS, urgent_pid) < os.getpriority(os.PRIO_PROCESS, other_pid)
        if Path("/proc/self/autogroup").exists():
            first, second = (Path(f"/proc/{pid}/autogroup").read_text() for pid in (urgent_pid, other_pid))
            assert int(first.rpartition(" ")[2]) < int(second.rpartition(" ")[2])
    finally:
        urgent.kill()
        other.kill()
    assert (tmp_path / "log").read_text() == ""


def test_a_program_whose_note_is_gone_is_found_by_its_mark(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours" / "pids", tmp_path / "other" / "pids"
    log = tmp_path / "log"
    program = processes.start(ours / "sleeper", ["sh", "-c", "sleep 1000 & echo $!; wait"], log=log)
    neighbour = processes.start(other / "sleeper", ["sleep", "1000"], log=log)
    wait_for(lambda: log.read_text().strip(), 5, "the child's id")
    assert {program.pid, int(log.read_text())} == set(processes.marked(ours))
    (ours / "sleeper").unlink()
    processes.kill_marked(ours)
    assert processes.marked(ours) == []
    assert neighbour.pid is not None
    neighbour.kill()


def test_a_lock_that_another_holds_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LVS_LAB_CACHE", str(tmp_path))
    with locked("thing"), pytest.raises(LabError, match="somebody has it"), locked("thing", busy="somebody has it"):
        pass
    with locked("thing", busy="somebody has it"):
        pass


def test_a_note_of_an_older_process_with_the_same_id_is_not_believed(tmp_path: Path) -> None:
    note = tmp_path / "note"
    note.write_text(f"{os.getpid()} 1\n")
    assert processes.Program(note).pid is None


def test_the_script_of_a_guest_is_a_shell_script_with_its_addresses() -> None:
    topology = parse_topology(standard_topology("plain"))
    node = topology.nodes[0]
    cards = guest_cards(node, topology.segments, control=True)
    script = setup_script(topology, node, cards, [Mount(source=Path("/a"), target="/b")])
    assert [card.device for card in cards] == ["eth0", "ctl0", "exec0"]
    for line in ("addr add 192.168.10.11/24 dev eth0", "addr add 10.77.0.11/24 dev ctl0", "hostname director-1"):
        assert line in script.splitlines()
    assert "mount -t hostfs -o ro,hostfs=/a none /b" in script
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("name", ["", "A", "a.b", "-a", "a" * 21])
def test_names_of_labs_that_would_not_fit_are_refused(name: str) -> None:
    with pytest.raises(LabError, match="no name for a lab"):
        Places(name)
