"""The ledger and the last view on disk."""

import asyncio
import errno
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn

import pytest
from agent_world import full_disk
from waiting_for import until

from lvs_agent.decide.drain import Drain, DrainCause, DrainKey
from lvs_agent.decide.kernel_state import (
    AddressBinding,
    AddressFamily,
    DestinationKey,
    FirewallMarkKey,
    ServiceKey,
    TransportProtocol,
)
from lvs_agent.decide.kernel_sysctls import conf_key
from lvs_agent.disk import view_store
from lvs_agent.disk.ledger import Ledger, LedgerFile
from lvs_agent.disk.packed_slice import pack, without_noise
from lvs_agent.disk.state_file import set_aside
from lvs_agent.disk.state_lock import StateLock
from lvs_agent.disk.view_store import StoredView, ViewStore
from lvs_agent.errors import StateFileDamaged, StateInUse, StateNotWritten
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.conditions import Reason

SERVICE = ServiceKey(protocol=TransportProtocol.UDP, address=ip_address("2001:db8::1"), port=0)
DESTINATION = DestinationKey(address=ip_address("192.0.2.9"), port=8080)
LEDGER = Ledger(
    ipvs={
        SERVICE: frozenset({DESTINATION}),
        FirewallMarkKey(family=AddressFamily.IPV6, mark=7): frozenset(),
    },
    bindings=frozenset({AddressBinding(address=ip_address("192.0.2.1"), device="eth0.7")}),
    sysctls={conf_key("ipv4", "eth0.7", "arp_ignore"): 3},
    drains={
        DrainKey(service=SERVICE, destination=DESTINATION, cause=DrainCause.LEAVING): Drain(
            started=12.5, timeout_seconds=60.0, over=True
        )
    },
)
SLICE = pack({"metadata": {"namespace": "n", "name": "s", "uid": "u"}, "c": "ü"})
VIEW = StoredView(cluster_id="c", node_name="n", node={"a": 1}, groups=({"b": 2},), slices=(SLICE,))


def test_a_ledger_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ledger"
    assert LedgerFile(path, "boot").read() == Ledger()
    assert LedgerFile(path, "boot").write(LEDGER)
    assert LedgerFile(path, "boot").read() == LEDGER
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["ledger"]


def test_a_ledger_of_another_boot_owns_nothing(tmp_path: Path) -> None:
    LedgerFile(tmp_path / "ledger", "boot-1").write(LEDGER)
    assert LedgerFile(tmp_path / "ledger", "boot-2").read() == Ledger()


def test_an_equal_ledger_is_not_written_again(tmp_path: Path) -> None:
    file = LedgerFile(tmp_path / "ledger", "boot")
    assert file.write(LEDGER)
    before = (tmp_path / "ledger").stat().st_ino
    assert not file.write(LEDGER)
    assert (tmp_path / "ledger").stat().st_ino == before


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda text: text[:-20], "its checksum is wrong"),
        (lambda text: text.replace("8080", "8081"), "its checksum is wrong"),
        (lambda text: text.partition("\n")[2], "its checksum is wrong"),
        (lambda text: "2" + text[1:], "another version of the agent wrote it, in format 2; this one reads 1"),
        (lambda _: "", "its checksum is wrong"),
        (lambda _: "\x00\xff", "it is not text"),
    ],
    ids=["truncated", "changed", "beheaded", "newer format", "empty", "no text"],
)
def test_a_damaged_file_is_not_believed(tmp_path: Path, spoil: Callable[[str], str], why: str) -> None:
    path = tmp_path / "ledger"
    LedgerFile(path, "boot").write(LEDGER)
    path.write_text(spoil(path.read_text()), encoding="latin-1")
    with pytest.raises(StateFileDamaged, match=f"{path}: {why}"):
        LedgerFile(path, "boot").read()


def test_something_else_in_the_file_s_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    with pytest.raises(StateFileDamaged, match="Is a directory"):
        LedgerFile(tmp_path / "ledger", "boot").read()
    with pytest.raises(StateNotWritten, match="Is a directory"):
        LedgerFile(tmp_path / "ledger", "boot").write(LEDGER)
    (tmp_path / "file").touch()
    with pytest.raises(StateFileDamaged, match="Not a directory"):
        LedgerFile(tmp_path / "file" / "ledger", "boot").read()
    with pytest.raises(StateNotWritten, match=r"Not a directory|File exists"):
        LedgerFile(tmp_path / "file" / "ledger", "boot").write(LEDGER)


def refusing(code: int) -> Callable[..., NoReturn]:
    """What a system call does on a disk in trouble."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("lvs_agent.disk.state_file.tempfile.mkstemp", errno.EROFS),
        ("lvs_agent.disk.state_file.tempfile.mkstemp", errno.ENOSPC),
        ("lvs_agent.disk.state_file.os.fsync", errno.EIO),
        ("lvs_agent.disk.state_file.os.fsync", errno.ENOSPC),
        ("lvs_agent.disk.state_file.Path.replace", errno.EIO),
        ("lvs_agent.disk.state_file.Path.mkdir", errno.EACCES),
    ],
)
def test_a_write_that_fails_anywhere_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, code: int
) -> None:
    file = LedgerFile(tmp_path / "ledger", "boot")
    file.write(LEDGER)
    monkeypatch.setattr(place, refusing(code))
    with pytest.raises(StateNotWritten, match=os.strerror(code)) as refused:
        file.write(Ledger())
    monkeypatch.undo()
    assert not refused.value.is_in_place
    assert [path.name for path in tmp_path.iterdir()] == ["ledger"]
    assert file.stored == LEDGER == LedgerFile(tmp_path / "ledger", "boot").read()
    assert file.write(Ledger())


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    file = LedgerFile(tmp_path / "ledger", "boot")
    file.write(LEDGER)
    with full_disk(), pytest.raises(StateNotWritten, match="File too large"):
        file.write(Ledger())
    assert [path.name for path in tmp_path.iterdir()] == ["ledger"]
    assert LedgerFile(tmp_path / "ledger", "boot").read() == LEDGER


def test_a_directory_that_is_not_synced_has_the_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = LedgerFile(tmp_path / "ledger", "boot")
    file.write(Ledger())
    monkeypatch.setattr("lvs_agent.disk.state_file._sync_directory", refusing(errno.EIO))
    with pytest.raises(StateNotWritten, match="Input/output error") as refused:
        file.write(LEDGER)
    assert refused.value.is_in_place
    assert file.stored == LEDGER == LedgerFile(tmp_path / "ledger", "boot").read()


def test_what_lies_in_the_way_is_set_aside(tmp_path: Path) -> None:
    file = LedgerFile(tmp_path / "ledger", "0123456789abcdef")
    set_aside(file.path, file.aside)
    assert not file.aside.exists(), "somebody took it away"
    (tmp_path / "ledger").mkdir()
    set_aside(file.path, file.aside)
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.damaged.01234567"]
    (file.aside / "full").touch()
    (tmp_path / "ledger").mkdir()
    with pytest.raises(StateNotWritten, match=r"can not be renamed to ledger\.damaged\.01234567: Directory not empty"):
        set_aside(file.path, file.aside)


def test_a_view_comes_back_as_it_was(tmp_path: Path) -> None:
    store = ViewStore(tmp_path / "view")
    assert store.read("n") is None
    assert store.write(VIEW)
    assert not store.write(VIEW)
    assert ViewStore(tmp_path / "view").read("n") == VIEW
    assert ViewStore(tmp_path / "view").read("other") is None, "the view of another node is none"


async def test_a_view_is_stored_when_the_disk_takes_it(tmp_path: Path) -> None:
    failures = AgentMetrics().state_failures.labels("view")
    store = ViewStore(tmp_path / "view", failures)
    storing = asyncio.create_task(store.run())
    with full_disk():
        store.put(VIEW)
        await until(lambda: store.fault is not None)
        assert store.fault is not None
        assert store.fault.reason is Reason.STATE_NOT_WRITTEN
        newer = replace(VIEW, slices=())
        store.put(newer)
    await until(lambda: store.fault is None)
    assert ViewStore(tmp_path / "view").read("n") == newer
    storing.cancel()
    await asyncio.gather(storing, return_exceptions=True)


async def test_views_that_come_one_after_the_other_are_stored_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, written = ViewStore(tmp_path / "view"), list[str]()
    write = store.write

    def slowly(view: StoredView) -> bool:
        threading.Event().wait(0.05)  # as a large one takes
        written.append(view.cluster_id)
        return write(view)

    monkeypatch.setattr(store, "write", slowly)
    storing = asyncio.create_task(store.run())
    store.put(VIEW)
    await until(lambda: bool(written))
    for number in range(10):
        store.put(replace(VIEW, cluster_id=f"c{number}"))
        with suppress(TimeoutError):
            await until(lambda: len(written) > 1, 0.01)  # edits come at their pace
    await until(lambda: len(written) > 1)
    assert written == [VIEW.cluster_id, "c9"]
    storing.cancel()
    await asyncio.gather(storing, return_exceptions=True)


async def ended(storing: asyncio.Task[None]) -> None:
    """End it as the agent does, which waits for it; nothing but that ends it."""
    storing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await storing


async def test_an_agent_that_ends_stores_what_came_while_none_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the next one, without the API server, would make again what this one has just removed."""
    monkeypatch.setattr(view_store, "_REST", 1e9)
    store = ViewStore(tmp_path / "view")
    storing = asyncio.create_task(store.run())
    with full_disk():
        store.put(VIEW)
        await until(lambda: store.fault is not None)
    await until(lambda: store.fault is None)
    newer = replace(VIEW, slices=())
    store.put(newer)  # while it rests
    await ended(storing)
    assert ViewStore(tmp_path / "view").read("n") == newer


async def test_an_agent_that_ends_tries_once_more_what_the_disk_did_not_take(tmp_path: Path) -> None:
    store = ViewStore(tmp_path / "view")
    storing = asyncio.create_task(store.run())
    with full_disk():
        store.put(VIEW)
        await until(lambda: store.fault is not None)
    await ended(storing)  # before the next try
    assert ViewStore(tmp_path / "view").read("n") == VIEW


class SlowDisk:
    """A store whose disk takes nothing before it is let go."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = ViewStore(path)
        self.begun: list[StoredView] = []
        self.at_work = 0
        self.let_go = threading.Event()
        self._write = self.store.write
        monkeypatch.setattr(self.store, "write", self._slowly)

    def _slowly(self, view: StoredView) -> bool:
        assert self.at_work == 0, "two writes at a time, of which the older may be the last"
        self.at_work += 1
        self.begun.append(view)
        assert self.let_go.wait(30)
        self.at_work -= 1
        return self._write(view)


async def test_an_agent_that_ends_stores_what_came_during_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(tmp_path / "view", monkeypatch)
    storing = asyncio.create_task(disk.store.run())
    disk.store.put(VIEW)
    await until(lambda: disk.begun == [VIEW])
    newer = replace(VIEW, slices=())
    disk.store.put(newer)
    asyncio.get_running_loop().call_soon(disk.let_go.set)
    await ended(storing)
    assert disk.begun == [VIEW, newer]
    assert ViewStore(tmp_path / "view").read("n") == newer


async def test_an_agent_that_ends_says_what_the_disk_does_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = SlowDisk(tmp_path / "view", monkeypatch)
    storing = asyncio.create_task(disk.store.run())
    disk.store.put(VIEW)
    await until(lambda: disk.begun == [VIEW])
    with full_disk():
        asyncio.get_running_loop().call_soon(disk.let_go.set)
        await ended(storing)
    assert disk.begun == [VIEW, VIEW]
    assert [record.name for record in caplog.records] == [view_store.__name__]
    assert "the last view is not stored: " in caplog.text
    assert ViewStore(tmp_path / "view").read("n") is None


async def test_an_agent_that_ends_does_not_wait_for_ever_for_its_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(view_store, "_LAST_WRITE", 0.05)
    disk = SlowDisk(tmp_path / "view", monkeypatch)
    storing = asyncio.create_task(disk.store.run())
    disk.store.put(VIEW)
    await until(lambda: disk.begun == [VIEW])
    disk.store.put(replace(VIEW, slices=()))
    async with asyncio.timeout(10):
        await ended(storing)
    assert "the last view is not stored: the disk has not taken it within 0 s" in caplog.text
    disk.let_go.set()


async def test_a_damaged_view_is_told_until_there_is_another(tmp_path: Path) -> None:
    store = ViewStore(tmp_path / "view")
    (tmp_path / "view").write_text("1 0\n{}\n")
    with pytest.raises(StateFileDamaged):
        store.read("n")
    assert store.fault is not None
    assert (store.fault.reason, "checksum" in store.fault.message) == (Reason.STATE_DAMAGED, True)
    storing = asyncio.create_task(store.run())
    store.put(VIEW)
    await until(lambda: store.fault is None)
    storing.cancel()
    await asyncio.gather(storing, return_exceptions=True)
    assert ViewStore(tmp_path / "view").read("n") == VIEW


def test_one_agent_has_a_state_directory(tmp_path: Path) -> None:
    first, second = StateLock(tmp_path / "state"), StateLock(tmp_path / "state")
    first.acquire()
    with pytest.raises(StateInUse, match=f"{tmp_path}/state: stop it, or give this one another directory by --state-"):
        second.acquire()
    StateLock(tmp_path / "other").acquire()
    first.release()
    second.acquire()


def test_a_state_directory_that_is_none_keeps_no_agent_from_working(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    lock = StateLock(tmp_path / "file")
    lock.acquire()
    lock.release()
    assert "is not locked: File exists" in caplog.text


def test_slices_are_the_same_if_nothing_but_noise_differs() -> None:
    raw = {"metadata": {"namespace": "n", "name": "b", "uid": "u", "resourceVersion": "5"}, "spec": {"a": 1, "b": "ü"}}
    noisy = {"spec": {"b": "ü", "a": 1}, "metadata": raw["metadata"] | {"resourceVersion": "6"}, "status": {}}
    assert pack(noisy) == pack(raw)
    assert pack(raw).raw() == without_noise(raw, status=False)
    assert pack(raw | {"spec": {"a": 2, "b": "ü"}}) != pack(raw)
    first = pack({"metadata": {"namespace": "n", "name": "a", "uid": "z"}})
    assert sorted([pack(raw), first]) == [first, pack(raw)]


def test_noise_is_not_stored() -> None:
    raw = {
        "metadata": {"name": "n", "resourceVersion": "5", "managedFields": [{}], "generation": 2},
        "spec": {"a": 1},
        "status": {"b": 2},
    }
    assert without_noise(raw, status=False) == {"metadata": {"name": "n", "generation": 2}, "spec": {"a": 1}}
    assert without_noise(raw, status=True)["status"] == {"b": 2}
