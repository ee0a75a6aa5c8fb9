"""Real servers that have no route back to the clients: source NAT behind Masquerade, with packets."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest

from lvs_lab.lab_machine import Capture, LabMachine
from lvs_lab.waiting import wait_for
from support.deployment import EXAMPLES, GONE_SECONDS, Deployment, deployed
from support.example_cases import CASES
from support.traffic import HeldConnection, answers, count_replies, url

pytestmark = pytest.mark.lab

EXAMPLE: Final = EXAMPLES / "s24-source-nat"
SHAPE: Final = next(case.shape for case in CASES if case.example == EXAMPLE.name)
DIRECTOR, CLIENT, GATEWAY = "s24-director", "s24-client", "s24-gateway"
SERVERS: Final = ("s24-rs100", "s24-rs200")
VIPS: Final = {4: "192.168.24.15", 6: "2001:db8:240::15"}
OF_DIRECTOR: Final = {4: "192.168.25.5", 6: "2001:db8:25::5"}
OF_CLIENT: Final = {4: "192.168.24.10", 6: "2001:db8:240::10"}
OF_SERVER: Final = {4: "192.168.25.100", 6: "2001:db8:25::100"}
OPENING: Final = {
    4: "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn and dst port 8080",
    6: "ip6 and ip6[53] & 18 == 2 and dst port 8080",
}
REPAIR_SECONDS: Final = 3.0
GROUPED: Final = """
apiVersion: lvs-operator.io/v1alpha1
kind: LvsRealServerPool
metadata: {name: s24-grouped}
spec:
  realServers: [{name: rs100, address: 192.168.25.100}, {name: rs200, address: 192.168.25.200}]
---
apiVersion: lvs-operator.io/v1alpha1
kind: LvsVirtualService
metadata: {name: s24-grouped}
spec:
  addresses: ["192.168.24.16"]
  ports: [{name: http, port: 80}, {name: other, port: 8080}]
  portMode: Grouped
  scheduler: rr
  forwarding: {method: Masquerade, sourceNat: true}
  realServerPoolRef: {name: s24-grouped}
  directorGroupRef: {name: s24}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed("source-nat", ["s24"], tmp_path_factory.mktemp("source-nat")) as deployment:
        for name in SERVERS:
            for port in (80, 8080):
                deployment.lab.machine(name).serve(port=port)
        yield deployment


@pytest.fixture
def web(lab: Deployment) -> Iterator[Deployment]:
    lab.apply(EXAMPLE)
    lab.wait_ready("s24-web")
    lab.wait_shape(DIRECTOR, SHAPE)
    for vip in VIPS.values():
        wait_for(lambda vip=vip: answers(client(lab), vip), 10, f"{vip} to answer")
    yield lab
    lab.delete(EXAMPLE)
    wait_for(lambda: nothing_left(lab), GONE_SECONDS, "nothing to be left")


def client(lab: Deployment) -> LabMachine:
    return lab.lab.machine(CLIENT)


def rules(lab: Deployment) -> str:
    """Our table; empty without one."""
    return lab.lab.guest(DIRECTOR).sh("nft list table inet lvs-operator 2>/dev/null || true")


def words(listed: str) -> Counter[str]:
    """A listing without the order of its elements, which a map has none of."""
    return Counter(listed.replace(",", " ").split())


def nothing_left(lab: Deployment) -> bool:
    assert lab.table(DIRECTOR) == {}
    assert lab.lab.guest(DIRECTOR).out("nft", "list", "ruleset") == ""
    assert lab.vs_sysctl(DIRECTOR, "conntrack") == 0
    return True


def packets(capture: Capture) -> list[str]:
    """What was captured; tcpdump ends with an empty line."""
    return [line for line in capture.lines() if line]


def sources(capture: Capture) -> Counter[str]:
    """Where what was captured came from."""
    return Counter(found[1] for line in capture.lines() if (found := re.search(r" (\S+)\.\d+ > \S+\.8080:", line)))


@pytest.mark.parametrize("family", [4, 6])
def test_real_servers_see_the_director_and_answer_through_it(web: Deployment, family: int) -> None:
    server, gateway = web.lab.machine(SERVERS[0]), web.lab.machine(GATEWAY)
    with (
        server.capture(OPENING[family]) as seen,
        gateway.capture("host", OF_CLIENT[family]) as astray,
    ):
        replies = count_replies(client(web), VIPS[family], 90)
        wait_for(lambda: sources(seen).total() >= 30, 5, "the capture to have every connection")
    assert replies == {SERVERS[0]: 30, SERVERS[1]: 60}
    assert set(sources(seen)) == {OF_DIRECTOR[family]}
    assert packets(astray) == []


def test_what_is_only_forwarded_keeps_its_source(web: Deployment) -> None:
    """The director's rule is for what IPVS had, not for whatever goes to a real server."""
    web.lab.guest(DIRECTOR).out("sysctl", "--write", "net.ipv4.conf.eth0.forwarding=1")
    client(web).out("ip", "route", "replace", "192.168.25.0/24", "via", "192.168.24.5")
    with web.lab.machine(SERVERS[0]).capture(OPENING[4], "and", "not", "src", "host", OF_DIRECTOR[4]) as seen:
        reached = client(web).exec(["curl", "--silent", "--max-time", "2", url(OF_SERVER[4], 8080)])
    assert set(sources(seen)) == {OF_CLIENT[4]}
    assert not reached.ok, "the real server has a route back to the client: this lab shows nothing"


@pytest.mark.parametrize("spoil", ["flush table inet lvs-operator", "delete table inet lvs-operator", "flush ruleset"])
def test_a_rule_that_somebody_removes_is_back_soon(web: Deployment, spoil: str) -> None:
    before = words(rules(web))
    assert "masquerade" in before
    web.lab.guest(DIRECTOR).out("nft", *spoil.split())
    wait_for(lambda: words(rules(web)) == before, REPAIR_SECONDS, "our table to be as it was", interval=0.05)
    assert count_replies(client(web), VIPS[4], 30) == {SERVERS[0]: 10, SERVERS[1]: 20}


def test_off_again_new_connections_keep_their_source_and_open_ones_live_on(web: Deployment) -> None:
    with HeldConnection(web.client_namespace(CLIENT), VIPS[4]) as held:
        name = held.ask()
        web.patch("lvsvs", "s24-web", {"forwarding": {"method": "Masquerade", "sourceNat": None}})
        wait_for(lambda: "jump" not in rules(web), 20, "source NAT to end")
        assert ": accept" in rules(web)
        with web.lab.machine(GATEWAY).capture("host", OF_CLIENT[4], "and", "tcp") as astray:
            assert not answers(client(web), VIPS[4])
            wait_for(lambda: packets(astray), 5, "the real server's answer to the client's own address to go astray")
        assert held.ask() == name
    assert web.vs_sysctl(DIRECTOR, "conntrack") == 1, "Masquerade needs it without source NAT, too"


def test_ports_that_are_grouped_have_source_nat_too(web: Deployment) -> None:
    web.apply(GROUPED)
    web.wait_ready("s24-grouped")
    wait_for(lambda: answers(client(web), "192.168.24.16"), 10, "the grouped service to answer")
    for port in (80, 8080):
        assert count_replies(client(web), "192.168.24.16", 20, port=port) == dict.fromkeys(SERVERS, 10)
    assert count_replies(client(web), VIPS[6], 3) == {SERVERS[0]: 1, SERVERS[1]: 2}
    web.delete(GROUPED)
    wait_for(lambda: "192.168.24.16" not in rules(web), GONE_SECONDS, "the grouped service's rules to go")
    assert "192.168.24.15" in rules(web)


def test_cleanup_leaves_no_table(web: Deployment) -> None:
    web.lab.agent(DIRECTOR).kill("TERM")
    assert "masquerade" in rules(web)
    web.lab.agent(DIRECTOR).run_verb("cleanup", "--node-name", DIRECTOR)
    assert nothing_left(web)
    web.start_agent(DIRECTOR)
    web.wait_ready("s24-web")
    wait_for(lambda: answers(client(web), VIPS[4]), 20, "the service to answer again")
