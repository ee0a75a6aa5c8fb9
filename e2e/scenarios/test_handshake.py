"""Who may take packets for a VIP, and who may not: preparation, refusals, machines that nobody can verify."""

import pytest

from lvs_lab.waiting import wait_for
from support.deployment import GONE_SECONDS, Deployment
from support.manifests import documents, object_text, pool_text, service_text
from support.quick_start import (
    KEY,
    SERVERS,
    VIP,
    active_director,
    client,
    quick_shape,
)
from support.traffic import answers, count_replies, steady_requests

pytestmark = pytest.mark.lab
DIRECTORS = ("director-1", "director-2")


def test_real_server_without_an_agent_gets_no_weight(web: Deployment) -> None:
    """Nobody has said that the node is silent and bound, so nothing is sent there."""
    web.lab.agent("server-3").kill("TERM")
    web.lab.guest("server-3").out("ip", "address", "add", "192.168.10.107/32", "dev", "lo")
    other = service_text("early", "192.168.10.107")
    web.apply(other)
    active = active_director(web)
    wanted = quick_shape(weights={"server-1": 1, "server-2": 1, "server-3": 0}, vip="192.168.10.107")
    web.wait_shape(active, quick_shape() | wanted)
    assert set(count_replies(client(web), "192.168.10.107", 20)) == {"server-1", "server-2"}
    web.lab.guest("server-3").out("ip", "address", "del", "192.168.10.107/32", "dev", "lo")
    web.start_agent("server-3")
    web.wait_shape(active, quick_shape() | quick_shape(vip="192.168.10.107"))
    web.delete(other)
    web.wait_shape(active, quick_shape(), deadline=GONE_SECONDS)


def test_a_director_beside_others_is_no_real_server_of_what_somebody_else_marks(web: Deployment) -> None:
    pool = pool_text("mixed", SERVERS["server-1"], "192.168.10.12", more={"healthCheck": {"tcp": {}, "port": 80}})
    marked = {"firewallMark": {"value": 77, "families": ["IPv4"]}, "scheduler": "rr"}
    service = object_text("LvsVirtualService", "mixed", {**marked, "realServerPoolRef": {"name": "mixed"}})
    objects = documents(pool, service)
    web.apply(objects)
    condition = web.wait_condition("mixed", "Ready", "True", "DirectorIsRealServer")
    assert "rs2" in condition["message"]
    web.delete(objects)
    web.wait_shape(active_director(web), quick_shape(), deadline=GONE_SECONDS)


@pytest.mark.parametrize("method", ["DirectRouting", "Tunnel"])
def test_the_only_director_is_a_real_server_of_its_own(web: Deployment, method: str) -> None:
    """What falls to its own address the kernel gives to the machine itself, at the VIP."""
    name, vip = "director-2", "192.168.10.128"
    web.lab.kubectl("label", "node", name, "alone=true", "--overwrite")
    group = object_text("LvsDirectorGroup", "alone", {"nodes": {"selector": {"matchLabels": {"alone": "true"}}}})
    pool = pool_text("alone", SERVERS["server-1"], "192.168.10.12", more={"healthCheck": {"tcp": {}}})
    more = {"directorGroupRef": {"name": "alone"}, "forwarding": {"method": method}}
    objects = documents(group, pool, service_text("alone", vip, pool="alone", more=more))
    server = web.lab.machine(name).serve(port=80)
    try:
        web.apply(objects)
        web.wait_condition("alone", "Ready", "True", "Ready")
        assert count_replies(client(web), vip, 20).keys() == {name, "server-1"}
        web.lab.kubectl("label", "node", "director-1", "alone=true", "--overwrite")
        wait_for(
            lambda: "handed-on" in web.lab.guest(name).out("nft", "list", "table", "inet", "lvs-operator"),
            GONE_SECONDS,
            f"{name} to tell apart what director-1 hands on",
        )
        web.wait_condition("alone", "Ready", "True", "Ready")
        assert count_replies(client(web), vip, 20).keys() == {name, "server-1"}
    finally:
        server.stop()
        web.delete(objects)
        web.lab.kubectl("label", "node", "director-1", "director-2", "alone-")
        wait_for(lambda: "alone" not in web.names("lvsdg"), GONE_SECONDS, "the group to be gone")
        web.wait_shape(active_director(web), quick_shape(), deadline=GONE_SECONDS)


def test_directors_are_real_servers_of_their_group_by_masquerade(web: Deployment) -> None:
    """The active one and the standby: what a director hands on so comes to an address without a virtual service."""
    vip, addresses = "192.168.10.129", ("192.168.10.11", "192.168.10.12")
    pool = pool_text("all", SERVERS["server-1"], *addresses, more={"healthCheck": {"tcp": {}}})
    objects = documents(
        pool, service_text("all", vip, pool="all", more={"forwarding": {"method": "Masquerade", "sourceNat": True}})
    )
    servers = [web.lab.machine(name).serve(port=80) for name in DIRECTORS]
    try:
        web.apply(objects)
        web.wait_condition("all", "Ready", "True", "Ready")
        assert count_replies(client(web), vip, 30).keys() == {"server-1", *DIRECTORS}
    finally:
        for server in servers:
            server.stop()
        web.delete(objects)
        web.wait_shape(active_director(web), quick_shape(), deadline=GONE_SECONDS)


def test_member_behind_a_router_is_not_on_link(web: Deployment) -> None:
    """DirectRouting gives the packet the next hop's MAC address, which would send it back."""
    pool = pool_text("far", SERVERS["server-1"], "198.51.100.7")
    web.apply(documents(pool, service_text("far", "192.168.10.109", pool="far")))
    active = active_director(web)

    def weights() -> dict[str, int]:
        there = web.table(active).get("TCP 192.168.10.109:80")
        return {} if there is None else {key: found.weight for key, found in there.destinations.items()}

    def never_far() -> None:
        assert weights().get("198.51.100.7:80", 0) == 0

    wait_for(lambda: weights().get("192.168.10.21:80") == 1, 20, "the member on link to have weight", always=never_far)
    condition = web.wait_condition("far", "Ready", "True", "NotOnLink")
    assert "198.51.100.7" in condition["message"]
    never_far()
    assert set(count_replies(client(web), "192.168.10.109", 10)) == {"server-1"}


def test_plain_machine_is_used_and_shown_as_unverified(web: Deployment) -> None:
    pool = pool_text("plain", SERVERS["server-1"], "192.168.10.50")
    web.apply(documents(pool, service_text("plain", "192.168.10.110", pool="plain")))
    active = active_director(web)
    wanted = {
        "TCP 192.168.10.110:80 rr": {"192.168.10.21:80": ("Route", 1), "192.168.10.50:80": ("Route", 1)},
    }
    web.wait_shape(active, quick_shape() | wanted)
    condition = web.wait_condition("plain", "Ready", "True", "Unverified")
    assert "rs2" in condition["message"]


def test_draining_state_of_one_entry(web: Deployment) -> None:
    entries = [{"name": name, "address": address} for name, address in SERVERS.items()]
    web.apply(documents(pool_text("named", *entries), service_text("named", "192.168.10.111", pool="named")))
    active = active_director(web)
    web.wait_shape(active, quick_shape() | quick_shape(vip="192.168.10.111"))
    entries[2]["state"] = "Draining"
    web.apply(pool_text("named", *entries))
    two = quick_shape(vip="192.168.10.111", weights={"server-1": 1, "server-2": 1})
    web.wait_shape(active, quick_shape() | two, deadline=GONE_SECONDS)
    wait_for(lambda: "192.168.10.111/32" not in web.addresses("server-3", "lo"), GONE_SECONDS, "the VIP to leave")
    entries[2]["state"] = "Active"
    web.apply(pool_text("named", *entries))
    web.wait_shape(active, quick_shape() | quick_shape(vip="192.168.10.111"))


@pytest.mark.processes("a kubelet starts the agent as soon as the node has booted")
def test_node_that_forgets_the_vip_loses_its_weight(web: Deployment) -> None:
    """Its check, on the node's own address, passes; that does not make up for the VIP."""
    active = active_director(web)
    web.lab.agent("server-3").kill("TERM")
    web.lab.guest("server-3").power_off()
    web.wait_weight(active, KEY, f"{SERVERS['server-3']}:80", 0, deadline=10)
    web.lab.guest("server-3").power_on()
    web.lab.machine("server-3").serve(port=80)

    def never_weighed() -> None:
        assert web.table(active)[KEY].destinations[f"{SERVERS['server-3']}:80"].weight == 0

    # It answers its check at once, has no VIP, and no agent that says otherwise: the boot id is another one.
    with steady_requests(web.client_namespace("client"), VIP) as record:
        wait_for(lambda: answers(client(web), SERVERS["server-3"]), 10, "server-3 to answer on its own address")
        wait_for(lambda: record.requests > 100, 30, "a hundred requests", always=never_weighed)
    assert record.failures == []
    web.start_agent("server-3")
    web.wait_shape(active, quick_shape())


def test_two_services_on_one_real_server_leave_one_by_one(web: Deployment) -> None:
    other = service_text("other", VIP, ports=[{"name": "alt", "port": 8080}])
    for name in SERVERS:
        web.lab.machine(name).serve(port=8080)
    web.apply(other)
    active = active_director(web)
    web.wait_shape(active, quick_shape() | quick_shape(port=8080))
    with steady_requests(web.client_namespace("client"), VIP) as record:
        web.delete(other)
        for director in DIRECTORS:
            web.wait_shape(director, quick_shape(), deadline=GONE_SECONDS)
        for name in SERVERS:
            assert f"{VIP}/32" in web.addresses(name, "lo")
            web.lab.machine(name).server(port=8080).stop()
    assert record.failures == []
    assert f"{VIP}/32" in web.addresses(active, "eth0")
