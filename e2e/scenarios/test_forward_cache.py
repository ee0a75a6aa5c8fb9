"""Transparent forward caches: packets to any address, marked on the director and answered by caches."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest

from lvs_lab.lab_machine import LabMachine
from lvs_lab.waiting import wait_for
from support.deployment import EXAMPLES, GONE_SECONDS, Deployment, deployed
from support.traffic import answers, count_replies

pytestmark = pytest.mark.lab

EXAMPLE: Final = EXAMPLES / "forward-cache"
DIRECTOR, CLIENT = "cache-director", "cache-client"
CACHES: Final = ("cache-rs100", "cache-rs200")
ORIGINS: Final = [f"203.0.113.{host}" for host in range(1, 41)]
REPAIR_SECONDS: Final = 3.0
MARKS: Final = """
table inet site-marks {
  chain prerouting {
    type filter hook prerouting priority mangle;
    iifname eth0 tcp dport 80 meta mark set 20
  }
}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed("cache", ["cache"], tmp_path_factory.mktemp("cache")) as deployment:
        deployment.lab.guest(DIRECTOR).exec(["nft", "-f", "-"], stdin=MARKS, check=True)
        for name in CACHES:
            cache = deployment.lab.machine(name)
            cache.out("ip", "route", "add", "local", "203.0.113.0/24", "dev", "lo")
            cache.serve(port=80)
        yield deployment


@pytest.fixture
def caches(lab: Deployment) -> Iterator[Deployment]:
    before = policy(lab)
    lab.apply(EXAMPLE)
    lab.wait_ready("caches")
    wait_for(lambda: answers(client(lab), ORIGINS[0]), 10, "a cache to answer")
    yield lab
    lab.delete(EXAMPLE)
    wait_for(lambda: lab.table(DIRECTOR) == {}, GONE_SECONDS, "the table to be empty")
    assert policy(lab) == before


def client(lab: Deployment) -> LabMachine:
    return lab.lab.machine(CLIENT)


def policy(lab: Deployment) -> tuple[str, str]:
    """The director's routing policy, and what of ours there is in its tables."""
    director = lab.lab.guest(DIRECTOR)
    return director.out("ip", "rule", "show"), director.sh("ip route show table all | grep -w 7676 || true")


def test_what_is_for_one_web_server_goes_to_one_cache(caches: Deployment) -> None:
    first = {origin: count_replies(client(caches), origin, 3) for origin in ORIGINS}
    assert all(len(replies) == 1 for replies in first.values())
    shares = Counter(name for replies in first.values() for name in replies)
    assert set(shares) == set(CACHES)
    assert {origin: count_replies(client(caches), origin, 3) for origin in ORIGINS} == first


def test_without_local_delivery_nobody_takes_them(caches: Deployment) -> None:
    delivered = policy(caches)
    mark = {"value": 20, "families": ["IPv4"], "localDelivery": None}
    caches.patch("lvsvs", "caches", {"firewallMark": mark})
    wait_for(lambda: "7676" not in policy(caches)[0], 20, "the rule to go")
    assert not answers(client(caches), ORIGINS[0])
    caches.patch("lvsvs", "caches", {"firewallMark": {**mark, "localDelivery": True}})
    wait_for(lambda: answers(client(caches), ORIGINS[0]), 20, "a cache to answer again")
    assert policy(caches) == delivered


@pytest.mark.parametrize("spoil", ["rule del fwmark 20", "route flush table 7676"])
def test_what_somebody_removes_is_back_soon(caches: Deployment, spoil: str) -> None:
    before = policy(caches)
    caches.lab.guest(DIRECTOR).out("ip", *spoil.split())
    wait_for(lambda: policy(caches) == before, REPAIR_SECONDS, "the policy to be as it was", interval=0.05)
    assert answers(client(caches), ORIGINS[0])


def test_cleanup_leaves_none_of_it(caches: Deployment) -> None:
    agent = caches.lab.agent(DIRECTOR)
    agent.kill("TERM")
    assert "7676" in policy(caches)[0]
    agent.run_verb("cleanup", "--node-name", DIRECTOR)
    assert "7676" not in policy(caches)[0]
    assert policy(caches)[1] == ""
    caches.start_agent(DIRECTOR)
    wait_for(lambda: answers(client(caches), ORIGINS[0]), 20, "a cache to answer again")
