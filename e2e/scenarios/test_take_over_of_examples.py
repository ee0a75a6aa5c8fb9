"""S13, S20, S21: one of two directors loses its power, then the other; who lives carries all, and gives it back."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lvs_lab.waiting import wait_for
from support.cluster_looks import READY_SECONDS
from support.deployment import Deployment, deployed
from support.example_cases import Case, example
from support.example_machines import prepare
from support.traffic import answers, count_replies

pytestmark = pytest.mark.lab

TAKE_OVER_SECONDS = 20.0
Carried = dict[str, set[str]]
"""By network device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two directors of an example, and what each of them carries while both live."""

    case: Case
    first: Carried
    second: Carried
    vips: tuple[str, ...]

    @property
    def all(self) -> Carried:
        return {device: self.first[device] | self.second[device] for device in self.first}


PAIRS = (
    Pair(
        case=example("s13-nat-failover"),
        first={"eth0": {"192.168.4.5/32"}, "eth1": {"192.168.2.5/32"}},
        second={"eth0": set(), "eth1": set()},
        vips=("192.168.4.5",),
    ),
    Pair(
        case=example("s20-vrrp"),
        first={"eth0": {"192.168.65.127/32"}},
        second={"eth0": set()},
        vips=("192.168.65.127",),
    ),
    Pair(
        case=example("s21-double-master"),
        first={"eth0": {"192.168.65.127/32", "192.168.65.128/32"}},
        second={"eth0": {"192.168.65.125/32"}},
        vips=("192.168.65.127", "192.168.65.128", "192.168.65.125"),
    ),
)
# Set-ups that use the same addresses can not be in one cluster.
GROUPS = ("s21-first", "s21-second")
LABS = {"one": PAIRS[:2], "two": PAIRS[2:]}


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    cases = [pair.case for pair in LABS[request.param]]
    directory = tmp_path_factory.mktemp("take-over")
    with deployed(f"take-over-{request.param}", [case.machines for case in cases], directory) as deployment:
        for case in cases:
            prepare(deployment, case, set())
            deployment.apply(case.directory)
        yield deployment


def carried(deployment: Deployment, name: str, devices: Carried) -> Carried:
    """The host addresses on a director's devices."""
    return {device: {one for one in deployment.addresses(name, device) if one.endswith("/32")} for device in devices}


def wait_carried(deployment: Deployment, name: str, wanted: Carried, seconds: float) -> None:
    wait_for(lambda: carried(deployment, name, wanted) == wanted, seconds, f"{name} to carry {wanted}", interval=0.2)


def must_serve(deployment: Deployment, pair: Pair) -> None:
    """From all real servers, at each VIP."""
    client = deployment.lab.machine(pair.case.client)
    for vip in pair.vips:
        wait_for(lambda one=vip: answers(client, one), TAKE_OVER_SECONDS, f"{vip} to answer")  # type: ignore[misc]  # mypy infers no lambda with a default
        assert count_replies(client, vip, 12).keys() == set(pair.case.real_servers), vip


def wait_shared(deployment: Deployment, pair: Pair) -> None:
    """Wait until each director carries its own, and all is served."""
    first, second = pair.case.vrrp_directors
    wait_carried(deployment, first, pair.first, READY_SECONDS)
    wait_carried(deployment, second, pair.second, READY_SECONDS)
    must_serve(deployment, pair)


def lose(deployment: Deployment, pair: Pair, dead: str, other: str) -> None:
    deployment.lab.guest(dead).power_off()
    wait_carried(deployment, other, pair.all, TAKE_OVER_SECONDS)
    must_serve(deployment, pair)
    deployment.ensure_running()
    wait_shared(deployment, pair)


@pytest.mark.parametrize(
    ("lab", "pair"),
    [(name, pair) for name, pairs in LABS.items() for pair in pairs],
    indirect=["lab"],
    scope="module",
    ids=[pair.case.example for pairs in LABS.values() for pair in pairs],
)
def test_who_lives_carries_all_and_each_gets_back_its_own(lab: Deployment, pair: Pair) -> None:
    lab.wait_ready(pair.case.service, *pair.case.other_services)
    wait_shared(lab, pair)
    first, second = pair.case.vrrp_directors
    lose(lab, pair, first, second)
    lose(lab, pair, second, first)


@pytest.mark.parametrize("lab", ["one"], indirect=True, scope="module")
def test_a_director_without_its_inside_card_gives_up_both(lab: Deployment) -> None:
    """The tracked interface of S13: the VIP leaves with the gateway, though the clients' link is well."""
    pair = PAIRS[0]
    first, second = pair.case.vrrp_directors
    wait_shared(lab, pair)
    lab.lab.guest(first).link("down", device="eth1")
    try:
        wait_carried(lab, second, pair.all, TAKE_OVER_SECONDS)
        wait_carried(lab, first, pair.second, TAKE_OVER_SECONDS)
        must_serve(lab, pair)
    finally:
        lab.lab.guest(first).link("up", device="eth1")
    wait_shared(lab, pair)


@pytest.mark.long
@pytest.mark.parametrize("lab", ["two"], indirect=True, scope="module")
def test_by_unicast_it_is_the_same(lab: Deployment) -> None:
    """Nobody else hears an advert, and the directors hear one another."""
    (pair,) = LABS["two"]
    first, second = pair.case.vrrp_directors
    for group in GROUPS:
        lab.patch("lvsdg", group, {"vrrp": {"transport": "Unicast"}})
    for name in (first, second):
        wait_for(lambda one=name: unicasts(lab, one), READY_SECONDS, f"{name} to be told")  # type: ignore[misc]  # mypy infers no lambda with a default
    wait_shared(lab, pair)
    lose(lab, pair, first, second)
    with lab.lab.machine(pair.case.client).capture("ip", "proto", "112", "and", "dst", "224.0.0.18") as heard:
        lose(lab, pair, second, first)
    assert not any(heard.lines())


def unicasts(deployment: Deployment, name: str) -> bool:
    """Whether a director is configured so in each of its virtual routers."""
    text = deployment.lab.guest(name).out("cat", "/run/lvs-agent/vrrp/keepalived.conf")
    return text.count("unicast_peer {") == text.count("vrrp_instance ") == len(GROUPS)
