"""What goes on when something is gone: an agent, the operator, the API server, a node's power."""

from collections.abc import Iterator

import pytest

from lvs_api.api_group import DEFAULT_NAMESPACE
from lvs_lab.lab import for_all
from lvs_lab.plain_deployment import AGENT_ACCOUNT
from lvs_lab.waiting import wait_for
from support.agent_state import wait_rounds
from support.chosen_agents import BOOTED_KUBELET
from support.deployment import GONE_SECONDS, Deployment, agent_options
from support.lab_looks import wait_until_not_ready
from support.neighbours import claimants, mac_of, wait_for_neighbour
from support.quick_start import (
    HEALTH_BOUND,
    KEY,
    RETURN_BOUND,
    SERVERS,
    VIP,
    active_director,
    client,
    quick_shape,
    quick_start_lab,
    replies,
    restore,
)
from support.traffic import HeldConnection, answers, cut_or_refused, steady_requests

pytestmark = pytest.mark.lab
DIRECTORS = ("director-1", "director-2")
ENTRY = f"{SERVERS['server-3']}:80"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with quick_start_lab("failure", tmp_path_factory.mktemp("failure")) as deployment:
        yield deployment


@pytest.fixture
def web(lab: Deployment) -> Iterator[Deployment]:
    yield lab
    restore(lab)


@pytest.mark.parametrize("signal_name", ["KILL", "TERM"])
def test_agents_restart_without_a_failed_request_or_a_kernel_write(web: Deployment, signal_name: str) -> None:
    active = active_director(web)
    with (
        steady_requests(web.client_namespace("client"), VIP) as record,
        HeldConnection(web.client_namespace("client"), VIP) as held,
    ):
        server = held.ask()
        nodes = [active, "server-1"]
        kernels = {node: (web.sysctls(node), web.addresses(node, "lo"), web.addresses(node, "eth0")) for node in nodes}
        for node in nodes:
            web.lab.agent(node).kill(signal_name)
        for node in nodes:
            assert (web.sysctls(node), web.addresses(node, "lo"), web.addresses(node, "eth0")) == kernels[node]
        assert web.shape(active) == quick_shape()
        # At once: a real server whose agent is away for longer than its Lease lasts loses its weight.
        for_all(nodes, web.start_agent)
        for node in nodes:
            wait_rounds(web, node)
            assert web.agent_metric(node, "lvs_agent_kernel_writes_total") == 0
        assert web.shape(active) == quick_shape()
        assert held.ask() == server
    assert record.failures == []


def test_killed_operator_changes_nothing_and_its_successor_goes_on(web: Deployment) -> None:
    with steady_requests(web.client_namespace("client"), VIP) as record:
        before = {name: web.get("lvsslice", name) for name in web.names("lvsslice")}
        web.operator.kill()
        with web.another_operator() as successor:
            # The dead one's Lease runs out first.
            wait_for(lambda: successor.leads, 60, "the successor to lead")
            web.patch("lvspool", "web", {"weight": 4})
            for director in DIRECTORS:
                web.wait_shape(director, quick_shape(weights=dict.fromkeys(SERVERS, 4)))
            after = {name: web.get("lvsslice", name) for name in web.names("lvsslice")}
            assert {name: one["metadata"]["uid"] for name, one in after.items()} == {
                name: one["metadata"]["uid"] for name, one in before.items()
            }
            web.patch("lvspool", "web", {"weight": 1})
            for director in DIRECTORS:
                web.wait_shape(director, quick_shape())
            assert successor.terminate() == 0
        web.restart_operator()
    assert record.failures == []


def test_without_api_server_traffic_and_checks_go_on(web: Deployment) -> None:
    active = active_director(web)
    plane = web.lab.control_plane
    with steady_requests(web.client_namespace("client"), VIP) as record:
        plane.stop()
        web.lab.machine("server-3").server(port=80).stop()
        for director in DIRECTORS:
            web.wait_weight(director, KEY, ENTRY, 0, deadline=HEALTH_BOUND)
        web.lab.machine("server-3").serve(port=80)
        for director in DIRECTORS:
            web.wait_weight(director, KEY, ENTRY, 1, deadline=RETURN_BOUND)
        web.lab.guest(active).out("ipvsadm", "-C")
        web.wait_shape(active, quick_shape(), deadline=5)
        plane.start("kube-apiserver")
        plane.wait_until_ready()
    # The stopped server and the cleared table cut or refuse what they get; nothing may go unanswered.
    assert [failure for failure in record.failures if not cut_or_refused(failure)] == []
    web.patch("lvspool", "web", {"weight": 3})
    for director in DIRECTORS:
        web.wait_shape(director, quick_shape(weights=dict.fromkeys(SERVERS, 3)))


@pytest.mark.processes(BOOTED_KUBELET)
def test_director_boots_without_api_server(web: Deployment) -> None:
    """It serves from its last view."""
    active = active_director(web)
    kubeconfig = web.lab.agent_kubeconfig(active, AGENT_ACCOUNT, DEFAULT_NAMESPACE)
    guest = web.lab.guest(active)
    web.lab.control_plane.stop()
    guest.power_off()
    assert not answers(client(web), VIP)
    guest.power_on()
    web.lab.agent(active).start(kubeconfig=kubeconfig, options=agent_options())
    web.wait_shape(active, quick_shape(), deadline=30)
    wait_for(lambda: answers(client(web), VIP), 20, f"{VIP} to answer again")
    assert set(replies(web, 30)) == set(SERVERS)


@pytest.mark.processes(BOOTED_KUBELET)
def test_real_server_boots_without_api_server(web: Deployment) -> None:
    """It is silent before it is bound, and takes what the directors send it."""
    active = active_director(web)
    kubeconfig = web.lab.agent_kubeconfig("server-3", AGENT_ACCOUNT, DEFAULT_NAMESPACE)
    guest = web.lab.guest("server-3")
    web.lab.control_plane.stop()
    guest.power_off()
    web.wait_weight(active, KEY, ENTRY, 0, deadline=HEALTH_BOUND)
    with client(web).capture("arp") as capture:
        guest.power_on()
        web.lab.agent("server-3").start(kubeconfig=kubeconfig, options=agent_options())
        wait_for(lambda: f"{VIP}/32" in web.addresses("server-3", "lo"), 30, "server-3 to bind the VIP")
        assert claimants(client(web), VIP) == {mac_of(web.lab.guest(active))}
        told = [line for line in capture.lines() if f"Reply {VIP} is-at" in line]
    assert {line.split("is-at ")[1].split(",")[0] for line in told} == {mac_of(web.lab.guest(active))}


def test_persistent_client_leaves_a_failed_server(web: Deployment) -> None:
    web.patch("lvsvs", "web", {"persistence": {"timeoutSeconds": 600}})
    sticky = {f"{KEY} rr persistent 600": quick_shape()[f"{KEY} rr"]}
    for director in DIRECTORS:
        web.wait_shape(director, sticky)
    (server,) = replies(web, 5)
    web.lab.machine(server).server(port=80).stop()
    web.wait_weight(active_director(web), KEY, f"{SERVERS[server]}:80", 0, deadline=HEALTH_BOUND)
    (other,) = replies(web, 5)
    assert other != server


def test_node_without_power_leaves_and_returns(web: Deployment) -> None:
    active = active_director(web)
    guest = web.lab.guest("server-3")
    guest.power_off()
    web.wait_weight(active, KEY, ENTRY, 0, deadline=HEALTH_BOUND)
    assert set(replies(web, 30)) == {"server-1", "server-2"}
    wait_until_not_ready(web.lab, "server-3")
    guest.power_on()
    web.lab.machine("server-3").serve(port=80)
    web.start_agent("server-3")
    web.wait_weight(active, KEY, ENTRY, 1, deadline=GONE_SECONDS)
    assert f"{VIP}/32" in web.addresses("server-3", "lo")


def test_active_director_does_not_change_by_itself(web: Deployment) -> None:
    """Without fail-over an address moves only when its holder has let go or is known to be off."""
    active = active_director(web)
    standby = next(name for name in DIRECTORS if name != active)
    gateway = web.lab.machine("gateway")
    assert answers(gateway, VIP)
    wait_for_neighbour(gateway, VIP, mac_of(web.lab.guest(active)), deadline=5)
    web.lab.guest(active).power_off()

    def never_moved() -> None:
        assert active_director(web) == active

    wait_until_not_ready(web.lab, active, always=never_moved)
    web.lab.kubectl("taint", "node", active, "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute")
    wait_for(lambda: active_director(web) == standby, 20, f"{standby} to be active")
    # The gateway asks nobody meanwhile: it is told.
    wait_for_neighbour(gateway, VIP, mac_of(web.lab.guest(standby)), deadline=20)
    wait_for(lambda: answers(client(web), VIP), 20, f"{VIP} to answer from {standby}")
    with client(web).capture("arp") as capture:
        web.lab.guest(active).power_on()
        web.start_agent(active)
        web.lab.kubectl("taint", "node", active, "node.kubernetes.io/out-of-service-")
        web.wait_shape(active, quick_shape())
        assert active_director(web) == standby
        assert claimants(client(web), VIP) == {mac_of(web.lab.guest(standby))}
        told = [line for line in capture.lines() if f"Reply {VIP} is-at" in line]
    # Its last view says that it is the one: it asks before it believes that.
    assert {line.split("is-at ")[1].split(",")[0] for line in told} == {mac_of(web.lab.guest(standby))}
    assert f"{VIP}/32" not in web.addresses(active, "eth0")
