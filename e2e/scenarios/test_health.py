"""Checks move weights: servers that stop, hang, answer wrongly; and what must not move them."""

from collections import Counter

import pytest

from lvs_lab.waiting import wait_for
from support.deployment import Deployment
from support.neighbours import claimants
from support.quick_start import (
    HEALTH_BOUND,
    KEY,
    RETURN_BOUND,
    SERVERS,
    VIP,
    active_director,
    client,
    quick_shape,
    replies,
)
from support.traffic import HeldConnection, answers, steady_requests

pytestmark = pytest.mark.lab
DIRECTORS = ("director-1", "director-2")
ENTRY = f"{SERVERS['server-3']}:80"
CHECK = {"intervalSeconds": 1, "timeoutSeconds": 1, "rise": 2, "fall": 3}


def test_stopped_server_gets_nothing_until_it_is_back(web: Deployment) -> None:
    web.lab.machine("server-3").server(port=80).stop()
    for director in DIRECTORS:
        web.wait_weight(director, KEY, ENTRY, 0, deadline=HEALTH_BOUND)
    assert replies(web, 30) == Counter({"server-1": 15, "server-2": 15})
    wait_for(lambda: counts(web) == {"total": 3, "ready": 2, "draining": 0}, 12, "the counts", interval=0.5)
    web.lab.machine("server-3").serve(port=80)
    for director in DIRECTORS:
        web.wait_weight(director, KEY, ENTRY, 1, deadline=RETURN_BOUND)
    assert replies(web, 30) == Counter(dict.fromkeys(SERVERS, 10))
    wait_for(lambda: counts(web) == {"total": 3, "ready": 3, "draining": 0}, 12, "the counts", interval=0.5)


def counts(web: Deployment) -> dict[str, int]:
    found: dict[str, int] = web.get("lvsvs", "web")["status"]["realServers"]
    return found


def test_connections_outlive_a_failed_check(web: Deployment) -> None:
    """ZeroWeight: a server whose check page fails keeps the connections that it has."""
    connections = [HeldConnection(web.client_namespace("client"), VIP) for _ in range(3)]
    before = [connection.ask() for connection in connections]
    web.patch("lvspool", "web", {"healthCheck": {**CHECK, "http": {"path": "/status/503"}}})
    for director in DIRECTORS:
        web.wait_shape(director, quick_shape(weights=dict.fromkeys(SERVERS, 0)), deadline=HEALTH_BOUND + 3)
    assert [connection.ask() for connection in connections] == before
    web.wait_condition("web", "Ready", "False", "NoMemberReady")
    assert not answers(client(web), VIP)
    for connection in connections:
        connection.close()


def test_hanging_server_times_out(web: Deployment) -> None:
    """The kernel of a hanging server still accepts connections; only an answer counts."""
    server = web.lab.machine("server-3").server(port=80)
    server.pause()
    try:
        web.wait_weight(active_director(web), KEY, ENTRY, 0, deadline=HEALTH_BOUND + 1)
    finally:
        server.resume()
    web.wait_weight(active_director(web), KEY, ENTRY, 1, deadline=RETURN_BOUND)


def test_failed_server_is_removed_where_the_pool_says_so(web: Deployment) -> None:
    web.patch("lvspool", "web", {"onFailure": "Remove"})
    web.wait_ready("web")
    web.lab.machine("server-3").server(port=80).stop()
    active = active_director(web)
    web.wait_weight(active, KEY, ENTRY, None, deadline=HEALTH_BOUND)
    web.lab.machine("server-3").serve(port=80)
    web.wait_weight(active, KEY, ENTRY, 1, deadline=RETURN_BOUND)


def test_tcp_check(web: Deployment) -> None:
    web.patch("lvspool", "web", {"healthCheck": {**CHECK, "http": None, "tcp": {}}})
    web.wait_ready("web")
    web.lab.machine("server-3").server(port=80).stop()
    web.wait_weight(active_director(web), KEY, ENTRY, 0, deadline=HEALTH_BOUND)


def test_check_on_another_port(web: Deployment) -> None:
    web.patch("lvspool", "web", {"healthCheck": {**CHECK, "port": 8099, "http": {"path": "/"}}})
    active = active_director(web)
    web.wait_shape(active, quick_shape(weights=dict.fromkeys(SERVERS, 0)), deadline=HEALTH_BOUND + 3)
    server = web.lab.machine("server-1").serve(port=8099)
    web.wait_shape(active, quick_shape(weights={"server-1": 1, "server-2": 0, "server-3": 0}), deadline=RETURN_BOUND)
    server.stop()


def test_an_address_with_too_little_behind_it_is_withdrawn_where_the_service_says_so(web: Deployment) -> None:
    """Without VRRP the active director takes it off, stays the active one, and puts it back."""
    active = active_director(web)
    web.patch("lvsvs", "web", {"quorum": {"weight": 2, "below": "WithdrawAddress"}})
    web.wait_ready("web")

    def carried() -> bool:
        return any(f"{VIP}/32" in web.addresses(director, "eth0") for director in DIRECTORS)

    web.lab.machine("server-1").server(port=80).stop()
    web.wait_weight(active, KEY, f"{SERVERS['server-1']}:80", 0, deadline=HEALTH_BOUND)
    assert carried()
    web.lab.machine("server-2").server(port=80).stop()
    wait_for(lambda: not carried(), HEALTH_BOUND, "the address to go")
    web.wait_condition("web", "Ready", "False", "BelowQuorum")
    assert claimants(client(web), VIP) == set()
    assert active_director(web) == active
    web.lab.machine("server-2").serve(port=80)
    wait_for(carried, RETURN_BOUND + 3, "the address to be back")
    wait_for(lambda: answers(client(web), VIP), 10, f"{VIP} to answer")
    web.wait_condition("web", "Ready", "True", "MembersNotReady")


def test_dead_probe_process_changes_no_weight(web: Deployment) -> None:
    """Unknown is not down."""
    active = active_director(web)
    guest = web.lab.guest(active)
    with steady_requests(web.client_namespace("client"), VIP) as record:
        restarts = web.agent_metric(active, "lvs_agent_probe_restarts")
        before = guest.out("pgrep", "--full", "lvs_agent.probes").split()
        guest.out("kill", "-KILL", *before)

        def never_changed() -> None:
            assert web.shape(active) == quick_shape()

        wait_for(
            lambda: web.agent_metric(active, "lvs_agent_probe_restarts") > restarts,
            20,
            "the probes to be started again",
            always=never_changed,
        )
    assert record.failures == []
    # What was started again checks as before.
    web.lab.machine("server-3").server(port=80).stop()
    web.wait_weight(active, KEY, ENTRY, 0, deadline=HEALTH_BOUND)


def test_check_that_was_edited_begins_from_the_present_weight(web: Deployment) -> None:
    """A faster check of the same servers takes no weight away while it has not yet said anything."""
    with steady_requests(web.client_namespace("client"), VIP) as record:
        web.patch("lvspool", "web", {"healthCheck": {**CHECK, "intervalSeconds": 3, "rise": 5, "http": {"path": "/x"}}})
        pool = web.get("lvspool", "web")["metadata"]["generation"]

        def in_force() -> bool:
            slices = [web.get("lvsslice", name)["spec"] for name in web.names("lvsslice")]
            return any(one.get("pool", {}).get("generation") == pool for one in slices)

        def never_changed() -> None:
            for director in DIRECTORS:
                assert web.shape(director) == quick_shape()

        wait_for(in_force, 10, "the slices to carry the new check", always=never_changed)
        web.wait_ready("web")
        assert web.shape(active_director(web)) == quick_shape()
    assert record.failures == []
