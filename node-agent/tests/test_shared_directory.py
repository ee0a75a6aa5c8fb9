"""What agent and supervisor of the VRRP daemon know of one another, where they are not of one version; their lock."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lvs_agent.decide.heard_adverts import Manner, Sender
from lvs_agent.decide.virtual_routers import DaemonWord
from lvs_agent.errors import VrrpSupervisorRuns
from lvs_agent.vrrp import shared_directory
from lvs_agent.vrrp.shared_directory import VrrpDirectory

MANNER = Manner(2, by_multicast=False, interval_seconds=1, password="1111")
SPEAKS = Sender("eth0", 55, IPv4Address("192.168.4.6"), MANNER)
SPOKE = Sender("eth0", 55, IPv4Address("192.168.4.6"), Manner(3, by_multicast=True))


def test_in_which_manner_others_speak_is_told_whole(tmp_path: Path) -> None:
    directory = VrrpDirectory(tmp_path, "boot")
    word = DaemonWord(senders=frozenset({SPEAKS, SPOKE}))
    directory.write_word(word)
    assert directory.read_word() == word


def test_a_supervisor_of_an_older_version_tells_no_manner(tmp_path: Path) -> None:
    directory = VrrpDirectory(tmp_path, "boot")
    directory.write_word(DaemonWord(senders=frozenset({SPEAKS})))
    said = directory._read("state")
    assert said is not None
    assert [len(row) for row in said["senders"]] == [3], "an agent of an older version reads three of each"
    directory._write("state", {name: what for name, what in said.items() if name not in ("bootID", "manners")})
    word = directory.read_word()
    assert word is not None
    assert word.senders == {SPEAKS._replace(manner=None)}


def test_nobody_begins_to_supervise_while_an_agent_takes_something_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_directory, "_TRIES", 2)
    of_agent, of_supervisor = VrrpDirectory(tmp_path, "boot"), VrrpDirectory(tmp_path, "boot")
    with of_agent.unsupervised() as nobody:
        assert not nobody, "nobody was ever there, so nobody left anything"
    of_supervisor.acquire()
    with of_agent.unsupervised() as nobody:
        assert not nobody
    assert of_agent.has_supervisor()
    of_supervisor.release()
    with of_agent.unsupervised() as nobody:
        assert nobody
        with pytest.raises(VrrpSupervisorRuns):
            of_supervisor.acquire()
    assert not of_agent.has_supervisor()
    of_supervisor.acquire()
    of_supervisor.release()


def test_a_supervisor_that_begins_waits_for_an_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_agent, of_supervisor = VrrpDirectory(tmp_path, "boot"), VrrpDirectory(tmp_path, "boot")
    of_supervisor.acquire()
    of_supervisor.release()
    taking_off = of_agent.unsupervised()
    assert taking_off.__enter__()
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 40:
            taking_off.__exit__(None, None, None)

    monkeypatch.setattr(shared_directory.time, "sleep", wait)
    of_supervisor.acquire()
    assert len(waits) == 40
    assert sum(waits) > 0.5
    of_supervisor.release()
