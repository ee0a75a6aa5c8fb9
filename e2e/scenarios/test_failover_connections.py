"""Long connections outlive the director that carries them: told to the other one, or found again without a word."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from lvs_lab.waiting import wait_for
from support.director_pair import DirectorPair
from support.fault_lab import DIRECTORS, NAME, SERVERS, SERVICE, VIP, fault_lab, must_be_settled, wait_whole
from support.traffic import HeldConnection

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(900)]

CONNECTIONS = 40
TOLD_SECONDS = 20.0
"""The kernel sends what it has to tell every two seconds at the latest; the rest is for a busy machine."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DirectorPair]:
    with fault_lab("connections", tmp_path_factory.mktemp("connections")) as pair:
        yield pair


@pytest.fixture
def pair(lab: DirectorPair) -> Iterator[DirectorPair]:
    lab.deployment.patch("lvsvs", NAME, {"scheduler": "rr", "schedulerFlags": None})
    wait_whole(lab)
    yield lab
    lab.deployment.lab.repair()
    lab.deployment.patch("lvsdg", NAME, {"connectionSync": None, "sysctls": None})


def in_force(pair: DirectorPair) -> None:
    pair.deployment.wait_condition(NAME, "SettingsApplied", "True", "SettingsApplied", kind="lvsdg")


def known(pair: DirectorPair, node: str) -> dict[str, str]:
    """Established connections to the VIP: the client's end, and the real server."""
    rows = [line.split() for line in pair.deployment.lab.guest(node).out("ipvsadm", "-Lnc").splitlines()]
    return {row[3]: row[5] for row in rows if row[0] == "TCP" and row[2] == "ESTABLISHED" and row[4] == f"{VIP}:80"}


def held(pair: DirectorPair, stack: ExitStack) -> dict[str, tuple[HeldConnection, str]]:
    """Connections of a client by its end, each with the real server that answers on it."""
    namespace = pair.deployment.client_namespace("ff-client")
    made = [stack.enter_context(HeldConnection(namespace, VIP)) for _ in range(CONNECTIONS)]
    found = {one.source: (one, one.ask()) for one in made}
    assert {server for _, server in found.values()} == set(SERVERS), "all of them at one real server prove nothing"
    return found


def die(pair: DirectorPair) -> None:
    """The Master loses its power, and the other one is Master."""
    pair.deployment.lab.guest(DIRECTORS[0]).power_off()
    pair.wait_master(DIRECTORS[1])


def must_all_live(connections: dict[str, tuple[HeldConnection, str]]) -> None:
    """Each goes on at its real server."""
    lost = []
    for one, server in connections.values():
        try:
            now = one.ask()
        except (OSError, EOFError) as error:
            lost.append(f"{one.source}: {error!r}")
        else:
            assert now == server, one.source
    print(f"{len(connections) - len(lost)} of {len(connections)} connections live on at the other director")
    assert lost == []


def test_connections_that_the_other_director_was_told_of(pair: DirectorPair) -> None:
    """With VRRP the Master tells; when another one is Master, that one does."""
    pair.deployment.patch("lvsdg", NAME, {"connectionSync": {"interface": "eth0", "syncId": 67}})
    in_force(pair)
    with ExitStack() as stack:
        connections = held(pair, stack)
        wanted = {source: f"{SERVERS[server]}:80" for source, (_, server) in connections.items()}
        wait_for(
            lambda: wanted.items() <= known(pair, DIRECTORS[1]).items(), TOLD_SECONDS, f"{DIRECTORS[1]} to be told"
        )
        die(pair)
        must_all_live(connections)
    wait_role(pair, DIRECTORS[1], "master")
    pair.deployment.lab.guest(DIRECTORS[0]).power_on()
    pair.deployment.ensure_running()
    must_be_settled(pair, DIRECTORS[1])
    wait_role(pair, DIRECTORS[0], "backup")


def wait_role(pair: DirectorPair, node: str, role: str) -> None:
    """Wait until this is the one sync daemon of a director."""

    def roles() -> list[str]:
        lines = pair.deployment.lab.guest(node).out("ipvsadm", "-L", "--daemon").splitlines()
        return [line.split(maxsplit=1)[0] for line in lines]

    wait_for(lambda: roles() == [role], TOLD_SECONDS, f"the sync daemon of {node} to be {role}")


def test_connections_that_are_found_again_by_their_hash(pair: DirectorPair) -> None:
    """Nobody tells anything: mh chooses the same real server, and sloppy_tcp takes up what began elsewhere."""
    pair.deployment.patch("lvsdg", NAME, {"sysctls": {"sloppyTcp": True}})
    pair.deployment.patch("lvsvs", NAME, {"scheduler": "mh", "schedulerFlags": ["mh-port"]})
    in_force(pair)
    for node in DIRECTORS:
        scheduler = partial(lambda one: pair.deployment.table(one)[SERVICE].scheduler, node)
        wait_for(lambda shown=scheduler: shown() == "mh", TOLD_SECONDS, f"{node} to schedule by mh")  # type: ignore[misc]  # mypy infers no lambda with a default
    with ExitStack() as stack:
        connections = held(pair, stack)
        assert not known(pair, DIRECTORS[1]).keys() & connections.keys(), "it was told"
        die(pair)
        must_all_live(connections)
        assert connections.keys() <= known(pair, DIRECTORS[1]).keys()
