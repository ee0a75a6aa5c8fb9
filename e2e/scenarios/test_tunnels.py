"""What real servers' tunnel devices let in, and how large requests are, with packets of both families."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from lvs_lab.lab_machine import LabMachine
from lvs_lab.waiting import wait_for
from support.cluster_looks import READY_SECONDS
from support.deployment import EXAMPLES, GONE_SECONDS, Deployment, deployed
from support.manifests import documents, pool_text, service_text
from support.traffic import HeldConnection, answers, count_replies, url
from support.tunnel_looks import closed_ports, ports, replies, rules, segment_sizes
from support.wrapped_packets import send_wrapped

pytestmark = pytest.mark.lab

EXAMPLE: Final = EXAMPLES / "ipv6-tunnel"
GUE: Final = EXAMPLES / "gue-tunnel"
GUE_VIPS: Final = ("172.25.86.104", "2001:db8:86::104")
OTHER_FAMILY: Final = EXAMPLES / "other-family-tunnel"
OTHERS: Final = (("ipv4-by-ipv6", "172.25.86.101", "ip6"), ("ipv6-by-ipv4", "2001:db8:86::101", "ip"))
"""Services, their addresses, and the outer family as tcpdump names it."""
SERVICE: Final = "tunnels-web"
DIRECTOR, CLIENT = "tunnels-director", "tunnels-client"
SERVERS: Final = ("tunnels-rs2", "tunnels-rs3")
VIPS: Final = {4: "172.25.86.100", 6: "2001:db8:86::100"}
DEVICES: Final = {4: ("tunl0", "gre0"), 6: ("ip6tnl0", "ip6gre0")}
SEGMENTS: Final = {4: 1440, 6: 1400}
"""Bytes: 1500 less the wrapping and the headers."""
OPENED: Final = {4: "tcp[tcpflags] & (tcp-syn|tcp-ack) == (tcp-syn|tcp-ack)", 6: "ip6 and ip6[53] & 18 == 18"}
TOO_BIG: Final = """
table inet silent {
  chain output {
    type filter hook output priority 0;
    icmp type destination-unreachable icmp code frag-needed drop
    icmpv6 type packet-too-big drop
  }
}
"""
SIZE: Final = 1_000_000
TAKEN: Final = 6090
"""A port of a program."""
ECHO: Final = (
    'import socket, sys; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(("", int(sys.argv[1])))\n'
    "while True: s.sendto(*s.recvfrom(2048))"
)
ASK: Final = (
    "import socket, sys; s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(3)\n"
    "s.sendto(b'hello', (sys.argv[1], int(sys.argv[2])))\n"
    "try: print(s.recv(2048).decode(), end='')\n"
    "except OSError as error: print(error, end='')"
)
BY_GUE: Final = "172.25.86.103"
FORBIDDEN: Final = "/etc/modprobe.d/no-fou.conf"
START_SECONDS: Final = 60.0
"""For an agent, on a busy machine."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed("tunnels", ["tunnels"], tmp_path_factory.mktemp("tunnels")) as deployment:
        for name in SERVERS:
            deployment.lab.machine(name).serve(port=80)
        deployment.lab.guest(DIRECTOR).exec(["nft", "--file", "-"], stdin=TOO_BIG, check=True)
        yield deployment


@pytest.fixture
def web(lab: Deployment) -> Deployment:
    lab.apply(EXAMPLE)
    lab.wait_ready(SERVICE)
    for vip in VIPS.values():
        wait_for(lambda vip=vip: answers(client(lab), vip), 10, f"{vip} to answer")
    for name in SERVERS:
        wait_for(lambda name=name: "drop" in rules(lab, name), READY_SECONDS, f"{name} to know the directors")
    return lab


def client(lab: Deployment) -> LabMachine:
    return lab.lab.machine(CLIENT)


def post(lab: Deployment, vip: str, seconds: int) -> bool:
    """Whether a large request comes through in this time."""
    words = ["curl", "--silent", "--fail", "--max-time", str(seconds), "--data-binary", "@-", "--dump-header", "-"]
    done = client(lab).exec([*words, url(vip)], stdin="x" * SIZE, timeout=seconds + 10)
    return done.ok and f"X-Received: {SIZE}" in done.stdout.splitlines()


@pytest.mark.parametrize("family", [4, 6])
def test_large_requests_pass_though_nobody_hears_that_they_are_too_big(web: Deployment, family: int) -> None:
    with client(web).capture(OPENED[family], "and", "src", "host", VIPS[family]) as opened:
        assert count_replies(client(web), VIPS[family], 10) == dict.fromkeys(SERVERS, 5)
        wait_for(lambda: segment_sizes(opened), 5, "the capture to see a connection open")
    assert segment_sizes(opened) == {SEGMENTS[family]}
    assert all(post(web, VIPS[family], 10) for _ in SERVERS)
    got = client(web).out("curl", "--silent", "--fail", "--max-time", "10", url(VIPS[family], path=f"/bytes/{SIZE}"))
    assert len(got) == SIZE


def answered(lab: Deployment, family: int, sender: str, kind: str = "ipip") -> bool:
    """Whether a real server answers what comes wrapped from this address."""
    vip, server, asking = VIPS[family], lab.lab.machine(SERVERS[0]), client(lab)
    receiver, source = (server.ip, asking.ip) if family == 4 else (server.ip6, asking.ip6)
    with asking.capture("icmp or icmp6") as heard:
        send_wrapped(asking, kind, sender=sender, receiver=receiver, source=source, target=vip)
        # This is answered in any case, and later: whatever is to be seen of the first has been seen by then.
        asking.exec(["ping", "-c", "1", "-W", "5", receiver], check=True)
        wait_for(lambda: replies(heard, receiver), 5, "the capture to have the later answer")
        return bool(replies(heard, vip))


@pytest.mark.parametrize("family", [4, 6])
def test_what_strangers_wrap_is_dropped(web: Deployment, family: int) -> None:
    """The very same packet with a director's address is let in: so the drop is what keeps the stranger out."""
    director, stranger = web.lab.machine(DIRECTOR), client(web)
    wait_for(
        lambda: answered(web, family, director.ip if family == 4 else director.ip6), 10, "a director's to be answered"
    )
    for _ in range(3):
        assert not answered(web, family, stranger.ip if family == 4 else stranger.ip6)


def test_without_the_rules_large_requests_stall_and_strangers_come_in(web: Deployment) -> None:
    """So the tests above show what the rules do. An agent that starts again sets them again."""
    name = SERVERS[0]
    web.lab.agent(name).kill("TERM")
    web.lab.guest(name).out("nft", "delete", "table", "inet", "lvs-operator")
    try:
        assert sorted(post(web, VIPS[4], 4) for _ in SERVERS) == [False, True]
        wait_for(lambda: answered(web, 4, client(web).ip), 10, "a stranger's to be answered")
    finally:
        web.start_agent(name)
    wait_for(lambda: "drop" in rules(web, name), START_SECONDS, "the rules to be back")
    assert all(post(web, VIPS[4], 10) for _ in SERVERS)
    assert not answered(web, 4, client(web).ip)


def test_a_tunnel_that_others_use_is_left_open_to_them(web: Deployment) -> None:
    server = web.lab.guest(SERVERS[0])
    server.out("ip", "link", "add", "site-b", "type", "ipip", "local", server.ip, "remote", "172.25.87.9")
    web.wait_condition(SERVERS[0], "TunnelsUnguarded", "True", "TunnelShared", kind="lvsnode")
    listed = rules(web, SERVERS[0])
    assert "unwrapped-ipv4" not in listed
    assert "unwrapped-ipv6" in listed
    assert "clamped-ipv4" in listed
    server.out("ip", "link", "delete", "site-b")
    wait_for(lambda: "unwrapped-ipv4" in rules(web, SERVERS[0]), READY_SECONDS, "strangers to be kept out again")


def moved(lab: Deployment, to: int) -> bool:
    """Whether every VIP is on the devices of one kind and has left those of the other."""
    for name in SERVERS:
        for family, vip in VIPS.items():
            here = {
                device
                for device in DEVICES[family]
                if f"{vip}/{32 if family == 4 else 128}" in lab.addresses(name, device)
            }
            assert here == {DEVICES[family][to]}, (name, here)
    return True


def test_gre_takes_the_place_of_ipip_without_a_lost_connection(web: Deployment) -> None:
    with (
        HeldConnection(web.client_namespace(CLIENT), VIPS[4]) as four,
        HeldConnection(web.client_namespace(CLIENT), VIPS[6]) as six,
    ):
        names = four.ask(), six.ask()
        web.patch("lvspool", SERVICE, {"drain": {"timeoutSeconds": 5}})
        web.patch("lvsvs", SERVICE, {"forwarding": {"method": "Tunnel", "tunnel": {"type": "GRE"}}})
        web.wait_ready(SERVICE)
        wait_for(lambda: saved(web).count("tun-type gre") == 4, READY_SECONDS, "the director to wrap by GRE")
        assert (four.ask(), six.ask()) == names
        wait_for(lambda: moved(web, 1), GONE_SECONDS, "the VIPs to have left the former devices")
        assert (four.ask(), six.ask()) == names
    director, stranger = web.lab.machine(DIRECTOR), client(web)
    for family, vip in VIPS.items():
        mine, theirs = (one.ip if family == 4 else one.ip6 for one in (director, stranger))
        with web.lab.machine(SERVERS[0]).capture("ip proto 47 or ip6 proto 47") as wrapped:
            assert count_replies(client(web), vip, 10) == dict.fromkeys(SERVERS, 5)
            wait_for(lambda wrapped=wrapped: len(wrapped.lines()) > 10, 5, "the capture to see GRE")
        assert all(post(web, vip, 10) for _ in SERVERS)
        wait_for(lambda family=family, mine=mine: answered(web, family, mine, "gre"), 10, "a director's to be answered")
        assert not answered(web, family, theirs, "gre")


def wraps_by(lab: Deployment, words: str) -> bool:
    return saved(lab).count(words) == len(SERVERS) * len(VIPS)


def test_gue_takes_their_place_and_its_port_and_checksum_are_edited(web: Deployment) -> None:
    forwarding = {"method": "Tunnel", "tunnel": {"type": "GUE", "port": 6080}}
    with (
        HeldConnection(web.client_namespace(CLIENT), VIPS[4]) as four,
        HeldConnection(web.client_namespace(CLIENT), VIPS[6]) as six,
    ):
        names = four.ask(), six.ask()
        web.patch("lvspool", SERVICE, {"drain": {"timeoutSeconds": 5}})
        web.patch("lvsvs", SERVICE, {"forwarding": forwarding})
        wait_for(
            lambda: wraps_by(web, "--tun-type gue --tun-port 6080 --tun-nocsum"), GONE_SECONDS, "the director to do GUE"
        )
        web.wait_ready(SERVICE)
        assert (four.ask(), six.ask()) == names
        wait_for(lambda: moved(web, 0), GONE_SECONDS, "the VIPs to be on the devices of GUE alone")
        assert (four.ask(), six.ask()) == names
        assert all(ports(web, name) == {(4, 6080), (6, 6080)} for name in SERVERS)
        gue_comes_in(web, 6080)
        forwarding["tunnel"] = {"type": "GUE", "port": 6081, "checksum": "UDP"}
        web.patch("lvsvs", SERVICE, {"forwarding": forwarding})
        wait_for(
            lambda: wraps_by(web, "--tun-type gue --tun-port 6081 --tun-csum"), GONE_SECONDS, "the port to be another"
        )
        wait_for(
            lambda: all(ports(web, name) == {(4, 6081), (6, 6081)} for name in SERVERS), GONE_SECONDS, "one port alone"
        )
        assert (four.ask(), six.ask()) == names
        gue_comes_in(web, 6081)
        forwarding["tunnel"] = {"type": "GUE", "port": 6081, "checksum": "RemoteOffload"}
        web.patch("lvsvs", SERVICE, {"forwarding": forwarding})
        wait_for(
            lambda: wraps_by(web, "--tun-type gue --tun-port 6081 --tun-remcsum"), GONE_SECONDS, "the way to be another"
        )
        assert (four.ask(), six.ask()) == names
        gue_comes_in(web, 6081)


def gue_comes_in(web: Deployment, port: int) -> None:
    """From the director, with requests of any size, and from nobody else."""
    director, stranger = web.lab.machine(DIRECTOR), client(web)
    for family, vip in VIPS.items():
        mine, theirs = (one.ip if family == 4 else one.ip6 for one in (director, stranger))
        with web.lab.machine(SERVERS[0]).capture("udp", "port", str(port)) as wrapped:
            with client(web).capture(OPENED[family], "and", "src", "host", vip) as opened:
                assert count_replies(client(web), vip, 10) == dict.fromkeys(SERVERS, 5)
                wait_for(lambda opened=opened: segment_sizes(opened), 5, "the capture to see a connection open")
            assert segment_sizes(opened) == {SEGMENTS[family] - 20}
            wait_for(lambda wrapped=wrapped: len(wrapped.lines()) > 10, 5, "the capture to see GUE")
        assert all(post(web, vip, 10) for _ in SERVERS)
        wait_for(
            lambda family=family, mine=mine: answered(web, family, mine, f"gue:{port}"),
            10,
            "a director's to be answered",
        )
        assert not answered(web, family, theirs, f"gue:{port}")


def test_the_example_by_gue_serves_both_families(lab: Deployment) -> None:
    lab.apply(GUE)
    try:
        lab.wait_ready("gue-web")
        assert saved(lab).count("--tun-type gue --tun-port 6083 --tun-csum") == 2 * len(SERVERS)
        for vip in GUE_VIPS:
            wait_for(lambda vip=vip: answers(client(lab), vip), 10, f"{vip} to answer")
            with lab.lab.machine(SERVERS[0]).capture("udp", "port", "6083") as wrapped:
                assert count_replies(client(lab), vip, 10) == dict.fromkeys(SERVERS, 5)
                wait_for(lambda wrapped=wrapped: len(wrapped.lines()) > 10, 5, "the capture to see GUE")
            assert all(post(lab, vip, 10) for _ in SERVERS)
    finally:
        lab.delete(GUE / "web.yaml")


def test_a_port_that_somebody_closes_is_opened_again(web: Deployment) -> None:
    web.patch("lvsvs", SERVICE, {"forwarding": {"method": "Tunnel", "tunnel": {"type": "GUE", "port": 6081}}})
    wait_for(lambda: (4, 6081) in ports(web, SERVERS[0]), GONE_SECONDS, "the port to be open")
    web.lab.guest(SERVERS[0]).out("ip", "fou", "del", "port", "6081")
    wait_for(lambda: (4, 6081) in ports(web, SERVERS[0]), 10, "the port to be open again")


def by_gue(port: int) -> dict[str, Any]:
    return {"forwarding": {"method": "Tunnel", "tunnel": {"type": "GUE", "port": port}}}


def to_gue(port: int) -> dict[str, Any]:
    """The same as a patch, whatever checksum there was before."""
    return {"forwarding": {"method": "Tunnel", "tunnel": {"type": "GUE", "port": port, "checksum": None}}}


def asked_port(lab: Deployment, address: str, port: int) -> str:
    """What a program at a UDP port answers the client."""
    return client(lab).out("python3", "-c", ASK, address, str(port))


def test_a_port_that_a_program_has_stays_the_program_s_and_the_service_serves_on(web: Deployment) -> None:
    """By what it was reached before; a stranger to our tunnels is the program's client as ever."""
    server = web.lab.guest(SERVERS[0])
    web.patch("lvspool", SERVICE, {"drain": {"timeoutSeconds": 2}})
    web.patch("lvsvs", SERVICE, to_gue(6081))
    wait_for(lambda: wraps_by(web, "--tun-type gue --tun-port 6081 --tun-nocsum"), GONE_SECONDS, "the director to wrap")
    web.wait_ready(SERVICE)
    server.sh(f"python3 -c '{ECHO}' {TAKEN} < /dev/null > /dev/null 2>&1 & echo $! > /run/echo.pid")
    try:
        wait_for(lambda: asked_port(web, server.ip, TAKEN) == "hello", 10, "the program to answer")
        web.patch("lvsvs", SERVICE, to_gue(TAKEN))
        wait_for(lambda: closed_ports(web, SERVERS[0]) == {VIPS[4]: [TAKEN]}, GONE_SECONDS, "the port to be named")
        wait_for(
            lambda: saved(web).count(f"--tun-port {TAKEN}") == 3 and saved(web).count("--tun-port 6081") == 1,
            GONE_SECONDS,
            "all that can to have another port",
        )
        assert asked_port(web, server.ip, TAKEN) == "hello"
        for vip in VIPS.values():
            assert count_replies(client(web), vip, 10) == dict.fromkeys(SERVERS, 5)
    finally:
        server.sh("kill $(cat /run/echo.pid)")
    wait_for(lambda: wraps_by(web, f"--tun-port {TAKEN}"), GONE_SECONDS, "all to have it")
    wait_for(lambda: not answered(web, 4, client(web).ip, f"gue:{TAKEN}"), 10, "strangers to be kept out")


def test_a_port_that_somebody_opened_is_used_and_stays_open(web: Deployment) -> None:
    server = web.lab.guest(SERVERS[0])
    web.patch("lvspool", SERVICE, {"drain": {"timeoutSeconds": 2}})
    server.sh("modprobe fou; ip fou add port 6085 gue")
    try:
        web.patch("lvsvs", SERVICE, to_gue(6085))
        said = web.wait_condition(SERVERS[0], "TunnelsUnguarded", "True", "TunnelShared", kind="lvsnode")
        assert "somebody else opened UDP port 6085 for GUE by IPv4" in said["message"]
        wait_for(lambda: wraps_by(web, "--tun-port 6085"), GONE_SECONDS, "the director to use it")
        assert count_replies(client(web), VIPS[4], 10) == dict.fromkeys(SERVERS, 5)
        web.patch("lvsvs", SERVICE, {"forwarding": {"method": "Tunnel", "tunnel": None}})
        wait_for(lambda: ports(web, SERVERS[1]) == set(), GONE_SECONDS, "what the agents opened to be closed")
        wait_for(lambda: ports(web, SERVERS[0]) == {(4, 6085)}, GONE_SECONDS, "his port alone to stay")
    finally:
        server.out("ip", "fou", "del", "port", "6085")


def test_without_the_right_to_load_the_module_only_what_comes_by_gue_waits(web: Deployment) -> None:
    name = SERVERS[0]
    server = web.lab.guest(name)
    web.patch("lvsvs", SERVICE, {"forwarding": {"method": "Tunnel", "tunnel": None}})
    wait_for(lambda: ports(web, name) == set(), GONE_SECONDS, "no port to be open")
    server.sh(f"echo install fou /bin/false > {FORBIDDEN}; if lsmod | grep -q '^fou '; then modprobe -r fou; fi")
    other = documents(
        pool_text("by-gue", {"name": "rs2", "address": server.ip}),
        service_text(
            "by-gue", "172.25.86.103", pool="by-gue", more={"directorGroupRef": {"name": "tunnels"}} | by_gue(6082)
        ),
    )
    try:
        web.apply(other)
        wait_for(lambda: closed_ports(web, name) == {BY_GUE: [6082]}, READY_SECONDS, "the port to be named")
        (said,) = [one for one in web.get("lvsnode", name)["status"]["addresses"] if "closedPorts" in one]
        assert "load the module fou on this node" in said["message"]
        web.wait_condition("by-gue", "Ready", "False")
        web.wait_ready(SERVICE)
        assert count_replies(client(web), VIPS[4], 10) == dict.fromkeys(SERVERS, 5)
        server.sh(f"rm {FORBIDDEN}")
        web.wait_ready("by-gue")
        wait_for(lambda: answers(client(web), BY_GUE), 10, "it to answer")
    finally:
        server.sh(f"rm -f {FORBIDDEN}")
        web.delete(other)


def saved(lab: Deployment) -> str:
    """The director's table with how it wraps, as ipvsadm writes it."""
    return lab.lab.guest(DIRECTOR).out("ipvsadm", "-S", "-n")


def test_real_servers_of_the_other_family_serve_by_gre(lab: Deployment) -> None:
    """Requests come to them wrapped in the other family, answers go to clients as they are."""
    lab.apply(OTHER_FAMILY)
    try:
        for name, vip, outer in OTHERS:
            lab.wait_ready(name)
            wait_for(lambda vip=vip: answers(client(lab), vip), 10, f"{vip} to answer")
            with lab.lab.machine(SERVERS[0]).capture(outer, "proto", "47") as wrapped:
                assert count_replies(client(lab), vip, 10) == dict.fromkeys(SERVERS, 5)
                wait_for(lambda wrapped=wrapped: len(wrapped.lines()) > 10, 5, "the capture to see GRE")
            assert all(post(lab, vip, 10) for _ in SERVERS)
        for pool in ("by-ipv6", "by-ipv4"):
            lab.patch("lvspool", pool, {"drain": {"timeoutSeconds": 2}})
        syncing = {"connectionSync": {"interface": "eth0", "syncId": 9}}
        lab.lab.kubectl("patch", "lvsdg", "tunnels", "--type=merge", f"--patch={json.dumps({'spec': syncing})}")
        lab.wait_condition("ipv4-by-ipv6", "Ready", "False", "OtherFamilyWithSync")
        wait_for(lambda: "172.25.86.101:80 -r" not in saved(lab), GONE_SECONDS, "the kernel to have let them go")
        wait_for(lambda: "master" in daemons(lab), GONE_SECONDS, "the sync daemon to start")
        cleared = {"connectionSync": None}
        lab.lab.kubectl("patch", "lvsdg", "tunnels", "--type=merge", f"--patch={json.dumps({'spec': cleared})}")
        for name, vip, _ in OTHERS:
            lab.wait_ready(name)
            wait_for(lambda vip=vip: answers(client(lab), vip), 10, f"{vip} to answer again")
    finally:
        lab.delete(OTHER_FAMILY / "web.yaml")


def daemons(lab: Deployment) -> str:
    return lab.lab.guest(DIRECTOR).out("ipvsadm", "-L", "--daemon")


def test_deletion_leaves_no_rule_and_no_address(web: Deployment) -> None:
    web.delete(EXAMPLE)

    def nothing_left() -> bool:
        for name in SERVERS:
            assert rules(web, name) == "", name
            assert ports(web, name) == set(), name
            for device in (*DEVICES[4], *DEVICES[6]):
                # The kernel gives gre0 one for 127.0.0.1 when it comes up, of scope host (add_v4_addrs in addrconf.c).
                left = {one for one in web.addresses(name, device) if not one.startswith("fe80:")}
                assert left == set(), (name, device)
        return True

    wait_for(nothing_left, GONE_SECONDS, "nothing to be left")
