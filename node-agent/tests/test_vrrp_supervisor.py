"""The supervisor of the VRRP daemon, with a program in keepalived's place that takes and says what keepalived does."""

import fcntl
import logging
import os
import signal
import threading
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from agent_world import full_disk
from supervised_place import BOOT, OTHER, ROUTER, STRANGER, VIP, Place
from waiting_for import until

from lvs_agent.decide.heard_adverts import SHORTEST_SECONDS, Advert, Manner, Sender
from lvs_agent.decide.virtual_routers import DaemonWord, RouterKey, WantedVrrp
from lvs_agent.errors import StateFileDamaged, VrrpSupervisorRuns
from lvs_agent.vrrp.shared_directory import VrrpDirectory, digest_of
from lvs_agent.vrrp.supervisor import LONGEST_DELAY
from lvs_api.lvs_node import VirtualRouterState
from lvs_api.network_types import Family


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_it_runs_keepalived_by_what_is_wanted_and_says_what_it_does(place: Place) -> None:
    wanted = place.config(str(ROUTER))
    async with place.supervised():
        place.directory.write_wanted(wanted)
        word = await place.wait_master(wanted)
        assert place.directory.has_supervisor()
        assert (word.version, word.trouble, word.refused, word.restarts) == ("v2.3.3", "", None, 0)
        assert word.routers[ROUTER].changes == 1
        assert word.routers[ROUTER].since.endswith("Z")
        assert word.pid is not None
        assert place.directory.read_bound() == {VIP}
    assert is_gone(word.pid)
    last = place.directory.read_word()
    assert last is not None
    assert (last.pid, last.accepted, dict(last.routers)) == (None, None, {})
    assert place.directory.read_bound() == frozenset()


async def test_it_tells_who_else_sends_adverts_until_they_stay_away(place: Place) -> None:
    manner = Manner(2, by_multicast=True, interval_seconds=1, password="1111")
    stranger = Sender("eth0", 55, IPv4Address("192.168.65.66"), manner)
    wanted = place.config(str(ROUTER))
    async with place.supervised():
        place.directory.write_wanted(wanted)
        await place.wait_master(wanted)
        place.adverts.waiting.append(Advert(stranger, 1.0))
        word = await place.wait(lambda word: word.senders == {stranger})
        assert word.routers[ROUTER].state is VirtualRouterState.MASTER
        place.later(SHORTEST_SECONDS)
        await place.wait(lambda word: not word.senders)


async def test_without_a_word_of_this_boot_nothing_starts(place: Place) -> None:
    VrrpDirectory(place.directory.path, "boot-0").write_wanted(place.config(str(ROUTER)))
    async with place.supervised():
        assert await place.wait(bool) == DaemonWord()
        place.directory.write_wanted(place.config("default.9v4"))
        word = await place.wait(lambda word: bool(word.routers))
        assert {key.id for key in word.routers} == {9}


async def test_a_change_is_read_by_the_same_process(place: Place) -> None:
    first, second = place.config(str(ROUTER), "default.56v4"), place.config(str(ROUTER), binds=frozenset({OTHER}))
    async with place.supervised():
        place.directory.write_wanted(first)
        before = await place.wait_master(first, RouterKey("default", 56, Family.IPV4))
        place.directory.write_wanted(second)
        after = await place.wait(lambda word: word.accepted == digest_of(second) and len(word.routers) == 1)
        assert (after.pid, after.restarts) == (before.pid, 0)
        # What the former configuration bound is remembered until keepalived has surely let go of it.
        assert place.directory.read_bound() == {VIP, OTHER}


async def test_a_refused_configuration_changes_nothing_and_is_told(place: Place) -> None:
    good, bad = place.config(str(ROUTER)), place.config(str(ROUTER), extra="nonsense 1")
    async with place.supervised():
        place.directory.write_wanted(good)
        before = await place.wait_master(good)
        place.directory.write_wanted(bad)
        word = await place.wait(lambda word: word.refused == digest_of(bad))
        assert "nonsense" in word.refusal
        assert (word.accepted, word.pid) == (digest_of(good), before.pid)
        place.directory.write_wanted(good)
        assert (await place.wait(lambda word: word.refused is None)).pid == before.pid


async def test_a_first_configuration_that_is_refused_starts_nothing(place: Place) -> None:
    bad = place.config(str(ROUTER), extra="nonsense 1")
    async with place.supervised():
        place.directory.write_wanted(bad)
        word = await place.wait(lambda word: word.refused is not None)
        assert (word.accepted, word.pid) == (None, None)


async def test_a_configuration_that_was_refused_is_tested_again_after_a_while(place: Place) -> None:
    busy = place.program.with_name(place.program.name + ".busy")
    busy.touch()
    wanted = place.config(str(ROUTER))
    async with place.supervised():
        place.directory.write_wanted(wanted)
        await place.wait(lambda word: word.refused == digest_of(wanted))
        busy.unlink()
        place.later(LONGEST_DELAY)
        assert (await place.wait_master(wanted)).refused is None


async def test_a_killed_keepalived_is_started_again_after_its_addresses_went(place: Place) -> None:
    wanted = place.config(str(ROUTER))
    async with place.supervised():
        place.directory.write_wanted(wanted)
        word = await place.wait_master(wanted)
        assert word.pid is not None
        place.bind(VIP)
        place.bind(STRANGER)
        os.kill(word.pid, signal.SIGKILL)
        after = await place.wait(lambda word: word.restarts == 1 and bool(word.routers))
        assert after.pid not in {None, word.pid}
        assert place.bound() == {"192.168.65.129"}
        assert place.directory.read_bound() == {VIP}


async def test_it_is_not_started_again_before_its_addresses_went(place: Place) -> None:
    wanted = place.config(str(ROUTER))
    async with place.supervised():
        place.directory.write_wanted(wanted)
        word = await place.wait_master(wanted)
        assert word.pid is not None
        place.bind(VIP)
        place.links.silences = 2
        os.kill(word.pid, signal.SIGKILL)
        await place.wait(lambda word: word.restarts == 1 and bool(word.routers))
        assert (place.links.silences, place.bound()) == (0, set())


async def test_one_that_ends_at_once_is_tried_again_within_bounds(place: Place) -> None:
    async with place.supervised():
        place.directory.write_wanted(place.config(str(ROUTER), extra="collapse"))
        word = await place.wait(lambda word: word.restarts >= 2)
        assert "ended by itself, with 3" in (await place.wait(lambda word: bool(word.trouble))).trouble
        good = place.config(str(ROUTER))
        place.directory.write_wanted(good)
        assert (await place.wait_master(good)).trouble == ""
        assert word.restarts >= 2


async def test_without_virtual_routers_keepalived_ends(place: Place) -> None:
    wanted = place.config(str(ROUTER))
    async with place.supervised():
        place.directory.write_wanted(wanted)
        running = await place.wait_master(wanted)
        place.directory.write_wanted(WantedVrrp())
        word = await place.wait(lambda word: word.accepted == digest_of(WantedVrrp()))
        assert (word.pid, dict(word.routers), word.restarts) == (None, {}, 0)
        assert running.pid is not None
        assert is_gone(running.pid)


async def test_what_the_agent_has_taken_back_is_not_swept(place: Place) -> None:
    wanted = place.config(str(ROUTER))
    async with place.supervised():
        place.directory.write_wanted(wanted)
        await place.wait_master(wanted)
        place.bind(VIP)
        place.directory.write_wanted(WantedVrrp())
        await place.wait(lambda word: word.accepted == digest_of(WantedVrrp()))
    assert place.bound() == {str(VIP.address)}
    assert place.directory.read_bound() == frozenset()


async def test_what_a_killed_supervisor_left_is_ended_and_swept(place: Place) -> None:
    wanted = place.config(str(ROUTER))
    place.directory.path.mkdir()
    os.mkfifo(place.directory.places.notify_fifo)
    left = place.keepalived()
    left.place(wanted.text)
    await left.start()
    pid = left.pid
    assert pid is not None
    await until((place.directory.path / "keepalived.pid").exists)
    place.directory.write_bound(frozenset({VIP, OTHER}))
    place.bind(VIP)
    place.bind(STRANGER)
    place.directory.write_wanted(wanted)
    async with place.supervised():
        word = await place.wait_master(wanted)
        assert word.pid != pid
        assert await left.ended() == 0
        assert place.bound() == {"192.168.65.129"}


async def test_a_missing_program_is_told_and_tried_again(place: Place, tmp_path: Path) -> None:
    absent = tmp_path / "not-there"
    wanted = place.config(str(ROUTER))
    async with place.supervised(str(absent)):
        place.directory.write_wanted(wanted)
        word = await place.wait(lambda word: bool(word.trouble))
        assert "install keepalived" in word.trouble
        place.program.rename(absent)
        assert (await place.wait_master(wanted)).trouble == ""


async def test_a_directory_has_one_supervisor(place: Place) -> None:
    assert not place.directory.has_supervisor()
    async with place.supervised():
        await place.wait(bool)
        second = VrrpDirectory(place.directory.path, BOOT)
        assert second.has_supervisor()
        with pytest.raises(VrrpSupervisorRuns, match="--vrrp-dir"):
            second.acquire()
    assert not place.directory.has_supervisor()


async def test_a_full_disk_is_told_once_and_the_last_state_when_there_is_room(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    wanted = place.config(str(ROUTER))
    async with place.supervised():
        place.directory.write_wanted(wanted)
        await place.wait_master(wanted)
        caplog.clear()
        with full_disk():
            for state in ("BACKUP", "FAULT"):
                place.tell(f'INSTANCE "{ROUTER}" {state} 100\n')
                said = f"{ROUTER} is {VirtualRouterState(state.title())}"
                await until(lambda said=said: said in caplog.messages)
        await place.wait(lambda word: word.routers[ROUTER].state is VirtualRouterState.FAULT)
    assert len([one for one in caplog.records if one.levelno == logging.WARNING]) == 1


async def test_who_only_looks_keeps_no_supervisor_out(place: Place) -> None:
    place.directory.path.mkdir()
    looks = os.open(place.directory.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(looks, fcntl.LOCK_SH)
    over = threading.Timer(0.05, os.close, [looks])
    over.start()
    place.directory.acquire()
    over.join()
    place.directory.release()


async def test_a_damaged_word_of_the_agent_stops_nothing(place: Place) -> None:
    wanted = place.config(str(ROUTER))
    async with place.supervised():
        place.directory.write_wanted(wanted)
        before = await place.wait_master(wanted)
        (place.directory.path / "wanted").write_text("no", encoding="ascii")
        with pytest.raises(StateFileDamaged):
            place.directory.read_wanted()
        other = place.config(str(ROUTER), "default.56v4")
        place.directory.write_wanted(other)
        assert (await place.wait_master(other)).pid == before.pid
