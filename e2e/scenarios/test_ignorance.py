"""Unknown is not down: checks that die, hang, or get no answer take nobody out, and somebody says so."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lvs_lab.waiting import wait_for
from support.agent_state import restart_agent, wait_node_condition
from support.deployment import Deployment
from support.quick_start import (
    HEALTH_BOUND,
    KEY,
    RETURN_BOUND,
    SERVERS,
    VIP,
    active_director,
    quick_shape,
    quick_start_lab,
    restore,
)
from support.traffic import steady_requests

pytestmark = pytest.mark.lab
ENTRY = f"{SERVERS['server-3']}:80"
PROBES = "lvs_agent.probes"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with quick_start_lab("ignorance", tmp_path_factory.mktemp("ignorance")) as deployment:
        yield deployment


@pytest.fixture
def web(lab: Deployment) -> Iterator[Deployment]:
    yield lab
    restore(lab)


@contextmanager
def checks_unanswered(web: Deployment, director: str) -> Iterator[None]:
    """Drop what a director's checks send. Clients' packets, which pass the same hook, come from elsewhere."""
    guest = web.lab.guest(director)
    servers = ", ".join(SERVERS.values())
    guest.sh(
        "nft add table ip lab; nft add chain ip lab out '{ type filter hook output priority 0; }';"
        f"nft add rule ip lab out ip saddr {guest.ip} ip daddr '{{ {servers} }}' tcp dport 80 counter drop"
    )
    try:
        yield
    finally:
        guest.out("nft", "delete", "table", "ip", "lab")


def test_agent_restarted_with_every_check_unanswered(web: Deployment) -> None:
    active = active_director(web)
    with steady_requests(web.client_namespace("client"), VIP) as record:
        with checks_unanswered(web, active):
            restart_agent(web, active)
            wait_node_condition(web, active, "ChecksBlind", "ChecksUnanswered")
            unanswered = checks(web, active, "unanswered")
            wait_for(lambda: checks(web, active, "unanswered") > unanswered + 9, 30, "three more checks of each")
            assert checks(web, active, "passed") == checks(web, active, "failed") == 0
            assert web.shape(active) == quick_shape()
            assert f"{VIP}/32" in web.addresses(active, "eth0")
            assert web.agent_metric(active, "lvs_agent_kernel_writes_total") == 0
        wait_node_condition(web, active, "ChecksBlind", None)
        assert web.shape(active) == quick_shape()
        assert web.agent_metric(active, "lvs_agent_kernel_writes_total") == 0
    assert record.failures == []
    # One who hears believes: a server that stops loses its weight, silent or not.
    web.lab.machine("server-3").server(port=80).stop()
    web.wait_weight(active, KEY, ENTRY, 0, deadline=HEALTH_BOUND)


def checks(web: Deployment, director: str, result: str) -> float:
    return web.agent_metric(director, f'lvs_agent_checks_total{{result="{result}"}}')


def test_agent_that_has_heard_believes_silence(web: Deployment) -> None:
    """Also when all fall silent at once; and who has no weight gets none by a restart."""
    active = active_director(web)
    standby = next(name for name in ("director-1", "director-2") if name != active)
    none = quick_shape(weights=dict.fromkeys(SERVERS, 0))
    with checks_unanswered(web, standby):
        web.wait_shape(standby, none, deadline=HEALTH_BOUND + 1)
        restart_agent(web, standby)
        wait_node_condition(web, standby, "ChecksBlind", "ChecksUnanswered")
        assert web.shape(standby) == none
    # Weight comes back on a passing check and a fresh word of the real server's agent.
    web.wait_shape(standby, quick_shape(), deadline=RETURN_BOUND + 10)
    wait_node_condition(web, standby, "ChecksBlind", None)
    assert web.shape(active) == quick_shape()


def test_probes_killed_again_and_again_while_a_server_is_down(web: Deployment) -> None:
    active = active_director(web)
    guest = web.lab.guest(active)
    before = web.agent_metric(active, "lvs_agent_probe_restarts")
    web.lab.machine("server-3").server(port=80).stop()
    web.wait_weight(active, KEY, ENTRY, 0, deadline=HEALTH_BOUND)
    down = quick_shape(weights={"server-1": 1, "server-2": 1, "server-3": 0})
    with steady_requests(web.client_namespace("client"), VIP) as record:
        for kills in range(1, 6):
            guest.out("kill", "-KILL", *guest.out("pgrep", "--full", PROBES).split())

            def restarted(kills: int = kills) -> bool:
                assert web.shape(active) == down
                again = web.agent_metric(active, "lvs_agent_probe_restarts") >= before + kills
                return again and guest.exec(["pgrep", "--full", PROBES]).ok

            wait_for(restarted, 40, "the probes to be started again")
        assert web.agent_metric(active, "lvs_agent_probe_restarts") == before + 5
    assert record.failures == []
    # Verdicts come again, both ways.
    web.lab.machine("server-3").serve(port=80)
    web.wait_weight(active, KEY, ENTRY, 1, deadline=RETURN_BOUND + 10)
    web.lab.machine("server-3").server(port=80).stop()
    web.wait_weight(active, KEY, ENTRY, 0, deadline=HEALTH_BOUND)


def test_probes_that_did_not_run_have_missed_nothing(web: Deployment) -> None:
    """A process that is stopped finds its checks timed out when it goes on, though every server answered."""
    active = active_director(web)
    guest = web.lab.guest(active)
    (probes,) = guest.out("pgrep", "--full", PROBES).split()
    restarts = web.agent_metric(active, "lvs_agent_probe_restarts")
    with steady_requests(web.client_namespace("client"), VIP) as record:
        for _ in range(5):
            guest.sh(f"kill -STOP {probes}; sleep 2; kill -CONT {probes}")
            assert web.shape(active) == quick_shape()
        passed = checks(web, active, "passed")
        wait_for(lambda: checks(web, active, "passed") > passed + 3, 20, "checks to go on")
        assert web.shape(active) == quick_shape()
    assert web.agent_metric(active, "lvs_agent_probe_restarts") == restarts
    assert web.agent_metric(active, "lvs_agent_repairs_total") == 0
    assert record.failures == []


def test_checks_that_can_not_be_made_are_no_news(web: Deployment) -> None:
    """A director without file descriptors knows nothing of its real servers, and says so."""
    active = active_director(web)
    guest = web.lab.guest(active)
    (probes,) = guest.out("pgrep", "--full", PROBES).split()
    limit = guest.out("prlimit", "--pid", probes, "--nofile", "--output", "SOFT", "--noheadings").strip()
    guest.out("prlimit", "--pid", probes, "--nofile=3:")
    message = wait_node_condition(web, active, "ChecksBlind", "ChecksNotMade")
    assert "some checks can not be made (Too many open files)" in message
    web.lab.machine("server-3").server(port=80).stop()
    missed = checks(web, active, "not_made")
    wait_for(lambda: checks(web, active, "not_made") > missed + 15, 30, "five more checks of each")
    assert web.shape(active) == quick_shape()
    guest.out("prlimit", "--pid", probes, f"--nofile={limit}:")
    web.wait_weight(active, KEY, ENTRY, 0, deadline=HEALTH_BOUND)
    wait_node_condition(web, active, "ChecksBlind", None)
