"""Two directors with VRRP that are the two real servers themselves: each request is forwarded once at most.

A packet loses one of its 64 hops where a director forwards it. One with less than 63 was balanced twice.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import pytest

from lvs_lab.lab_machine import Capture
from lvs_lab.waiting import wait_for
from support.cluster_looks import READY_SECONDS
from support.deployment import EXAMPLES, GONE_SECONDS, Deployment, deployed
from support.director_pair import TAKE_OVER_SECONDS, DirectorPair
from support.steady_load import steady_probes
from support.traffic import count_replies

pytestmark = pytest.mark.lab

EXAMPLE: Final = EXAMPLES / "directors-as-real-servers"
DIRECTORS: Final = ("both-one", "both-two")
VIP, VIP6, TUNNEL_VIP, NAT_VIP = "192.168.69.100", "2001:db8:69::100", "192.168.69.101", "192.168.69.102"
VIPS: Final = (VIP, VIP6, TUNNEL_VIP, NAT_VIP)
TO_SERVERS: Final = "tcp dst port 80 and dst net 192.168.69.2/31"
"""As NAT sends packets on; checks come this way, too, with all of their hops."""
TWICE: Final = (
    f"(ip dst net 192.168.69.100/31 and ip[8] < 63) or (ip6 dst {VIP6} and ip6[7] < 63) or (ip proto 4 and ip[28] < 63)"
    f" or ({TO_SERVERS} and ip[8] < 63)"
)
ONCE: Final = (
    f"(ip dst {VIP} and ip[8] == 63) or (ip6 dst {VIP6} and ip6[7] == 63) or (ip proto 4 and ip[28] == 63)"
    f" or ({TO_SERVERS} and ip[8] == 63)"
)
DEAF: Final = """
table inet deaf {
  chain input {
    type filter hook input priority -300
    meta l4proto 112 drop
  }
}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed("both", ["both"], tmp_path_factory.mktemp("both")) as deployment:
        for name in DIRECTORS:
            deployment.lab.machine(name).serve(port=80)
            deployment.start_vrrp(name)
        deployment.apply(EXAMPLE)
        yield deployment


@pytest.fixture
def pair(lab: Deployment) -> Iterator[DirectorPair]:
    lab.ensure_running()
    for service in ("both-web", "both-tunnel", "both-nat"):
        lab.wait_ready(service)
    pair = DirectorPair(deployment=lab, names=DIRECTORS, client_name="both-client", vip=VIP, router_id=69)
    pair.master()
    yield pair
    for name in DIRECTORS:
        lab.lab.guest(name).exec(["nft", "delete", "table", "inet", "deaf"])
        if not lab.lab.agent(name).vrrp.running:
            lab.start_vrrp(name)


@contextmanager
def watched(pair: DirectorPair) -> Iterator[list[Capture]]:
    """Whatever comes to a director meanwhile was forwarded at most once; the captures of what was so once."""
    with ExitStack() as stack:
        guests = [pair.deployment.lab.guest(name) for name in DIRECTORS]
        twice = [stack.enter_context(guest.capture(TWICE)) for guest in guests]
        yield [stack.enter_context(guest.capture(ONCE)) for guest in guests]
        assert [line for capture in twice for line in capture.lines()] == []


def both_serve(pair: DirectorPair, vip: str) -> None:
    wait_for(
        lambda: count_replies(pair.client, vip, 12).keys() == set(DIRECTORS), READY_SECONDS, f"both to serve {vip}"
    )


@pytest.mark.parametrize("vip", VIPS)
def test_each_of_the_two_serves_its_share(pair: DirectorPair, vip: str) -> None:
    both_serve(pair, vip)
    with watched(pair) as once:
        assert count_replies(pair.client, vip, 20) == dict.fromkeys(DIRECTORS, 10)
        assert sum(len(capture.lines()) for capture in once) > 0


def test_a_take_over_loses_nothing_for_long_and_nothing_goes_round(pair: DirectorPair) -> None:
    master = pair.master()
    other = pair.other(master)
    with watched(pair), steady_probes(pair.deployment.client_namespace("both-client"), VIP) as probe:
        pair.deployment.lab.agent(master).vrrp.kill("TERM")
        pair.wait_master(other)
        for vip in VIPS:
            both_serve(pair, vip)
    assert probe.replies
    for name in DIRECTORS:
        assert f"{VIP}/32" in pair.deployment.addresses(name, "lo")


def test_two_masters_at_once_do_not_play_packets_to_and_fro(pair: DirectorPair) -> None:
    for vip in VIPS:
        both_serve(pair, vip)
    with watched(pair):
        for name in DIRECTORS:
            pair.deployment.lab.guest(name).exec(["nft", "--file", "-"], stdin=DEAF, check=True)
        wait_for(lambda: pair.owners() == list(DIRECTORS), TAKE_OVER_SECONDS, "both directors to carry the VIP")
        for vip in VIPS:
            wait_for(
                lambda vip=vip: count_replies(pair.client, vip, 20), READY_SECONDS, f"20 answers of {vip} in a row"
            )


def test_without_its_mark_a_director_would_play_packets_to_and_fro(pair: DirectorPair) -> None:
    """What the captures would show: the agent is away, and somebody takes its table of the packet filter."""
    master = pair.master()
    standby = pair.other(master)
    both_serve(pair, VIP)
    pair.deployment.lab.agent(standby).kill("TERM")
    guest = pair.deployment.lab.guest(standby)
    guest.out("nft", "delete", "table", "inet", "lvs-operator")
    with guest.capture(TWICE) as twice:
        with pytest.raises(AssertionError):
            count_replies(pair.client, VIP, 8)
        wait_for(lambda: len(twice.lines()) > 0, GONE_SECONDS, "a packet to come back")
    pair.deployment.start_agent(standby)
    both_serve(pair, VIP)
