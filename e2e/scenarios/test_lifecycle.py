"""A service's life: applied, edited under traffic, real servers coming and going, deleted."""

from collections import Counter
from collections.abc import Iterator

import pytest

from lvs_lab.waiting import wait_for
from support.deployment import GONE_SECONDS, Deployment, holds
from support.manifests import documents, object_text, pool_text, service_text
from support.neighbours import claimants, mac_of
from support.quick_start import (
    HEALTH_BOUND,
    KEY,
    MANIFEST,
    SERVERS,
    VIP,
    active_director,
    client,
    quick_shape,
    replies,
)
from support.tables import Shape
from support.traffic import HeldConnection, SendingClient, StreamRecord, answers, count_replies, steady_requests

pytestmark = pytest.mark.lab
DIRECTORS = ("director-1", "director-2")
ASK_BY_UDP = """
import socket, sys
address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
# All stay open: datagrams from a port that was used before go where the first one went, whichever server is next.
every = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
for asking in every:
    asking.settimeout(3)
    asking.connect((address, port))
    asking.send(b"hello")
    print(asking.recv(100).decode().strip())
"""


@pytest.fixture
def stream(web: Deployment) -> Iterator[StreamRecord]:
    """Requests all the time; none may fail."""
    with steady_requests(web.client_namespace("client"), VIP) as record:
        yield record
    assert record.failures == []


@pytest.fixture
def held(web: Deployment) -> Iterator[HeldConnection]:
    """A connection that is used before and after."""
    with HeldConnection(web.client_namespace("client"), VIP) as connection:
        yield connection


def test_replies_take_turns(web: Deployment) -> None:
    assert count_replies(client(web), VIP, 300) == Counter(dict.fromkeys(SERVERS, 100))


def test_rules_are_on_both_directors_and_the_address_on_one(web: Deployment) -> None:
    active = active_director(web)
    standby = next(name for name in DIRECTORS if name != active)
    assert web.shape(active) == web.shape(standby) == quick_shape()
    assert f"{VIP}/32" in web.addresses(active, "eth0")
    assert f"{VIP}/32" not in web.addresses(standby, "eth0")
    assert claimants(client(web), VIP) == {mac_of(web.lab.guest(active))}


def wait_counts(web: Deployment, *, total: int) -> None:
    """Wait until all so many real servers are told as ready, none as draining; counts are written at most every 5 s."""
    wanted = {"total": total, "ready": total, "draining": 0}
    wait_for(lambda: web.get("lvsvs", "web")["status"]["realServers"] == wanted, 10, f"counts {wanted}", interval=0.5)


def test_status_tells_who_does_what(web: Deployment) -> None:
    status = web.get("lvsvs", "web")["status"]
    states = {director["node"]: director["state"] for director in status["directors"]}
    active = active_director(web)
    assert states == {name: "Active" if name == active else "Standby" for name in DIRECTORS}
    assert status["addresses"] == [VIP]
    wait_counts(web, total=3)


@pytest.mark.usefixtures("stream")
def test_scheduler_is_edited_in_place(web: Deployment, held: HeldConnection) -> None:
    server = held.ask()
    active = active_director(web)
    wait_for(holds(lambda: web.counters(active)[KEY, ""].connections > 0), 10, "the counters to move", interval=0.5)
    before = web.counters(active)
    web.patch("lvsvs", "web", {"scheduler": "wlc"})
    for director in DIRECTORS:
        web.wait_shape(director, quick_shape("wlc"))
    assert held.ask() == server
    after = web.counters(active)
    assert all(after[entry].connections >= count.connections for entry, count in before.items())


@pytest.mark.usefixtures("stream")
def test_weights_are_edited_in_place(web: Deployment, held: HeldConnection) -> None:
    server = held.ask()
    web.patch("lvspool", "web", {"weight": 7})
    for director in DIRECTORS:
        web.wait_shape(director, quick_shape(weights=dict.fromkeys(SERVERS, 7)))
    assert held.ask() == server


def test_method_is_edited_without_a_lost_connection(web: Deployment, held: HeldConnection) -> None:
    """Connections keep the method that they began with, so the VIP stays where they need it until they have ended."""
    server = held.ask()
    with steady_requests(web.client_namespace("client"), VIP) as record:
        web.patch("lvsvs", "web", {"forwarding": {"method": "Tunnel"}})
        for director in DIRECTORS:
            web.wait_shape(director, quick_shape(method="Tunnel"))
        web.wait_ready("web")
        assert held.ask() == server
        assert f"{VIP}/32" in web.addresses(server, "lo")
        assert f"{VIP}/32" in web.addresses(server, "tunl0")
        made = record.requests
        wait_for(lambda: record.requests > made + 30, 20, "thirty requests by the new method")
        assert held.ask() == server
    assert record.failures == []
    held.close()
    wait_for(lambda: f"{VIP}/32" not in web.addresses(server, "lo"), GONE_SECONDS, "the VIP to leave lo")
    assert set(replies(web)) == set(SERVERS)


def test_leaving_real_server_keeps_its_connections(web: Deployment, held: HeldConnection) -> None:
    leaver = held.ask()
    entry = f"{SERVERS[leaver]}:80"
    active = active_director(web)
    web.lab.kubectl("label", "node", leaver, "app-")
    web.wait_weight(active, KEY, entry, 0, deadline=10)
    for _ in range(3):
        assert held.ask() == leaver
    assert leaver not in replies(web)
    assert f"{VIP}/32" in web.addresses(leaver, "lo")
    held.close()
    for director in DIRECTORS:
        web.wait_weight(director, KEY, entry, None, deadline=GONE_SECONDS)
    wait_for(lambda: f"{VIP}/32" not in web.addresses(leaver, "lo"), GONE_SECONDS, f"the VIP to leave {leaver}")
    web.wait_condition("web", "Ready", "True", "Ready")
    wait_counts(web, total=2)


def test_drain_ends_when_its_time_is_over(web: Deployment, held: HeldConnection) -> None:
    web.patch("lvspool", "web", {"drain": {"timeoutSeconds": 3}})
    web.wait_ready("web")
    leaver = held.ask()
    active = active_director(web)
    web.lab.kubectl("label", "node", leaver, "app-")
    web.wait_weight(active, KEY, f"{SERVERS[leaver]}:80", None, deadline=3 + 10)
    wait_for(lambda: f"{VIP}/32" not in web.addresses(leaver, "lo"), GONE_SECONDS, f"the VIP to leave {leaver}")


@pytest.mark.usefixtures("stream")
def test_joining_real_server_is_silent_before_it_has_weight(web: Deployment) -> None:
    active = active_director(web)
    web.lab.kubectl("label", "node", "server-3", "app-")
    wait_for(
        lambda: web.addresses("server-3", "lo") == {"127.0.0.1/8", "::1/128"}, GONE_SECONDS, "server-3 to be clean"
    )
    with client(web).capture("arp") as capture:
        web.lab.kubectl("label", "node", "server-3", "app=web")

        def has_weight() -> bool:
            destination = web.table(active)[KEY].destinations.get(f"{SERVERS['server-3']}:80")
            return destination is not None and destination.weight > 0

        def never_weight_without_vip() -> None:
            weighed = has_weight()
            assert f"{VIP}/32" in web.addresses("server-3", "lo") or not weighed, "it has weight and not the VIP"

        def joined() -> bool:
            claimants(client(web), VIP)
            return has_weight()

        wait_for(joined, 20, "server-3 to have weight", interval=0.01, always=never_weight_without_vip)
        told = [line for line in capture.lines() if f"Reply {VIP} is-at" in line]
    assert told
    assert {line.split("is-at ")[1].split(",")[0] for line in told} == {mac_of(web.lab.guest(active))}


def test_second_service_comes_and_goes_without_a_trace(web: Deployment) -> None:
    other = service_text("second", "192.168.10.101", scheduler="wlc")
    web.apply(other)
    web.wait_ready("second")
    both: Shape = {**quick_shape(), **quick_shape("wlc", vip="192.168.10.101")}
    for director in DIRECTORS:
        web.wait_shape(director, both)
    assert set(count_replies(client(web), "192.168.10.101", 30)) == set(SERVERS)
    with steady_requests(web.client_namespace("client"), VIP) as record:
        web.delete(other)
        for director in DIRECTORS:
            web.wait_shape(director, quick_shape(), deadline=GONE_SECONDS)
        for name in SERVERS:
            wait_for(lambda: "192.168.10.101/32" not in web.addresses(name, "lo"), GONE_SECONDS, "the VIP to leave")  # noqa: B023 -- called at once
    assert record.failures == []


def test_two_families_two_ports(web: Deployment) -> None:
    addresses = ["192.168.10.102", "fd00:10::102"]
    ports = [{"name": "http", "port": 80}, {"name": "alt", "port": 8080}]
    web.apply(service_text("dual", *addresses, ports=ports))
    for name in SERVERS:
        web.lab.machine(name).serve(port=8080)
    wait_ready_servers(web, "dual", 6)  # three of each family
    for address in addresses:
        for port in (80, 8080):
            assert count_replies(client(web), address, 30, port=port) == Counter(dict.fromkeys(SERVERS, 10))
    web.delete(service_text("dual", *addresses, ports=ports))
    for name in SERVERS:
        web.lab.machine(name).server(port=8080).stop()


def test_udp(web: Deployment) -> None:
    for name in SERVERS:
        web.lab.machine(name).serve(port=5300, protocol="udp", address="192.168.10.103")
    pool = web.get("lvspool", "web")["spec"] | {"healthCheck": {"intervalSeconds": 1, "tcp": {}, "port": 80}}
    manifest = service_text(
        "names", "192.168.10.103", ports=[{"name": "dns", "protocol": "UDP", "port": 5300}], pool="udp"
    )
    web.apply(object_text("LvsRealServerPool", "udp", pool), manifest)
    wait_ready_servers(web, "names", 3)
    told = client(web).out("python3", "-c", ASK_BY_UDP, "192.168.10.103", "5300", "30").split()
    assert Counter(told) == Counter(dict.fromkeys(SERVERS, 10))
    web.delete(manifest, object_text("LvsRealServerPool", "udp", pool))


def test_udp_clients_leave_a_real_server_that_failed_or_was_taken_out(web: Deployment) -> None:
    """To the kernel one that goes on sending is one connection, and that has no end while its entry is there."""
    address, port, checked = "192.168.10.106", 5300, 5301
    for name in SERVERS:
        web.lab.machine(name).serve(port=port, protocol="udp", address=address)
        web.lab.machine(name).serve(port=checked)
    check = {"intervalSeconds": 1, "timeoutSeconds": 1, "rise": 1, "fall": 2, "tcp": {}, "port": checked}
    members = [{"name": name, "address": SERVERS[name]} for name in SERVERS]
    pool = pool_text("sent", *members, more={"healthCheck": check})
    manifest = service_text("sent", address, ports=[{"name": "u", "protocol": "UDP", "port": port}], pool="sent")
    web.apply(documents(pool, manifest))
    wait_ready_servers(web, "sent", 3)
    with SendingClient(web.client_namespace("client"), address, port) as sending:
        first = wait_for(sending.ask, 5, "a first answer")
        for protocol, where, number in (("udp", address, port), ("tcp", "*", checked)):
            web.lab.machine(first).server(port=number, address=where, protocol=protocol).stop()
        second = wait_for(sending.ask, HEALTH_BOUND, "another real server to answer when the first one has failed")
        assert {sending.ask() for _ in range(5)} == {second}
        left = [one for one in members if one["name"] != second]
        web.patch("lvspool", "sent", {"realServers": left})
        third = wait_for(
            lambda: (who := sending.ask()) not in {None, second} and who,
            5,
            "the third one when the second is taken out",
        )
        assert {first, second, third} == set(SERVERS)
    web.delete(documents(pool, manifest))
    for name in set(SERVERS) - {first}:
        web.lab.machine(name).server(port=port, address=address, protocol="udp").stop()
        web.lab.machine(name).server(port=checked).stop()


def test_every_scheduler_is_known_to_the_kernel(web: Deployment) -> None:
    schedulers = ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos"]
    manifests = [
        service_text(f"by-{name}", "192.168.10.104", scheduler=name, ports=[{"name": "p", "port": 9000 + number}])
        for number, name in enumerate(schedulers)
    ]
    web.apply(documents(*manifests))
    active = active_director(web)
    wait_for(
        lambda: {line.split()[2] for line in web.shape(active) if "192.168.10.104:" in line} == set(schedulers),
        30,
        "a kernel service for each scheduler",
    )
    web.delete(documents(*manifests))
    for director in DIRECTORS:
        web.wait_shape(director, quick_shape(), deadline=GONE_SECONDS)


def test_persistence_and_thresholds(web: Deployment) -> None:
    server = {"name": "s1", "address": SERVERS["server-1"], "weight": 3, "upperThreshold": 100, "lowerThreshold": 50}
    manifests = [
        pool_text("limits", server),
        service_text(
            "sticky",
            "192.168.10.105",
            pool="limits",
            more={"persistence": {"timeoutSeconds": 120, "ipv4PrefixLength": 24}},
        ),
    ]
    web.apply(documents(*manifests))
    web.wait_ready("sticky")
    active = active_director(web)
    wanted = {"TCP 192.168.10.105:80 rr persistent 120 mask 255.255.255.0": {"192.168.10.21:80": ("Route", 3)}}
    web.wait_shape(active, quick_shape() | wanted)
    listed = web.lab.guest(active).out("ipvsadm", "-Ln", "--thresholds", "--tcp-service", "192.168.10.105:80")
    # RemoteAddress, upper and lower bound, active and inactive connections.
    assert listed.split("-> 192.168.10.21:80")[1].split()[:2] == ["100", "50"]
    web.delete(documents(*manifests))


def test_paused_service_stays_as_it_is(web: Deployment) -> None:
    web.patch("lvsvs", "web", {"paused": True})
    wait_for(lambda: slice_is_paused(web), 10, "the slice to say paused")
    web.patch("lvspool", "web", {"weight": 9})
    web.wait_condition("web", "Ready", "True", "Paused")
    for director in DIRECTORS:
        web.lab.guest(director).out("ipvsadm", "-e", "-t", f"{VIP}:80", "-r", "192.168.10.21:80", "-g", "-w", "2")
    # Both agents take at least three rounds: rounds are a second apart at most.
    rounds = {name: web.agent_metric(name, "lvs_agent_rounds_total") for name in DIRECTORS}
    for name in DIRECTORS:
        wait_for(lambda: web.agent_metric(name, "lvs_agent_rounds_total") >= rounds[name] + 3, 20, "three rounds")  # noqa: B023 -- called at once
        assert web.shape(name) == quick_shape(weights={"server-1": 2, "server-2": 1, "server-3": 1})
    web.patch("lvsvs", "web", {"paused": False})
    for director in DIRECTORS:
        web.wait_shape(director, quick_shape(weights=dict.fromkeys(SERVERS, 9)))


def wait_ready_servers(web: Deployment, name: str, count: int) -> None:
    """Wait until so many real servers take connections on the active director."""

    def ready() -> bool:
        counts = web.get("lvsvs", name).get("status", {}).get("realServers", {})
        assert counts.get("ready") == count, counts
        return True

    wait_for(ready, 30, f"{count} real servers of {name} to be ready", interval=0.2)


def slice_is_paused(web: Deployment) -> bool:
    slices = web.names("lvsslice")
    return any(web.get("lvsslice", name)["spec"].get("service", {}).get("paused") for name in slices)


def test_deletion_leaves_nothing(web: Deployment) -> None:
    web.delete(MANIFEST)
    for director in DIRECTORS:
        web.wait_shape(director, {}, deadline=GONE_SECONDS)
        wait_for(lambda: f"{VIP}/32" not in web.addresses(director, "eth0"), GONE_SECONDS, "the VIP to leave")  # noqa: B023 -- called at once
    for name in SERVERS:
        wait_for(lambda: f"{VIP}/32" not in web.addresses(name, "lo"), GONE_SECONDS, "the VIP to leave")  # noqa: B023 -- called at once
    assert web.names("lvsslice") == []
    assert not answers(client(web), VIP)
