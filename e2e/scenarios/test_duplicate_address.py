"""A stranger on the link has the address: nothing is bound or announced until it has left."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from lvs_api.api_group import DEFAULT_NAMESPACE
from lvs_lab.lab_machine import Capture
from lvs_lab.plain_deployment import AGENT_ACCOUNT
from lvs_lab.waiting import wait_for
from support.answering_network import answering_network
from support.deployment import Deployment, agent_options
from support.manifests import service_text
from support.neighbours import claimants, mac_of
from support.quick_start import VIP, active_director, client, quick_shape
from support.traffic import answers, steady_requests

pytestmark = pytest.mark.lab
NEW, NEW6 = "192.168.10.101", "fd00:10::101"
STRANGER: Final = "gateway"
RETRY_SECONDS: Final = 30.0 + 15.0
"""The longest time between two questions, and some for a busy machine."""
Json = dict[str, Any]


@contextmanager
def stranger_with(web: Deployment, *addresses: str) -> Iterator[None]:
    """Another machine has these addresses for as long as the context lasts, and answers for them."""
    machine = web.lab.machine(STRANGER)
    for address in addresses:
        length = 128 if ":" in address else 32
        machine.out("ip", "address", "add", f"{address}/{length}", "dev", "eth0", *(["nodad"] if length == 128 else []))
    try:
        yield
    finally:
        for address in addresses:
            machine.out("ip", "address", "del", f"{address}/{128 if ':' in address else 32}", "dev", "eth0")


def claims_of(capture: Capture, mac: str, *addresses: str) -> list[str]:
    """Frames by which a machine says that it has one of the addresses: ARP with it as the sender, advertisements."""
    said = [f"Reply {address} is-at" for address in addresses] + [f"tell {address}," for address in addresses]
    said += [f"tgt is {address}" for address in addresses]
    return [line for line in capture.lines() if mac in line and any(one in line for one in said)]


def questions_of(capture: Capture, mac: str, address: str) -> int:
    """How many ARP probes for the address a machine sent."""
    return sum(mac in line and f"who-has {address} tell 0.0.0.0" in line for line in capture.lines())


def conflict_named(web: Deployment, node: str, service: str, mac: str) -> bool:
    """Whether a director says that this MAC address keeps a service's address away, and what can be done."""
    one = exceptions(web, node).get(service, {})
    assert (one.get("reason"), one.get("programmed")) == ("AddressConflict", False), one
    assert mac in one["message"]
    assert "name it in spec.ignoreAnswersFrom of the LvsDirectorGroup" in one["message"]
    return True


def exceptions(web: Deployment, node: str) -> dict[str, Json]:
    return {one["name"]: one for one in web.get("lvsnode", node)["status"].get("exceptions") or ()}


def carried(web: Deployment, node: str) -> set[str]:
    """The host addresses on a director's card."""
    return {one for one in web.addresses(node, "eth0") if one.endswith(("/32", "/128"))}


def test_stranger_before_the_first_claim(web: Deployment) -> None:
    active = active_director(web)
    mac, stranger = mac_of(web.lab.guest(active)), mac_of(web.lab.machine(STRANGER))
    arp_or_advertisement = ["arp", "or", "(icmp6", "and", "ip6[40]", "==", "136)"]
    with (
        steady_requests(web.client_namespace("client"), VIP) as record,
        client(web).capture(*arp_or_advertisement) as capture,
    ):
        with stranger_with(web, NEW, NEW6):
            web.apply(service_text("new", NEW, NEW6))
            condition = web.wait_condition("new", "Programmed", "False")
            wait_for(lambda: "new" in exceptions(web, active), 20, "an exception of the new service")

            def named() -> bool:
                one = exceptions(web, active)["new"]
                assert (one["reason"], one["programmed"]) == ("AddressConflict", False), one
                assert stranger in one["message"]
                return True

            wait_for(named, 20, f"{active} to name the stranger", interval=0.2)
            condition = web.wait_condition("new", "Programmed", "False")
            wait_for(lambda: stranger in web.condition("new", "Programmed").get("message", ""), 20, f"{condition}")
            asked = questions_of(capture, mac, NEW)
            wait_for(lambda: questions_of(capture, mac, NEW) > asked, RETRY_SECONDS, "the link to be asked again")
            assert carried(web, active) == {f"{VIP}/32"}
            assert claims_of(capture, mac, NEW, NEW6) == []
        web.wait_ready("new", deadline=RETRY_SECONDS)
        assert carried(web, active) == {f"{VIP}/32", f"{NEW}/32", f"{NEW6}/128"}
        wait_for(lambda: claims_of(capture, mac, NEW), 20, f"{NEW} to be announced")
        wait_for(lambda: claims_of(capture, mac, NEW6), 20, f"{NEW6} to be announced")
        assert claimants(client(web), NEW) == {mac}
        wait_for(lambda: answers(client(web), NEW), 10, f"{NEW} to answer")
    assert record.failures == []
    web.delete(service_text("new", NEW, NEW6))
    wait_for(lambda: carried(web, active) == {f"{VIP}/32"}, 60, "the new addresses to leave", interval=0.5)


def test_a_network_that_answers_for_everybody(web: Deployment) -> None:
    """It keeps the address away until it is named; then the director takes the address beside its answers."""
    active = active_director(web)
    mac, network = mac_of(web.lab.guest(active)), mac_of(web.lab.machine(STRANGER))
    try:
        with answering_network(web.lab.machine(STRANGER), NEW, network):
            web.apply(service_text("new", NEW))
            wait_for(lambda: conflict_named(web, active, "new", network), 20, f"{active} to name the network")
            assert carried(web, active) == {f"{VIP}/32"}
            web.patch("lvsdg", "default", {"ignoreAnswersFrom": [network]})
            web.wait_ready("new")
            assert carried(web, active) == {f"{VIP}/32", f"{NEW}/32"}
            assert claimants(client(web), NEW) == {mac, network}
            wait_for(lambda: answers(client(web), NEW), 10, f"{NEW} to answer")
    finally:
        web.delete(service_text("new", NEW))
        web.patch("lvsdg", "default", {"ignoreAnswersFrom": None})
    wait_for(lambda: carried(web, active) == {f"{VIP}/32"}, 60, "the new address to leave", interval=0.5)


def test_stranger_after_a_reboot_from_the_stored_view(web: Deployment) -> None:
    active = active_director(web)
    guest = web.lab.guest(active)
    mac, stranger = mac_of(guest), mac_of(web.lab.machine(STRANGER))
    kubeconfig = web.lab.agent_kubeconfig(active, AGENT_ACCOUNT, DEFAULT_NAMESPACE)
    plane = web.lab.control_plane
    plane.stop()
    guest.power_off()
    with client(web).capture("arp") as capture:
        with stranger_with(web, VIP):
            guest.power_on()
            web.lab.agent(active).start(kubeconfig=kubeconfig, options=agent_options())
            web.wait_shape(active, quick_shape(), deadline=30)
            wait_for(lambda: questions_of(capture, mac, VIP) > 3, RETRY_SECONDS, "the link to be asked twice")
            assert web.agent_metric(active, "lvs_agent_addresses_not_bound") == 1
            assert carried(web, active) == set()
            plane.start("kube-apiserver")
            plane.wait_until_ready()

            def named() -> bool:
                one = exceptions(web, active).get("web", {})
                assert (one.get("reason"), one.get("programmed")) == ("AddressConflict", False), one
                assert stranger in one["message"]
                return True

            wait_for(named, 60, f"{active} to name the stranger", interval=0.5)
            assert carried(web, active) == set()
            assert claims_of(capture, mac, VIP) == []
            assert claimants(client(web), VIP) == {stranger}
        wait_for(
            lambda: carried(web, active) == {f"{VIP}/32"}, RETRY_SECONDS, f"{active} to take the VIP", interval=0.5
        )
        wait_for(lambda: claims_of(capture, mac, VIP), 10, "the VIP to be announced")
    assert claimants(client(web), VIP) == {mac}
    wait_for(lambda: answers(client(web), VIP), 20, f"{VIP} to answer")
