"""Who gets the next connection: schedulers and their flags, thresholds, and methods mixed in one service."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from lvs_lab.waiting import wait_for
from support.deployment import EXAMPLES, GONE_SECONDS, Deployment
from support.manifests import documents, pool_text, service_text
from support.quick_start import SERVERS, VIP, active_director, client, quick_shape
from support.traffic import HeldConnection, answers, count_calls, count_replies

pytestmark = pytest.mark.lab
DIRECTORS = ("director-1", "director-2")
HASHED, LACKING, MIXED, SIP_VIP = "192.168.10.106", "192.168.10.107", "192.168.10.108", "192.168.10.109"
HASH_EXAMPLE = "192.168.10.105"
NAMES_VIP = "192.168.10.102"
ASK_FROM_ONE_PORT = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
    asking.settimeout(3)
    asking.connect((sys.argv[1], 53))
    for _ in range(int(sys.argv[2])):
        asking.send(b"hello")
        print(asking.recv(100).decode().strip())
"""
NO_TWOS = "/etc/modprobe.d/no-twos.conf"


@pytest.fixture
def hashed(web: Deployment) -> Iterator[Deployment]:
    """A service by sh, with a pool of its own; closed connections are forgotten after 2 s."""
    for director in DIRECTORS:
        web.lab.guest(director).out("ipvsadm", "--set", "900", "2", "300")
    servers = [{"name": name, "address": address} for name, address in SERVERS.items()]
    manifests = documents(pool_text("hashed", *servers), service_text("hashed", HASHED, scheduler="sh", pool="hashed"))
    web.apply(manifests)
    web.wait_ready("hashed")
    for director in DIRECTORS:
        # Without a flag sh refuses what falls to a server without weight.
        web.wait_shape(director, quick_shape() | quick_shape("sh", vip=HASHED))
    wait_for(partial(answers, client(web), HASHED), 10, f"{HASHED} to answer")
    yield web
    web.delete(manifests)
    for director in DIRECTORS:
        web.lab.guest(director).out("ipvsadm", "--set", "900", "120", "300")
        web.wait_shape(director, quick_shape(), deadline=GONE_SECONDS)


def set_scheduler(web: Deployment, scheduler: str, *flags: str) -> None:
    """Edit the service, and wait until the active director's kernel has it."""
    web.patch("lvsvs", "hashed", {"scheduler": scheduler, "schedulerFlags": list(flags)})
    wanted = f"TCP {HASHED}:80 {scheduler}" + (f" ({','.join(flags)})" if flags else "")
    wait_for(lambda: wanted in web.shape(active_director(web)), 20, f"{wanted} in the table")


def chosen(web: Deployment) -> set[str]:
    return set(count_replies(client(web), HASHED, 60))


def test_ports_are_hashed_too_where_a_flag_says_so(hashed: Deployment) -> None:
    """One client has one server by its address, and several by its addresses and ports."""
    assert len(chosen(hashed)) == 1
    set_scheduler(hashed, "sh", "sh-port")
    assert chosen(hashed) == set(SERVERS)
    set_scheduler(hashed, "mh", "mh-fallback", "mh-port")
    assert chosen(hashed) == set(SERVERS)
    set_scheduler(hashed, "mh")
    assert len(chosen(hashed)) == 1


def test_the_example_of_hashing_spreads_the_connections_of_one_client(web: Deployment) -> None:
    manifests = EXAMPLES / "s9-hash" / "web.yaml"
    web.apply(manifests)
    web.wait_ready("s9-web")
    shown = {f"{address}:80": ("Route", 1) for address in SERVERS.values()}
    web.wait_shape(active_director(web), quick_shape() | {f"TCP {HASH_EXAMPLE}:80 mh (mh-fallback,mh-port)": shown})
    wait_for(partial(answers, client(web), HASH_EXAMPLE), 10, f"{HASH_EXAMPLE} to answer")
    assert set(count_replies(client(web), HASH_EXAMPLE, 60)) == set(SERVERS)
    web.delete(manifests)
    for director in DIRECTORS:
        web.wait_shape(director, quick_shape(), deadline=GONE_SECONDS)


def test_clients_of_a_server_without_weight_fall_back_where_a_flag_says_so(hashed: Deployment) -> None:
    (mine,) = chosen(hashed)
    servers = [{"name": name, "address": SERVERS[name], "weight": 0 if name == mine else 1} for name in SERVERS]
    hashed.patch("lvspool", "hashed", {"realServers": servers})
    entry = f"{SERVERS[mine]}:80"
    hashed.wait_weight(active_director(hashed), f"TCP {HASHED}:80", entry, 0, deadline=20)
    assert not answers(client(hashed), HASHED)
    set_scheduler(hashed, "sh", "sh-fallback")
    (other,) = chosen(hashed)
    assert other != mine


def test_fo_and_ovf_prefer_the_greatest_weight_that_is_there(hashed: Deployment) -> None:
    weights = dict(zip(SERVERS, (30, 20, 10), strict=True))
    first, second, _ = SERVERS
    for gone, expected in ((None, first), (first, second)):
        servers = [
            {"name": name, "address": SERVERS[name], "weight": 0 if name == gone else weight}
            for name, weight in weights.items()
        ]
        hashed.patch("lvspool", "hashed", {"realServers": servers})
        entry, weight = f"{SERVERS[first]}:80", servers[0]["weight"]
        hashed.wait_weight(active_director(hashed), f"TCP {HASHED}:80", entry, weight, deadline=20)
        for scheduler in ("fo", "ovf"):
            set_scheduler(hashed, scheduler)
            assert set(count_replies(client(hashed), HASHED, 15)) == {expected}


def test_by_destination_all_of_an_address_goes_to_one_and_by_load_to_whoever_is_idle(hashed: Deployment) -> None:
    """S9: lblc and lblcr keep an address with its server; nq finds an idle one; twos looks at two by chance."""
    for scheduler in ("lblc", "lblcr"):
        set_scheduler(hashed, scheduler)
        assert len(chosen(hashed)) == 1
    set_scheduler(hashed, "nq")
    with ExitStack() as held:
        connections = [held.enter_context(HeldConnection(hashed.client_namespace("client"), HASHED)) for _ in SERVERS]
        assert {one.ask() for one in connections} == set(SERVERS)
    set_scheduler(hashed, "twos")
    assert chosen(hashed) == set(SERVERS)


def test_a_server_at_its_upper_threshold_gets_no_new_connection_until_it_is_below_the_lower(web: Deployment) -> None:
    """S12: active and inactive connections count; closed ones are forgotten after 2 s here."""
    vip, full, other = "192.168.10.110", "server-1", "server-2"
    for director in DIRECTORS:
        web.lab.guest(director).out("ipvsadm", "--set", "900", "2", "300")
    web.apply(EXAMPLES / "s12-thresholds" / "web.yaml")
    web.wait_ready("s12-web")
    servers = {f"{SERVERS[full]}:80": ("Route", 1000), f"{SERVERS[other]}:80": ("Route", 1)}
    web.wait_shape(active_director(web), quick_shape() | {f"TCP {vip}:80 sed": servers})
    wait_for(partial(answers, client(web), vip), 10, f"{vip} to answer")
    idle = partial(_is_idle, web, f"TCP {vip}:80", f"{SERVERS[full]}:80")
    wait_for(idle, 60, f"{full} to be idle", interval=0.5)
    namespace = web.client_namespace("client")
    with HeldConnection(namespace, vip) as one, HeldConnection(namespace, vip) as two:
        assert {one.ask(), two.ask()} == {full}
        assert set(count_replies(client(web), vip, 10)) == {other}
    wait_for(idle, 60, f"{full} to be idle again", interval=0.5)
    assert set(count_replies(client(web), vip, 1)) == {full}
    web.delete(EXAMPLES / "s12-thresholds" / "web.yaml")
    for director in DIRECTORS:
        web.lab.guest(director).out("ipvsadm", "--set", "900", "120", "300")
        web.wait_shape(director, quick_shape(), deadline=GONE_SECONDS)


def _is_idle(web: Deployment, service: str, server: str) -> bool:
    found = web.table(active_director(web))[service].destinations[server]
    return found.active + found.inactive == 0


def test_calls_stick_by_their_call_id(web: Deployment) -> None:
    """Persistence by the engine sip: a client's calls are spread, and each stays with its server, whatever its port."""
    for name in SERVERS:
        web.lab.machine(name).serve(port=5060, address=SIP_VIP, protocol="udp")
    manifests = EXAMPLES / "sip-calls" / "calls.yaml"
    web.apply(manifests)
    web.wait_ready("calls")
    servers = {f"{address}:5060": ("Route", 1) for address in SERVERS.values()}
    active = active_director(web)
    web.wait_shape(active, quick_shape() | {f"UDP {SIP_VIP}:5060 rr persistent 300 pe sip ops": servers})
    answered = count_calls(client(web), SIP_VIP, calls=6, requests=5)
    assert {len(who) for who in answered.values()} == {1}
    assert {name for who in answered.values() for name in who} == set(SERVERS)
    web.delete(manifests)
    for name in SERVERS:
        web.lab.machine(name).server(port=5060, address=SIP_VIP, protocol="udp").stop()
    for name in DIRECTORS:
        web.wait_shape(name, quick_shape(), deadline=GONE_SECONDS)


def test_the_example_of_udp_balances_each_datagram_by_itself(web: Deployment) -> None:
    """S8: one-packet scheduling spreads what comes from one port of a client."""
    for name in SERVERS:
        web.lab.machine(name).serve(port=53, address=NAMES_VIP, protocol="udp")
    manifests = EXAMPLES / "s8-udp" / "names.yaml"
    web.apply(manifests)
    web.wait_ready("s8-names")
    servers = {f"{address}:53": ("Route", 1) for address in SERVERS.values()}
    web.wait_shape(active_director(web), quick_shape() | {f"UDP {NAMES_VIP}:53 rr ops": servers})
    told = client(web).out("python3", "-c", ASK_FROM_ONE_PORT, NAMES_VIP, "30").split()
    assert Counter(told) == Counter(dict.fromkeys(SERVERS, 10))
    web.delete(manifests)
    for name in SERVERS:
        web.lab.machine(name).server(port=53, address=NAMES_VIP, protocol="udp").stop()
    for name in DIRECTORS:
        web.wait_shape(name, quick_shape(), deadline=GONE_SECONDS)


def test_three_methods_in_one_service(web: Deployment) -> None:
    """S11: the one behind NAT has another default route than the director, and sees that one's address."""
    active = active_director(web)
    manifests = EXAMPLES / "s11-mixed-methods" / "web.yaml"
    web.apply(manifests)
    shown = dict(zip(SERVERS, ("Route", "Tunnel", "Masq"), strict=True))
    wanted = {f"TCP {MIXED}:80 rr": {f"{SERVERS[name]}:80": (method, 1) for name, method in shown.items()}}
    web.wait_shape(active, quick_shape() | wanted)
    wait_for(partial(answers, client(web), MIXED), 10, f"{MIXED} to answer")
    assert count_replies(client(web), MIXED, 30) == Counter(dict.fromkeys(SERVERS, 10))
    web.delete(manifests)
    for name in DIRECTORS:
        web.wait_shape(name, quick_shape(), deadline=GONE_SECONDS)


def test_a_scheduler_that_the_kernel_lacks_concerns_its_service_alone(web: Deployment) -> None:
    for name in DIRECTORS:
        web.lab.guest(name).sh(f"echo install ip_vs_twos /bin/false > {NO_TWOS}; modprobe -r ip_vs_twos")
    manifest = service_text("lacking", LACKING, scheduler="twos")
    web.apply(manifest)
    said = web.wait_condition("lacking", "Programmed", "False", "SchedulerUnavailable")
    assert "scheduler 'twos' (module ip_vs_twos)" in said["message"]
    assert f"{LACKING}/32" not in web.addresses(active_director(web), "eth0")
    web.wait_ready("web")
    assert set(count_replies(client(web), VIP, 30)) == set(SERVERS)
    for name in DIRECTORS:
        web.lab.guest(name).sh(f"rm {NO_TWOS}")
    web.wait_ready("lacking", deadline=90)
    web.delete(manifest)
    for name in DIRECTORS:
        web.wait_shape(name, quick_shape(), deadline=GONE_SECONDS)
