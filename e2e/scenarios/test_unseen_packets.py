"""Something on the director keeps clients' packets from IPVS: it is told of which service, and is over when it ends."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import pytest

from lvs_lab.host_commands import in_namespace
from lvs_lab.lab_machine import GuestMachine
from lvs_lab.waiting import wait_for
from support.agent_state import restart_agent
from support.deployment import Deployment
from support.manifests import service_text
from support.quick_start import SERVERS, VIP, active_director, client, replies
from support.traffic import answers, count_replies

pytestmark = pytest.mark.lab
TOLD_SECONDS: Final = 70.0
"""From one look to the next 20 s; then three, which take 2 s and 5 s more until counters tell, and rounds of a second
between; the rest is for a busy machine."""
OVER_SECONDS: Final = 60.0
"""From one look to the next 10 s while it is told, 7 s until counters tell; a round, two statuses, a busy machine."""
BLOCKED: Final = "TrafficBlocked"
LOOKS: Final = "lvs_agent_arrival_looks_total"
ELSEWHERE: Final = "10.99.0.5"
"""A client's address that directors would reach by another device."""
IDLE_VIP: Final = "192.168.10.130"
IDLE_VIP6: Final = "fd00:10::130"
_KNOCK: Final = """
import socket, sys, time
address, port, source = sys.argv[1], int(sys.argv[2]), sys.argv[3]
while True:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as one:
        one.settimeout(0.2)
        if source:
            one.bind((source, 0))
        try:
            one.connect((address, port))
        except OSError:
            pass
    time.sleep(0.2)
"""


@contextmanager
def knocking(web: Deployment, address: str = VIP, *, port: int = 80, source: str = "") -> Iterator[None]:
    """A client tries to connect, a few times a second."""
    command = in_namespace(web.client_namespace("client"), ["python3", "-c", _KNOCK, address, str(port), source])
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.terminate()


@dataclass(frozen=True)
class Drop:
    """A way to keep packets from IPVS, and how to end it."""

    begin: str
    end: str


_NFT: Final = (
    "nft add table inet firewall; nft 'add chain inet firewall one {{ type {kind} hook {hook} priority {at}; }}'"
)
_NFT_OVER: Final = "nft delete table inet firewall"
DROPS: Final = {
    "as firewalld does": Drop(
        f"{_NFT.format(kind='filter', hook='input', at='filter + 10')}; "
        "nft add rule inet firewall one tcp dport 80 reject with icmpx type admin-prohibited",
        _NFT_OVER,
    ),
    "before conntrack": Drop(
        f"{_NFT.format(kind='filter', hook='prerouting', at='raw')}; nft add rule inet firewall one tcp dport 80 drop",
        _NFT_OVER,
    ),
    "another program's DNAT": Drop(
        f"{_NFT.format(kind='nat', hook='prerouting', at='dstnat')}; "
        "nft add rule inet firewall one tcp dport 80 redirect to :8099",
        _NFT_OVER,
    ),
    "a filter of tc": Drop(
        "tc qdisc add dev eth0 clsact; tc filter add dev eth0 ingress protocol ip u32 "
        f"match ip dst {VIP}/32 match ip protocol 6 0xff action drop",
        "tc qdisc del dev eth0 clsact",
    ),
}
MORE: Final = {"before conntrack", "another program's DNAT", "a filter of tc"}
"""One of these ways is enough for a run of everything: each takes most of a minute."""


def is_told(web: Deployment, node: str) -> bool:
    conditions = web.get("lvsnode", node)["status"]["conditions"]
    return any(condition["type"] == BLOCKED for condition in conditions)


def ready_reason(web: Deployment, name: str = "web") -> str:
    condition = web.condition(name)
    assert condition.get("status") == "True", condition
    return str(condition["reason"])


def events(web: Deployment, reason: str, kind: str, name: str) -> list[str]:
    """Messages of events with this reason about an object."""
    selector = f"involvedObject.kind={kind},involvedObject.name={name},reason={reason}"
    listed = web.lab.kubectl("get", "events", "--namespace=default", f"--field-selector={selector}", "--output=json")
    return [event["message"] for event in json.loads(listed.stdout)["items"]]


def wait_told(web: Deployment, node: str) -> str:
    """The condition's message, once it is there and the service says so, too."""
    said = web.wait_condition(node, BLOCKED, "True", "PacketsNotSeen", kind="lvsnode", deadline=TOLD_SECONDS)
    wait_for(lambda: ready_reason(web) == "PacketsNotSeen", 10, "the service to say so")
    return str(said["message"])


def wait_over(web: Deployment, node: str) -> None:
    wait_for(lambda: not is_told(web, node), OVER_SECONDS, "it to be over")
    wait_for(lambda: ready_reason(web) == "Ready", 10, "the service to say so")


@pytest.fixture
def unsuspecting(web: Deployment) -> str:
    """The active director, with a new agent: one that has told of something is slower to tell of it again."""
    node = active_director(web)
    restart_agent(web, node)
    web.wait_ready("web")
    return node


@pytest.mark.parametrize(
    "drop",
    [pytest.param(drop, marks=pytest.mark.long if name in MORE else (), id=name) for name, drop in DROPS.items()],
)
def test_what_keeps_packets_from_ipvs_is_told_and_over_when_it_ends(
    web: Deployment, unsuspecting: str, drop: Drop
) -> None:
    node = unsuspecting
    guest = web.lab.guest(node)
    assert answers(client(web), VIP)
    guest.sh(drop.begin)
    try:
        with knocking(web):
            message = wait_told(web, node)
            assert f"packets for default/web at TCP {VIP}:80 arrive by eth0, and IPVS sees none of them" in message
            assert "firewalld" in message
            assert not answers(client(web), VIP)
            wait_for(partial(events, web, "PacketsNotSeen", "LvsNode", node), 10, "an event about the node")
            wait_for(partial(events, web, "PacketsNotSeen", "LvsVirtualService", "web"), 10, "one about the service")
            guest.sh(drop.end)
            wait_over(web, node)
    finally:
        guest.sh(drop.end, check=False)
    wait_for(partial(events, web, f"{BLOCKED}Over", "LvsNode", node), 10, "an event that it is over")
    assert replies(web).total() == 30


def dropped_by_rp_filter(guest: GuestMachine) -> int:
    """What the kernel says of it (TcpExt IPReversePathFilter in /proc/net/netstat)."""
    names, values = (line.split() for line in guest.sh("grep ^TcpExt /proc/net/netstat").splitlines())
    return int(dict(zip(names, values, strict=True))["IPReversePathFilter"])


@pytest.fixture
def client_elsewhere(web: Deployment) -> Iterator[str]:
    """An address of the client that directors reach by another device. It asks for MAC addresses by its first one.

    A question by this one would not be answered either: rp_filter goes for ARP, too (arp_process in net/ipv4/arp.c).
    """
    machine = client(web)
    before = machine.out("sysctl", "--values", "net.ipv4.conf.all.arp_announce").strip()
    machine.sh(f"ip address add {ELSEWHERE}/32 dev lo; sysctl --quiet --write net.ipv4.conf.all.arp_announce=2")
    for name in SERVERS:
        web.lab.machine(name).out("ip", "route", "add", ELSEWHERE, "via", machine.ip)
    yield ELSEWHERE
    for name in SERVERS:
        web.lab.machine(name).out("ip", "route", "del", ELSEWHERE)
    machine.sh(f"ip address del {ELSEWHERE}/32 dev lo; sysctl --quiet --write net.ipv4.conf.all.arp_announce={before}")


def test_a_strict_rp_filter_is_named(web: Deployment, unsuspecting: str, client_elsewhere: str) -> None:
    node = unsuspecting
    guest = web.lab.guest(node)
    before = guest.sh("cat /proc/sys/net/ipv4/conf/eth0/rp_filter").strip()
    guest.sh("ip link add away type dummy; ip link set away up; ip route add 10.99.0.0/24 dev away")
    try:
        guest.out("sysctl", "--write", "net.ipv4.conf.eth0.rp_filter=1")
        dropped = dropped_by_rp_filter(guest)
        with knocking(web, source=client_elsewhere):
            wait_for(lambda: dropped_by_rp_filter(guest) > dropped + 5, 20, "the kernel to drop packets for that")
            message = wait_told(web, node)
            assert f"packets for default/web at TCP {VIP}:80 arrive by eth0" in message
            assert "Set net.ipv4.conf.eth0.rp_filter=2" in message
            guest.out("sysctl", "--write", "net.ipv4.conf.eth0.rp_filter=2")
            wait_over(web, node)
        assert count_replies(client(web), VIP, 3, source=client_elsewhere).total() == 3
    finally:
        guest.sh(f"ip link del away; sysctl --write net.ipv4.conf.eth0.rp_filter={before}")


@pytest.mark.long
def test_of_many_services_the_blocked_port_is_named_and_no_other(web: Deployment) -> None:
    """Over IPv6, on a service that has another port beside; `web` has traffic meanwhile, one has none."""
    node = active_director(web)
    guest = web.lab.guest(node)
    ports = [{"name": "http", "port": 80}, {"name": "other", "port": 81}]
    servers = [web.lab.machine(name).serve(port=81) for name in SERVERS]
    web.apply(service_text("six", IDLE_VIP6, ports=ports), service_text("idle", IDLE_VIP))
    guest.sh("nft add table inet firewall; nft 'add chain inet firewall one { type filter hook input priority 0; }'")
    try:
        web.wait_ready("six", "idle")
        guest.sh("nft add rule inet firewall one tcp dport 81 drop")
        with knocking(web), knocking(web, IDLE_VIP6, port=81):
            said = web.wait_condition(node, BLOCKED, "True", "PacketsNotSeen", kind="lvsnode", deadline=TOLD_SECONDS)
            assert f"default/six at TCP [{IDLE_VIP6}]:81 arrive by eth0" in said["message"]
            assert said["message"].count("arrive by") == 1
            found = web.get("lvsnode", node)["status"]["exceptions"]
            assert [one["name"] for one in found if one["reason"] == "PacketsNotSeen"] == ["six"]
            assert (ready_reason(web), ready_reason(web, "idle")) == ("Ready", "Ready")
            guest.sh("nft delete table inet firewall")
            wait_for(lambda: not is_told(web, node), OVER_SECONDS, "it to be over")
    finally:
        guest.sh("nft delete table inet firewall", check=False)
        for server in servers:
            server.stop()


@pytest.mark.long
def test_nothing_is_told_while_no_real_server_takes_connections(web: Deployment) -> None:
    """What clients send is refused then, and IPVS counts nothing of it."""
    node = active_director(web)
    for server in SERVERS:
        web.lab.machine(server).server(port=80).stop()
    web.wait_condition("web", "Ready", "False", "NoMemberReady")
    with knocking(web):
        before = web.agent_metric(node, LOOKS)
        wait_for(lambda: web.agent_metric(node, LOOKS) >= before + 3, 3 * TOLD_SECONDS, "three looks", interval=1)
        assert not is_told(web, node)
        found = web.get("lvsnode", node)["status"].get("exceptions", ())
        assert [one["reason"] for one in found if one["name"] == "web"] == ["NoMemberReady"]


@pytest.mark.long
def test_nothing_is_told_of_services_with_traffic_and_of_idle_ones(web: Deployment) -> None:
    """A busy service is not even listened for; a service on which nobody calls is, and nothing comes."""
    node = active_director(web)
    web.apply(service_text("idle", IDLE_VIP))
    web.wait_ready("idle")
    with knocking(web):
        before = web.agent_metric(node, LOOKS)
        wait_for(lambda: web.agent_metric(node, LOOKS) >= before + 3, 3 * TOLD_SECONDS, "three looks", interval=1)
        assert not is_told(web, node)
        assert (ready_reason(web), ready_reason(web, "idle")) == ("Ready", "Ready")
        assert replies(web).total() == 30
