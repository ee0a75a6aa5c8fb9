"""Two directors with VRRP at an advert each 100 ms: who carries the address under faults, and that it is one at a time.

Figures are printed; what is asserted has deadlines for a busy machine.
"""

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import pytest

from lvs_lab.host_commands import Completed, run
from lvs_lab.lab_machine import LabMachine
from lvs_lab.waiting import wait_for
from support.deployment import READY_SECONDS, Deployment, deployed
from support.neighbours import claimants, mac_of, wait_for_neighbour
from support.traffic import answers, count_replies

pytestmark = pytest.mark.lab

DIRECTORS = ("fo-one", "fo-two")
SERVERS = ("fo-rs11", "fo-rs12")
VIP = "192.168.66.127"
OBJECTS = """
apiVersion: lvs-operator.io/v1alpha1
kind: LvsDirectorGroup
metadata: {name: failover}
spec:
  nodes: {selector: {matchLabels: {lvs-operator.io/director-group: failover}}}
  failover: VRRP
  vrrp:
    advertIntervalMilliseconds: 100
    virtualRouterIds: [66]
    priorities: [{node: fo-one, priority: 150}, {node: fo-two, priority: 100}]
---
apiVersion: lvs-operator.io/v1alpha1
kind: LvsRealServerPool
metadata: {name: failover}
spec:
  realServers: [{name: rs11, address: 192.168.66.11}, {name: rs12, address: 192.168.66.12}]
  healthCheck: {intervalSeconds: 1, timeoutSeconds: 1, rise: 1, fall: 3, tcp: {}}
---
apiVersion: lvs-operator.io/v1alpha1
kind: LvsVirtualService
metadata: {name: failover}
spec:
  addresses: ["192.168.66.127"]
  ports: [{name: http, protocol: TCP, port: 80}]
  scheduler: rr
  forwarding: {method: DirectRouting}
  realServerPoolRef: {name: failover}
  directorGroupRef: {name: failover}
"""
TAKE_OVER_SECONDS = 20.0
_REPLY = re.compile(r"^\[(\d+\.\d+)\].*icmp_seq=")


@dataclass(kw_only=True)
class Pair:
    """The two directors and who looks at them."""

    deployment: Deployment

    @property
    def client(self) -> LabMachine:
        return self.deployment.lab.machine("fo-client")

    def owners(self) -> list[str]:
        """The directors that have the address on their device."""
        lab = self.deployment.lab
        running = [name for name in DIRECTORS if lab.guest(name).running]
        return [name for name in running if f"{VIP}/32" in self.deployment.addresses(name, "eth0")]

    def other(self, name: str) -> str:
        return DIRECTORS[1 - DIRECTORS.index(name)]

    def master(self) -> str:
        """The one director that carries the address and answers for it, once there is just one."""

        def one() -> str:
            owners = self.owners()
            assert len(owners) == 1, owners
            owner = owners[0]
            assert claimants(self.client, VIP) == {mac_of(self.deployment.lab.guest(owner))}
            return owner

        return wait_for(one, TAKE_OVER_SECONDS, f"one director to carry {VIP}", interval=0.2)

    def wait_master(self, name: str) -> None:
        """Wait until this director carries the address, the other does not, and the client knows."""
        wait_for(lambda: self.owners() == [name], TAKE_OVER_SECONDS, f"{name} to carry {VIP}", interval=0.05)
        wait_for_neighbour(self.client, VIP, mac_of(self.deployment.lab.guest(name)), deadline=TAKE_OVER_SECONDS)
        wait_for(lambda: answers(self.client, VIP), TAKE_OVER_SECONDS, f"{VIP} to answer")
        assert claimants(self.client, VIP) == {mac_of(self.deployment.lab.guest(name))}

    def state(self, name: str) -> str:
        """What a director's LvsNode says of its virtual router."""
        for group in self.deployment.get("lvsnode", name).get("status", {}).get("directorGroups", ()):
            for router in group.get("virtualRouters", ()):
                assert (router["id"], router["family"]) == (66, "IPv4")
                return str(router["state"])
        return "none"

    def wait_states(self, **wanted: str) -> None:
        """Wait until the directors say so."""
        states = {name.replace("_", "-"): state for name, state in wanted.items()}
        wait_for(
            lambda: {name: self.state(name) for name in states} == states,
            READY_SECONDS,
            f"the directors to say {states}",
            interval=0.2,
        )

    def wait_settled(self, master: str) -> None:
        """Wait until both directors say what they do, the one as Master and the other as Backup."""
        self.wait_states(**{master.replace("-", "_"): "Master", self.other(master).replace("-", "_"): "Backup"})


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed("failover", ["failover"], tmp_path_factory.mktemp("failover")) as deployment:
        for name in SERVERS:
            deployment.lab.machine(name).serve(port=80)
        for name in DIRECTORS:
            deployment.start_vrrp(name)
        deployment.apply(OBJECTS)
        yield deployment


@pytest.fixture
def pair(lab: Deployment) -> Iterator[Pair]:
    """Both directors up, one of them Master, and the service Ready; whatever a test does is put right."""
    lab.ensure_running()
    lab.wait_ready("failover")
    pair = Pair(deployment=lab)
    pair.wait_settled(pair.master())
    yield pair
    for name in DIRECTORS:
        if lab.lab.guest(name).running:
            lab.lab.guest(name).link("up")


@contextmanager
def silence_of(pair: Pair, seconds: float, what: str) -> Iterator[Callable[[], float]]:
    """Probe the address each 10 ms for so long; the longest time without a reply, once the context has ended."""
    stamps: list[float] = []
    command = ["ping", "-D", "-n", "-i", "0.01", "-W", "1", "-w", f"{seconds:.0f}", VIP]

    def probe() -> None:
        lines = pair.client.exec(command, timeout=seconds + 30).stdout.splitlines()
        stamps.extend(float(found[1]) for line in lines if (found := _REPLY.match(line)))

    thread = threading.Thread(target=probe, name=f"probes of {VIP}", daemon=True)
    thread.start()

    def longest() -> float:
        return max((after - before for before, after in pairwise(stamps)), default=seconds)

    try:
        yield longest
    finally:
        thread.join(seconds + 60)
        assert not thread.is_alive(), "the probes do not end"
    print(f"{what}: {longest():.3f} s without a reply, of {len(stamps)} replies")
    assert stamps, "no probe was answered"


def test_one_director_carries_the_address_and_all_is_told(pair: Pair) -> None:
    master = pair.master()
    assert count_replies(pair.client, VIP, 20).keys() == set(SERVERS)
    status = pair.deployment.get("lvsdg", "failover")["status"]
    (router,) = status["virtualRouters"]
    assert (router["id"], router["active"]) == (66, master)
    assert pair.deployment.agent_metric(master, "lvs_agent_virtual_router_state") == 1
    writes = pair.deployment.agent_metric(master, 'lvs_agent_kernel_writes_total{kind="address"}')
    assert writes == 0


def test_the_agents_death_moves_nothing(pair: Pair) -> None:
    master = pair.master()
    with pair.client.capture("ip", "proto", "112") as adverts, silence_of(pair, 6, "agent killed"):
        pair.deployment.lab.agent(master).kill("KILL")
        before = len(adverts.lines())
        wait_for(lambda: len(adverts.lines()) > before + 20, TAKE_OVER_SECONDS, "20 adverts after the agent's death")
        assert pair.owners() == [master]
        senders = {line.split(" > ")[1].split()[-1] for line in adverts.lines() if " > 224.0.0.18" in line}
        pair.deployment.start_agent(master)
        told = partial(pair.deployment.agent_metric, master)
        rounds = 'lvs_agent_rounds_total{result="ok"}'
        wait_for(
            lambda: told("lvs_agent_api_up") == 1 and told(rounds) >= 5, READY_SECONDS, "the agent to have made rounds"
        )
        pair.wait_settled(master)
    assert pair.owners() == [master]
    assert len(senders) == 1, senders
    assert pair.deployment.agent_metric(master, "lvs_agent_kernel_writes_total") == 0


def test_a_killed_keepalived_is_replaced_and_leaves_no_second_owner(pair: Pair) -> None:
    master = pair.master()
    with silence_of(pair, 6, "keepalived killed"):
        pair.deployment.lab.guest(master).out("pkill", "-KILL", "keepalived")
        restarts = partial(pair.deployment.agent_metric, master, "lvs_agent_vrrp_restarts_total")
        wait_for(lambda: restarts() == 1, READY_SECONDS, "keepalived to be started again", interval=0.2)
        new = pair.master()
    pair.wait_settled(new)


def test_an_address_that_somebody_takes_off_is_back(pair: Pair) -> None:
    master = pair.master()
    with silence_of(pair, 6, "address deleted by hand"):
        pair.deployment.lab.guest(master).out("ip", "address", "del", f"{VIP}/32", "dev", "eth0")
        new = pair.master()
    pair.wait_settled(new)


def test_a_director_without_a_link_gives_way_and_does_not_preempt(pair: Pair) -> None:
    master = pair.master()
    other = pair.other(master)
    with silence_of(pair, 6, "link down"):
        pair.deployment.lab.guest(master).link("down")
        pair.wait_master(other)
    pair.deployment.lab.guest(master).link("up")
    pair.wait_settled(other)
    assert pair.owners() == [other]


def test_an_orderly_stop_hands_over(pair: Pair) -> None:
    master = pair.master()
    other = pair.other(master)
    with silence_of(pair, 6, "supervisor stopped"):
        pair.deployment.lab.agent(master).vrrp.kill("TERM")
        pair.wait_master(other)
    pair.deployment.start_vrrp(master)
    pair.wait_settled(other)


def test_a_director_without_power_is_relieved_and_does_not_preempt(pair: Pair) -> None:
    master = pair.master()
    other = pair.other(master)
    with silence_of(pair, 8, "power off"):
        pair.deployment.lab.guest(master).power_off()
        pair.wait_master(other)
    pair.deployment.ensure_running()
    pair.wait_settled(other)
    assert pair.owners() == [other]
    assert claimants(pair.client, VIP) == {mac_of(pair.deployment.lab.guest(other))}


def hand_over(pair: Pair, *words: str) -> Completed:
    """Kubectl lvs failover, as an administrator calls it."""
    environment = {**os.environ, "KUBECONFIG": str(pair.deployment.lab.host_kubeconfig)}
    return run([sys.executable, "-m", "lvs_cli", "failover", "failover", *words], env=environment, check=False)


def test_a_planned_hand_over_moves_the_address_once(pair: Pair) -> None:
    master = pair.master()
    other = pair.other(master)
    with silence_of(pair, 8, "planned hand-over"):
        done = hand_over(pair)
        assert done.stdout == f"failover: {other} carries the addresses instead of {master}\n", done.stderr
        pair.wait_master(other)
    pair.wait_settled(other)
    with silence_of(pair, 8, "planned hand-over to a director by name"):
        done = hand_over(pair, "--to", master)
        assert done.stdout == f"failover: {master} carries the addresses instead of {other}\n", done.stderr
        pair.wait_master(master)
    pair.wait_settled(master)
    assert hand_over(pair, "--to", master).stdout == f"failover: {master} carries the addresses already\n"


def test_nothing_is_handed_over_to_a_director_without_a_link(pair: Pair) -> None:
    master = pair.master()
    other = pair.other(master)
    pair.deployment.lab.guest(other).link("down")
    pair.wait_states(**{other.replace("-", "_"): "Fault"})
    with silence_of(pair, 4, "hand-over refused"):
        refused = hand_over(pair)
    assert refused.stderr.startswith(f"error: failover: refused: no other director is ready: {other} is in Fault")
    assert pair.owners() == [master]


def test_a_cordoned_director_gives_the_address_away_and_comes_last(pair: Pair) -> None:
    master = pair.master()
    other = pair.other(master)
    deployment = pair.deployment
    with silence_of(pair, 8, "cordon"):
        deployment.lab.kubectl("cordon", master)
        pair.wait_master(other)
    pair.wait_settled(other)
    priorities = deployment.get("lvsdg", "failover")["status"]["virtualRouters"][0]["priorities"]
    assert [one["node"] for one in priorities] == [other, master]
    with silence_of(pair, 8, "the other loses its link"):
        deployment.lab.guest(other).link("down")
        pair.wait_master(master)
    deployment.lab.kubectl("uncordon", master)
    deployment.lab.guest(other).link("up")
    pair.wait_settled(master)


def test_maintenance_moves_the_address_though_the_director_comes_first(pair: Pair) -> None:
    deployment = pair.deployment
    if pair.master() != DIRECTORS[0]:
        assert hand_over(pair, "--to", DIRECTORS[0]).returncode == 0
        pair.wait_settled(DIRECTORS[0])
    with silence_of(pair, 8, "maintenance"):
        deployment.patch("lvsdg", "failover", {"maintenance": [DIRECTORS[0]]})
        pair.wait_master(DIRECTORS[1])
    pair.wait_settled(DIRECTORS[1])
    deployment.patch("lvsdg", "failover", {"maintenance": []})
    pair.wait_settled(DIRECTORS[1])
