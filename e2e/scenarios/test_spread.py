"""Two virtual routers in one group (`spread: 2`): each director carries its share, and what did not change goes on.

Figures are printed; adverts are each 100 ms.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import pytest

from lvs_lab.waiting import wait_for
from support.cluster_looks import READY_SECONDS
from support.deployment import Deployment, deployed
from support.director_pair import TAKE_OVER_SECONDS, DirectorPair
from support.fault_figures import Heard, Sign, longest_silence, read_packet
from support.neighbours import mac_of
from support.steady_load import plain_real_servers, steady_load, steady_probes
from support.traffic import count_replies

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(900)]

ONE, TWO = "sp-one", "sp-two"
DIRECTORS: Final = (ONE, TWO)
PRIORITIES: Final = (150, 100)
SERVERS: Final = ("sp-server-1", "sp-server-2")
CLIENT: Final = "sp-client"
IDS: Final = (72, 73)
VIPS: Final = ("192.168.72.127", "192.168.72.125")
"""Those of the two virtual routers, by the hash of the address."""
JOINING, REPLACING = "192.168.72.124", "192.168.72.123"
"""The hash of both gives the second virtual router."""
ADVERT_SECONDS: Final = 0.1
MASTER_DOWN_SECONDS: Final = (3 + (256 - PRIORITIES[1]) / 256) * ADVERT_SECONDS
"""After so long without an advert the other director is Master (RFC 9568, 6.1)."""
CONNECTIONS_A_SECOND: Final = 100
GROUP: Final = """
apiVersion: lvs-operator.io/v1alpha1
kind: LvsDirectorGroup
metadata: {name: spread}
spec:
  nodes: {selector: {matchLabels: {lvs-operator.io/director-group: spread}}}
  failover: VRRP
  vrrp:
    spread: 2
    advertIntervalMilliseconds: 100
    virtualRouterIds: [72, 73]
    priorities: [{node: sp-one, priority: 150}, {node: sp-two, priority: 100}]
---
apiVersion: lvs-operator.io/v1alpha1
kind: LvsRealServerPool
metadata: {name: spread}
spec:
  realServers: [{name: one, address: 192.168.72.11}, {name: two, address: 192.168.72.12}]
  healthCheck: {intervalSeconds: 1, timeoutSeconds: 1, rise: 1, fall: 3, tcp: {}}
"""


def service(name: str, address: str) -> str:
    return f"""
apiVersion: lvs-operator.io/v1alpha1
kind: LvsVirtualService
metadata: {{name: {name}}}
spec:
  addresses: ["{address}"]
  ports: [{{name: http, protocol: TCP, port: 80}}]
  scheduler: rr
  forwarding: {{method: DirectRouting}}
  realServerPoolRef: {{name: spread}}
  directorGroupRef: {{name: spread}}
"""


SERVICES: Final = {"first": VIPS[0], "second": VIPS[1]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """The two virtual routers, each as a pair of directors; in the first ONE has the higher priority."""

    first: DirectorPair
    second: DirectorPair

    @property
    def deployment(self) -> Deployment:
        return self.first.deployment

    @property
    def both(self) -> tuple[DirectorPair, DirectorPair]:
        return self.first, self.second

    def wait_with(self, first: str, second: str) -> None:
        """Wait until these are Masters, and all say so; then they stay it, and each answers for its own."""
        masters = (first, second)
        for pair, master in zip(self.both, masters, strict=True):
            pair.wait_master(master)
        for pair, master in zip(self.both, masters, strict=True):
            pair.wait_settled(master)
            pair.must_stay(master)
            assert count_replies(pair.client, pair.vip, 12).keys() == set(SERVERS), pair.vip

    def preempt(self, *, on: bool) -> None:
        """Have directors take back what they come first for, or not; wait until both are told."""
        self.deployment.patch("lvsdg", "spread", {"vrrp": {"preemption": {} if on else None}})
        for name in DIRECTORS:
            wait_for(lambda one=name: self._told(one, preempts=on), READY_SECONDS, f"{name} to be told")  # type: ignore[misc]  # mypy infers no lambda with a default

    def _told(self, name: str, *, preempts: bool) -> bool:
        text = configuration(self.deployment, name)
        return text.count("nopreempt") == (0 if preempts else text.count("vrrp_instance ")) and "vrrp_instance " in text


def configuration(deployment: Deployment, name: str) -> str:
    """What a director's keepalived reads."""
    return deployment.lab.guest(name).out("cat", "/run/lvs-agent/vrrp/keepalived.conf")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shares]:
    with (
        deployed("spread", ["spread"], tmp_path_factory.mktemp("spread")) as deployment,
        plain_real_servers(deployment.lab, VIPS[0], *SERVERS),
    ):
        for name in SERVERS:
            for vip in (VIPS[1], JOINING, REPLACING):
                deployment.lab.machine(name).out("ip", "address", "add", f"{vip}/32", "dev", "lo")
        for name in DIRECTORS:
            deployment.start_vrrp(name)
        deployment.apply(GROUP)
        first, second = (
            DirectorPair(deployment=deployment, names=DIRECTORS, client_name=CLIENT, vip=vip, router_id=number)
            for vip, number in zip(VIPS, IDS, strict=True)
        )
        yield Shares(first=first, second=second)


@pytest.fixture
def shares(lab: Shares) -> Shares:
    """Both services Ready, each director with its share, and none that preempts."""
    lab.deployment.ensure_running()
    lab.deployment.apply(*(service(name, vip) for name, vip in SERVICES.items()))
    lab.deployment.wait_ready(*SERVICES)
    # Who began a moment earlier is Master of both, and stays it.
    lab.preempt(on=True)
    lab.wait_with(ONE, TWO)
    lab.preempt(on=False)
    return lab


@contextmanager
def undisturbed(pair: DirectorPair, owner: str, what: str) -> Iterator[None]:
    """Meanwhile the owner is Master at its pace, lets go never, and every connection to the address is made."""
    namespace = pair.deployment.client_namespace(CLIENT)
    with ExitStack() as stack:
        capture = stack.enter_context(pair.client.capture("ip", "proto", "112"))

        def adverts() -> list[Heard]:
            packets = (read_packet(line, pair.vip, pair.router_id) for line in capture.lines())
            return [one for one in packets if one is not None and one.sign is Sign.ADVERT]

        def more(count: int = 5) -> None:
            """Wait for a few more, so that a pause is one between two."""
            before = len(adverts())
            wait_for(lambda: len(adverts()) >= before + count, TAKE_OVER_SECONDS, f"{count} adverts", interval=0.05)

        with (
            steady_load(namespace, pair.vip, CONNECTIONS_A_SECOND) as load,
            steady_probes(namespace, pair.vip) as probe,
        ):
            more()
            yield
            more(10)
        heard = adverts()
    longest = max(after.at - before.at for before, after in pairwise(heard))
    silence = longest_silence(probe.replies, probe.ended)
    print(f"{what}: {len(heard)} adverts, {longest:.3f} s between two at most; {silence:.3f} s without a reply; {load}")
    assert {one.mac for one in heard} == {mac_of(pair.deployment.lab.guest(owner))}
    assert {one.priority for one in heard} == {PRIORITIES[0]}
    assert longest < MASTER_DOWN_SECONDS
    assert silence < MASTER_DOWN_SECONDS
    assert load.failures == {}
    assert load.succeeded > 0
    assert pair.owners() == [owner]


def test_each_director_carries_what_it_comes_first_for(shares: Shares) -> None:
    shares.wait_with(ONE, TWO)
    status = shares.deployment.get("lvsdg", "spread")["status"]
    told = {
        one["id"]: (one["active"], {each["node"]: each["priority"] for each in one["priorities"]})
        for one in status["virtualRouters"]
    }
    high, low = PRIORITIES
    assert told == {72: (ONE, {ONE: high, TWO: low}), 73: (TWO, {ONE: low, TWO: high})}
    assert "active" not in status


@pytest.mark.parametrize("dead", DIRECTORS)
def test_who_lives_carries_both_and_each_gets_its_own_back_by_preemption_only(shares: Shares, dead: str) -> None:
    moving, staying = shares.both if dead == ONE else shares.both[::-1]
    other = moving.other(dead)
    with undisturbed(staying, other, f"{dead} loses its power, {staying.vip} is not its own"):
        shares.deployment.lab.guest(dead).power_off()
        moving.wait_master(other)
    with undisturbed(staying, other, f"{dead} comes back, {staying.vip} is not its own"):
        shares.deployment.ensure_running()
        shares.wait_with(other, other)
    shares.preempt(on=True)
    shares.wait_with(ONE, TWO)
    shares.preempt(on=False)
    shares.wait_with(ONE, TWO)


Step = tuple[str, Callable[[Deployment], None], set[str]]
"""What is done, how, and what the second virtual router carries then."""
STEPS: Final[tuple[Step, ...]] = (
    ("a VIP joins", lambda one: one.apply(service("third", JOINING)), {VIPS[1], JOINING}),
    (
        "a VIP is replaced",
        lambda one: one.patch("lvsvs", "third", {"addresses": [REPLACING]}),
        {VIPS[1], REPLACING},
    ),
    ("a VIP goes", lambda one: one.delete(service("third", REPLACING)), {VIPS[1]}),
    ("the last VIP goes", lambda one: one.delete(service("second", VIPS[1])), set()),
    ("the first VIP comes", lambda one: one.apply(service("second", VIPS[1])), {VIPS[1]}),
)


def times_read(deployment: Deployment, name: str) -> int:
    """How often a director's keepalived was told to read its configuration again."""
    return deployment.lab.agent(name).vrrp.log().count("keepalived reads its configuration again")


def keepalived(deployment: Deployment, name: str) -> str:
    """The processes, by their ids."""
    return deployment.lab.guest(name).out("pgrep", "-x", "keepalived")


def carries(deployment: Deployment, vips: set[str]) -> bool:
    """Whether the directors together carry these and no others of the second virtual router."""
    found = [address for name in DIRECTORS for address in deployment.addresses(name, "eth0")]
    return sorted(one for one in found if one.endswith("/32") and one != f"{VIPS[0]}/32") == sorted(
        f"{vip}/32" for vip in vips
    )


@pytest.mark.parametrize("beside", ["another Master", "the same Master"])
def test_a_virtual_router_goes_on_while_another_one_changes(shares: Shares, beside: str) -> None:
    """Both keepalived read their configuration again, the Master's and the Backup's of the one that did not change."""
    deployment = shares.deployment
    if beside == "the same Master":
        shares.second.make_master(ONE)
    processes = {name: keepalived(deployment, name) for name in DIRECTORS}
    for what, change, vips in STEPS:
        before = {name: times_read(deployment, name) for name in DIRECTORS}

        def done(wanted: set[str] = vips, before: dict[str, int] = before) -> bool:
            again = all(times_read(deployment, name) > count for name, count in before.items())
            return again and carries(deployment, wanted)

        with undisturbed(shares.first, ONE, f"{what}, beside {beside}"):
            change(deployment)
            wait_for(done, READY_SECONDS, f"{what}: {vips} to be carried")
    assert {name: keepalived(deployment, name) for name in DIRECTORS} == processes
