"""A real server that comes back gets weight when it carries the VIP again, and not before."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from lvs_agent.decide.node_word import MAX_WORD
from lvs_agent.objects.heartbeat import DURATION_SECONDS
from lvs_api.api_group import DEFAULT_NAMESPACE
from lvs_lab.lab_machine import Capture
from lvs_lab.plain_deployment import AGENT_ACCOUNT
from lvs_lab.waiting import wait_for
from support.deployment import Deployment, agent_options
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
    restore,
)
from support.traffic import cut_or_refused, steady_requests

pytestmark = pytest.mark.lab
DIRECTORS: Final = ("director-1", "director-2")
SERVER: Final = "server-3"
ENTRY: Final = f"{SERVERS[SERVER]}:80"
WORD_PORT: Final = 9462
AGENT_SECONDS: Final = 40.0
"""For an agent to start, bind and be believed on a busy machine."""
LEASE_SECONDS: Final = DURATION_SECONDS + 40.0
"""An agent's Lease, and room for the operator to look at it twice, and for a busy machine."""
FORGER: Final = """
import pathlib, socketserver

class Forger(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline() not in (b"\\r\\n", b""):
            pass
        try:
            self.wfile.write(pathlib.Path("/run/forged").read_bytes())
        except ConnectionError:
            pass

socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("", 9462), Forger).serve_forever()
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with quick_start_lab("word", tmp_path_factory.mktemp("word")) as deployment:
        yield deployment


@pytest.fixture
def web(lab: Deployment) -> Iterator[Deployment]:
    yield lab
    restore(lab)


@pytest.mark.parametrize("api_away", [False, True], ids=["API there", "API away"])
def test_power_cycled_server_waits_for_its_agent(web: Deployment, api_away: bool) -> None:
    """Its HTTP server is up long before its agent: it would send what it got for the VIP back to the director."""
    guest, agent = web.lab.guest(SERVER), web.lab.agent(SERVER)
    kubeconfig = web.lab.agent_kubeconfig(SERVER, AGENT_ACCOUNT, DEFAULT_NAMESPACE)
    use_new_ports(web)
    with steady_requests(web.client_namespace("client"), VIP):
        if api_away:
            web.lab.control_plane.stop()
        guest.power_off()
        wait_weights(web, 0, deadline=HEALTH_BOUND)
    # What comes by a connection from before the cut is not for weights to prevent, nor what uses its port again.
    wait_until_unused(web)
    use_new_ports(web)
    with steady_requests(web.client_namespace("client"), VIP) as record:
        guest.power_on()
        with forwarding(web), guest.capture("-Q", "out", "ip", "and", "dst", "host", VIP) as sent_back:
            with guest.capture(f"tcp[tcpflags] == tcp-syn and dst host {SERVERS[SERVER]} and dst port 80") as checks:
                guest.serve(port=80)
                wait_until_checked(web, checks, times=8)
            assert f"{VIP}/32" not in web.addresses(SERVER, "lo")
            agent.start(kubeconfig=kubeconfig, options=agent_options())
            wait_weights(web, 1, deadline=AGENT_SECONDS)
            assert f"{VIP}/32" in web.addresses(SERVER, "lo")
            wait_for(lambda: record.replies[SERVER] >= 10, 20, f"{SERVER} to answer clients")
            assert sent_back.lines() == []
    assert record.failures == []


@contextmanager
def forwarding(web: Deployment) -> Iterator[None]:
    """The server forwards what is not for it, as every node of a cluster with pods does."""
    web.lab.guest(SERVER).out("sysctl", "--write", "net.ipv4.ip_forward=1")
    yield
    web.lab.guest(SERVER).out("sysctl", "--write", "net.ipv4.ip_forward=0")


def weights(web: Deployment) -> list[int]:
    """The server's weight on each director."""
    return [web.table(director)[KEY].destinations[ENTRY].weight for director in DIRECTORS]


def without_weight(web: Deployment) -> None:
    assert weights(web) == [0, 0]


def wait_weights(web: Deployment, weight: int, *, deadline: float) -> None:
    for director in DIRECTORS:
        web.wait_weight(director, KEY, ENTRY, weight, deadline=deadline)


_ranges = iter(range(10000, 60000, 10000))


def use_new_ports(web: Deployment) -> None:
    """The client's connections come from ports that none had before: directors remember some for 15 minutes."""
    first = next(_ranges)
    client(web).out("sysctl", "--write", f"net.ipv4.ip_local_port_range={first} {first + 9999}")


def wait_until_unused(web: Deployment) -> None:
    """No socket of the client sends to the VIP any more."""
    client(web).out("sysctl", "--write", "net.ipv4.tcp_orphan_retries=1")
    states = ["syn-sent", "established", "fin-wait-1", "fin-wait-2", "close-wait", "last-ack", "closing"]
    asked = [word for state in states for word in ("state", state)]
    wait_for(
        lambda: not client(web).out("ss", "--no-header", "--tcp", "--numeric", *asked, "dst", VIP),
        40,
        "the client's connections to end",
        interval=0.5,
    )


def wait_until_checked(web: Deployment, checks: Capture, *, times: int) -> None:
    """Each director has checked the server so often since the capture began: far more than `rise`."""
    addresses = [web.lab.machine(director).ip for director in DIRECTORS]

    def seen() -> bool:
        counted = Counter(address for line in checks.lines() for address in addresses if f" {address}." in line)
        assert min(counted[address] for address in addresses) >= times, counted
        return True

    what = f"{times} checks of {SERVER} by each director"
    wait_for(seen, 40, what, interval=0.5, always=lambda: without_weight(web))


@pytest.mark.parametrize("method", ["DirectRouting", "Tunnel"])
def test_server_whose_agent_is_stopped_waits_for_it(web: Deployment, method: str) -> None:
    """Nothing is known of it while nobody answers there, though it has not lost the VIP."""
    word = {"DirectRouting": "Route", "Tunnel": "Tunnel"}[method]
    web.patch("lvsvs", "web", {"forwarding": {"method": method}})
    for director in DIRECTORS:
        web.wait_shape(director, quick_shape(method=word))
    with steady_requests(web.client_namespace("client"), VIP) as record:
        web.lab.agent(SERVER).kill("TERM")
        assert weights(web) == [1, 1]
        web.lab.machine(SERVER).server(port=80).stop()
        wait_weights(web, 0, deadline=HEALTH_BOUND)
        web.lab.machine(SERVER).serve(port=80)
        ready = web.wait_condition("web", "Ready", "True", "NotConfirmed")
        assert f"{SERVERS[SERVER]}:{WORD_PORT} does not confirm that it carries {VIP}" in ready["message"]
        for director in DIRECTORS:
            wait_for(lambda d=director: awaited(web, d) == 1, 20, f"{director} to wait for the word", interval=0.5)
        without_weight(web)
        web.start_agent(SERVER)
        wait_weights(web, 1, deadline=AGENT_SECONDS)
        for director in DIRECTORS:
            wait_for(lambda d=director: awaited(web, d) == 0, 20, f"{director} to ask no more", interval=0.5)
        web.wait_ready("web")
    assert [failure for failure in record.failures if not cut_or_refused(failure)] == []


def awaited(web: Deployment, director: str) -> float:
    return web.agent_metric(director, "lvs_agent_words_awaited")


def test_answering_agent_does_not_delay_a_server(web: Deployment) -> None:
    """Also without API server."""
    web.lab.control_plane.stop()
    web.lab.machine(SERVER).server(port=80).stop()
    wait_weights(web, 0, deadline=HEALTH_BOUND)
    web.lab.machine(SERVER).serve(port=80)
    wait_weights(web, 1, deadline=RETURN_BOUND)


def test_agent_that_stays_away_is_not_believed_for_ever(web: Deployment) -> None:
    """Its Lease runs out; nobody would notice if the node lost the VIP now. The others serve."""
    with steady_requests(web.client_namespace("client"), VIP) as record:
        web.lab.agent(SERVER).kill("TERM")
        assert prepared(web) == dict.fromkeys(SERVERS, True)
        gone = {**dict.fromkeys(SERVERS, True), SERVER: False}
        wait_for(lambda: prepared(web) == gone, LEASE_SECONDS, f"{SERVER} to be called prepared no more", interval=0.5)
        wait_weights(web, 0, deadline=10)
        assert f"{VIP}/32" in web.addresses(SERVER, "lo")
        web.start_agent(SERVER)
        wait_weights(web, 1, deadline=AGENT_SECONDS)
        web.wait_ready("web")
    assert record.failures == []


def prepared(web: Deployment) -> dict[str, bool]:
    """What the slices say of the servers, by the Nodes that these are."""
    specs = [web.get("lvsslice", name)["spec"] for name in web.names("lvsslice")]
    return {member["node"]: member["prepared"] for spec in specs for member in spec.get("members", ())}


def test_forged_word_gives_no_weight(web: Deployment) -> None:
    """Whoever sits at the agent's port can at most keep this one server out."""
    guest, active = web.lab.guest(SERVER), active_director(web)
    with steady_requests(web.client_namespace("client"), VIP) as record:
        web.lab.agent(SERVER).kill("TERM")
        web.lab.machine(SERVER).server(port=80).stop()
        wait_weights(web, 0, deadline=HEALTH_BOUND)
        with guest.open(["python3", "-c", FORGER]):
            web.lab.machine(SERVER).serve(port=80)
            for forged, said in FORGERIES:
                guest.exec(["sh", "-c", "cat > /run/forging && mv /run/forging /run/forged"], stdin=forged, check=True)
                wait_for(
                    lambda said=said: said in exception(web, active),
                    30,
                    f"to hear: {said}",
                    interval=0.5,
                    always=lambda: without_weight(web),
                )
        web.start_agent(SERVER)
        wait_weights(web, 1, deadline=AGENT_SECONDS)
    assert [failure for failure in record.failures if not cut_or_refused(failure)] == []


def exception(web: Deployment, director: str) -> str:
    """What the director says of the service."""
    said = web.get("lvsnode", director)["status"].get("exceptions") or [{"message": ""}]
    return str(said[0]["message"])


def forged_word(address: str = VIP, age: int = 10) -> str:
    said = {"bootID": "b", "ageMilliseconds": age, "addresses": [{"address": address, "device": "lo"}]}
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{json.dumps(said)}"


FORGERIES: Final = [
    ("HTTP/1.1 200 OK\r\n\r\n" + " " * (MAX_WORD + 1), f"an answer over {MAX_WORD} bytes"),
    ("HTTP/1.1 200 OK\r\n\r\n<html>prepared</html>", "an answer that is not JSON"),
    (forged_word().replace("bootID", "boot"), "an answer that names no boot, age and addresses"),
    (forged_word(age=60_000), "it last looked at its kernel over 5 s ago"),
    (forged_word("192.168.10.101"), "it has not got it bound and silent on lo"),
    ("SSH-2.0-OpenSSH_9.2\r\n", "no HTTP answer"),
]
