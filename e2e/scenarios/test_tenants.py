"""Address pools with real kernels: an address is given out, and leaves every machine with its permission."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest

from lvs_core.address_ranges import read_range
from lvs_lab.waiting import wait_for
from support.cluster_looks import READY_SECONDS
from support.deployment import EXAMPLES, GONE_SECONDS, Deployment
from support.quick_start import SERVERS, VIP, active_director, client, quick_shape
from support.traffic import answers, count_replies, steady_requests

pytestmark = pytest.mark.lab
EXAMPLE: Final = EXAMPLES / "address-pool"
RANGE: Final = "192.168.10.100-192.168.10.109"
NAME: Final = "pooled-web"


@pytest.fixture
def given(web: Deployment) -> Iterator[str]:
    """The address that the example's service was given, beside the quick start."""
    web.apply(EXAMPLE)
    web.wait_ready(NAME, "web")
    (address,) = web.get("lvsvs", NAME)["status"]["addresses"]
    yield address
    web.delete(EXAMPLE / "web.yaml", EXAMPLE / "address-pool.yaml")


def bearers(web: Deployment, address: str) -> set[str]:
    """The machines that have an address."""
    cards = {**dict.fromkeys(("director-1", "director-2"), "eth0"), **dict.fromkeys(SERVERS, "lo")}
    return {name for name, card in cards.items() if f"{address}/32" in web.addresses(name, card)}


def test_a_permission_that_is_taken_back_takes_the_address_off_every_machine(web: Deployment, given: str) -> None:
    assert given in read_range(RANGE)
    assert given != VIP
    both = {**quick_shape(), **quick_shape(vip=given)}
    for director in ("director-1", "director-2"):
        web.wait_shape(director, both)
    assert bearers(web, given) == {active_director(web), *SERVERS}
    wait_for(lambda: answers(client(web), given), READY_SECONDS, f"{given} to answer")
    assert count_replies(client(web), given, 30) == Counter(dict.fromkeys(SERVERS, 10))
    with steady_requests(web.client_namespace("client"), VIP) as record:
        web.patch("lvsap", "public", {"ranges": [f"{VIP}-{VIP}"]})
        web.wait_condition(NAME, "Accepted", "False", "NotPermitted")
        for director in ("director-1", "director-2"):
            web.wait_shape(director, quick_shape(), deadline=GONE_SECONDS)
        wait_for(lambda: not bearers(web, given), GONE_SECONDS, f"{given} to leave every machine")
        assert not answers(client(web), given)
        web.patch("lvsap", "public", {"ranges": [RANGE]})
        web.wait_ready(NAME)
        assert web.get("lvsvs", NAME)["status"]["addresses"] == [given]
        wait_for(lambda: answers(client(web), given), READY_SECONDS, f"{given} to answer again")
    assert record.failures == []


def test_without_its_pool_a_service_goes_on(web: Deployment, given: str) -> None:
    web.delete(EXAMPLE / "address-pool.yaml")
    web.wait_condition(NAME, "ResolvedRefs", "False", "AddressPoolNotFound")
    assert count_replies(client(web), given, 30) == Counter(dict.fromkeys(SERVERS, 10))
    web.wait_ready("web")
