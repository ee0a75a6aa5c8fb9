"""A director that comes back and takes its addresses again: which connections live on, and which it can not know."""

from collections.abc import Iterator
from functools import partial

import pytest

from lvs_lab.waiting import wait_for
from support.director_pair import DirectorPair
from support.fault_lab import DIRECTORS, NAME, SERVICE, fault_lab, wait_whole
from support.held_connections import sync_roles
from support.taken_back import CONNECTIONS, DELAY_SECONDS, TakenBack, Traffic, take_back

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(900)]

FIRST, SECOND = DIRECTORS
SYNCED = {"connectionSync": {"interface": "eth0", "syncId": 67}}
ROLE_SECONDS = 30.0
ALL = dict.fromkeys(Traffic, CONNECTIONS)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DirectorPair]:
    with fault_lab("preemption", tmp_path_factory.mktemp("preemption")) as pair:
        yield pair


@pytest.fixture
def pair(lab: DirectorPair) -> Iterator[DirectorPair]:
    wait_whole(lab)
    lab.deployment.patch("lvsdg", NAME, {"vrrp": {"preemption": {"delaySeconds": DELAY_SECONDS}}})
    yield lab
    lab.deployment.lab.repair()
    lab.deployment.patch("lvsdg", NAME, {"vrrp": {"preemption": None}, "connectionSync": None, "sysctls": None})
    lab.deployment.patch("lvsvs", NAME, {"scheduler": "rr", "schedulerFlags": None})
    lab.deployment.lab.guest(SECOND).out("sysctl", "--write", "net.ipv4.vs.sync_threshold=3 50")


def in_force(pair: DirectorPair) -> None:
    pair.deployment.wait_condition(NAME, "SettingsApplied", "True", "SettingsApplied", kind="lvsdg")
    pair.deployment.wait_ready(NAME)
    pair.wait_settled(FIRST)


def wait_role(pair: DirectorPair, name: str, role: str) -> None:
    guest = pair.deployment.lab.guest(name)
    wait_for(lambda: sync_roles(guest) == [role], ROLE_SECONDS, f"the sync daemon of {name} to be {role}")


def schedules_by_mh(pair: DirectorPair, name: str) -> bool:
    return pair.deployment.table(name)[SERVICE].scheduler == "mh"


def with_sync(pair: DirectorPair, *, expected: list[Traffic]) -> TakenBack:
    """With the daemons running; the one that comes back is ready when it listens, and the other one tells."""
    for name, role in ((FIRST, "master"), (SECOND, "backup")):
        wait_role(pair, name, role)

    def come_back() -> None:
        pair.deployment.ensure_running()
        for name, role in ((FIRST, "backup"), (SECOND, "master")):
            wait_role(pair, name, role)

    return take_back(pair, come_back, are_told=True, expected=expected)


def test_with_connection_sync_it_knows_what_passed_many_packets(pair: DirectorPair) -> None:
    """There is no bulk resync: what rests is lost, and so is what passed fewer packets than it takes to be told."""
    pair.deployment.patch("lvsdg", NAME, SYNCED)
    in_force(pair)
    found = with_sync(pair, expected=[Traffic.BUSY])
    print(f"rr with connectionSync: {found}")
    wanted = {Traffic.BUSY: CONNECTIONS, Traffic.SELDOM: 0, Traffic.IDLE: 0}
    assert (found.told, found.alive) == (wanted, wanted)


def test_with_each_packet_told_it_knows_what_passed_any(pair: DirectorPair) -> None:
    """Told with the first packet after `syncRefreshPeriod`, not with each 50th: the keep-alives of idle ones do."""
    pair.deployment.lab.guest(SECOND).out("sysctl", "--write", "net.ipv4.vs.sync_threshold=3 0")
    pair.deployment.patch("lvsdg", NAME, {**SYNCED, "sysctls": {"syncRefreshPeriod": 2}})
    in_force(pair)
    found = with_sync(pair, expected=[Traffic.BUSY, Traffic.SELDOM])
    print(f"rr with connectionSync, sync_threshold 3 0, syncRefreshPeriod 2: {found}")
    assert [found.told[one] for one in (Traffic.BUSY, Traffic.SELDOM)] == [CONNECTIONS, CONNECTIONS]
    assert found.alive == ALL


def test_with_mh_and_sloppy_tcp_it_needs_to_know_nothing(pair: DirectorPair) -> None:
    """The same real servers are in use, so the hash finds for each connection the one that it was at."""
    pair.deployment.patch("lvsdg", NAME, {"sysctls": {"sloppyTcp": True}})
    pair.deployment.patch("lvsvs", NAME, {"scheduler": "mh", "schedulerFlags": ["mh-port"]})
    in_force(pair)
    for name in DIRECTORS:
        wait_for(partial(schedules_by_mh, pair, name), ROLE_SECONDS, f"{name} to schedule by mh")
    found = take_back(pair, pair.deployment.ensure_running, are_told=False, expected=[])
    print(f"mh with sloppyTcp: {found}")
    assert found.alive == ALL
    assert found.told == dict.fromkeys(Traffic, 0), "it was told"
