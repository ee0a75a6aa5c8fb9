"""What agent and supervisor of the VRRP daemon know of one another, where they are not of one version."""

from ipaddress import IPv4Address
from pathlib import Path

from lvs_agent.decide.heard_adverts import Manner, Sender
from lvs_agent.decide.virtual_routers import DaemonWord
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
