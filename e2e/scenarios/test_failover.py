"""Two directors with VRRP at an advert each 100 ms: who carries the address under faults, and that it is one at a time.

Figures are printed; what is asserted has deadlines for a busy machine.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from lvs_lab.host_commands import Completed, run
from lvs_lab.network_daemons import Networkd
from lvs_lab.waiting import wait_for
from support.agent_state import wait_rounds
from support.deployment import READY_SECONDS, Deployment, deployed
from support.director_pair import TAKE_OVER_SECONDS, DirectorPair
from support.fault_figures import longest_silence
from support.neighbours import claimants, mac_of
from support.steady_load import steady_probes
from support.traffic import count_replies

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
def pair(lab: Deployment) -> Iterator[DirectorPair]:
    """Both directors up, one of them Master, and the service Ready; whatever a test does is put right."""
    lab.ensure_running()
    lab.wait_ready("failover")
    pair = DirectorPair(deployment=lab, names=DIRECTORS, client_name="fo-client", vip=VIP, router_id=66)
    pair.wait_settled(pair.master())
    yield pair
    for name in DIRECTORS:
        if lab.lab.guest(name).running:
            lab.lab.guest(name).link("up")


@contextmanager
def silence_of(pair: DirectorPair, what: str) -> Iterator[None]:
    """Probe the address each millisecond meanwhile, from before the fault on, and print the longest silence."""
    with steady_probes(pair.deployment.client_namespace("fo-client"), VIP) as probe:
        yield
    longest = longest_silence(probe.replies, probe.ended)
    print(f"{what}: {longest:.3f} s without a reply, of {len(probe.replies)} replies")


def test_one_director_carries_the_address_and_all_is_told(pair: DirectorPair) -> None:
    master = pair.master()
    assert count_replies(pair.client, VIP, 20).keys() == set(SERVERS)
    status = pair.deployment.get("lvsdg", "failover")["status"]
    (router,) = status["virtualRouters"]
    assert (router["id"], router["active"]) == (66, master)
    assert pair.deployment.agent_metric(master, "lvs_agent_virtual_router_state") == 1
    writes = pair.deployment.agent_metric(master, 'lvs_agent_kernel_writes_total{kind="address"}')
    assert writes == 0


def test_the_agents_death_moves_nothing(pair: DirectorPair) -> None:
    master = pair.master()
    with pair.client.capture("ip", "proto", "112") as adverts, silence_of(pair, "agent killed"):
        pair.deployment.lab.agent(master).kill("KILL")
        before = len(adverts.lines())
        wait_for(lambda: len(adverts.lines()) > before + 20, TAKE_OVER_SECONDS, "20 adverts after the agent's death")
        assert pair.owners() == [master]
        pair.deployment.start_agent(master)
        # What the API server has of this director is still the word of the agent that was killed.
        wait_rounds(pair.deployment, master)
        pair.must_stay(master)
        senders = {line.split(" > ")[1].split()[-1] for line in adverts.lines() if " > 224.0.0.18" in line}
    assert len(senders) == 1, senders
    assert pair.deployment.agent_metric(master, "lvs_agent_kernel_writes_total") == 0
    pair.wait_settled(master)


def test_a_killed_keepalived_is_replaced_and_leaves_no_second_owner(pair: DirectorPair) -> None:
    master = pair.master()
    restarts = partial(pair.deployment.agent_metric, master, "lvs_agent_vrrp_restarts_total")
    before = restarts()
    with silence_of(pair, "keepalived killed"):
        pair.deployment.lab.guest(master).out("pkill", "-KILL", "keepalived")
        wait_for(lambda: restarts() > before, READY_SECONDS, "keepalived to be started again", interval=0.2)
        # The Master's reports may be from before its keepalived was killed, those of a Backup are of the new one.
        new = pair.master()
        pair.wait_settled(new)
        pair.must_stay(new)


def test_an_address_that_somebody_takes_off_is_back(pair: DirectorPair) -> None:
    master = pair.master()
    with silence_of(pair, "address deleted by hand"):
        pair.deployment.lab.guest(master).out("ip", "address", "del", f"{VIP}/32", "dev", "eth0")
        new = pair.master()
        pair.must_stay(new)
    pair.wait_settled(new)


def test_an_address_that_networkd_takes_off_is_with_one_director_again(pair: DirectorPair) -> None:
    master = pair.master()
    guest = pair.deployment.lab.guest(master)
    daemon = Networkd(guest)
    changes = partial(pair.deployment.agent_metric, master, "lvs_agent_virtual_router_changes_total")
    for what, deed in (("networkd started", daemon.start), ("networkd restarted", daemon.restart)):
        pair.make_master(master)
        before = changes()
        with silence_of(pair, what):
            deed()
            wait_for(lambda before=before: changes() > before, READY_SECONDS, f"{master} to let go")
            pair.must_stay(pair.master())
        pair.wait_settled(pair.master())
    guest.power_off()
    pair.deployment.ensure_running()
    pair.wait_settled(pair.master())


def test_a_director_without_a_link_gives_way_and_does_not_preempt(pair: DirectorPair) -> None:
    master = pair.master()
    other = pair.other(master)
    with silence_of(pair, "link down"):
        pair.deployment.lab.guest(master).link("down")
        pair.wait_master(other)
    pair.deployment.lab.guest(master).link("up")
    pair.wait_settled(other)
    pair.must_stay(other)


def test_an_orderly_stop_hands_over(pair: DirectorPair) -> None:
    master = pair.master()
    other = pair.other(master)
    with silence_of(pair, "supervisor stopped"):
        pair.deployment.lab.agent(master).vrrp.kill("TERM")
        pair.wait_master(other)
    pair.deployment.start_vrrp(master)
    pair.wait_settled(other)
    pair.must_stay(other)


def test_a_director_without_power_is_relieved_and_does_not_preempt(pair: DirectorPair) -> None:
    master = pair.master()
    other = pair.other(master)
    with silence_of(pair, "power off"):
        pair.deployment.lab.guest(master).power_off()
        pair.wait_master(other)
    pair.deployment.ensure_running()
    pair.wait_settled(other)
    pair.must_stay(other)
    assert claimants(pair.client, VIP) == {mac_of(pair.deployment.lab.guest(other))}


def hand_over(pair: DirectorPair, *words: str) -> Completed:
    """Kubectl lvs failover, as an administrator calls it."""
    environment = {**os.environ, "KUBECONFIG": str(pair.deployment.lab.host_kubeconfig)}
    return run([sys.executable, "-m", "lvs_cli", "failover", "failover", *words], env=environment, check=False)


def test_a_planned_hand_over_moves_the_address_once(pair: DirectorPair) -> None:
    master = pair.master()
    other = pair.other(master)
    with silence_of(pair, "planned hand-over"):
        done = hand_over(pair)
        assert done.stdout == f"failover: {other} carries the addresses instead of {master}\n", done.stderr
        pair.wait_master(other)
    pair.wait_settled(other)
    with silence_of(pair, "planned hand-over to a director by name"):
        done = hand_over(pair, "--to", master)
        assert done.stdout == f"failover: {master} carries the addresses instead of {other}\n", done.stderr
        pair.wait_master(master)
    pair.wait_settled(master)
    assert hand_over(pair, "--to", master).stdout == f"failover: {master} carries the addresses already\n"


def test_nothing_is_handed_over_to_a_director_without_a_link(pair: DirectorPair) -> None:
    master = pair.master()
    other = pair.other(master)
    pair.deployment.lab.guest(other).link("down")
    pair.wait_states({other: "Fault"})
    with silence_of(pair, "hand-over refused"):
        refused = hand_over(pair)
    assert refused.stderr.startswith(f"error: failover: refused: no other director is ready: {other} is in Fault")
    assert pair.owners() == [master]


def test_a_cordoned_director_gives_the_address_away_and_comes_last(pair: DirectorPair) -> None:
    master = pair.master()
    other = pair.other(master)
    deployment = pair.deployment
    with silence_of(pair, "cordon"):
        deployment.lab.kubectl("cordon", master)
        pair.wait_master(other)
    pair.wait_settled(other)
    priorities = deployment.get("lvsdg", "failover")["status"]["virtualRouters"][0]["priorities"]
    assert [one["node"] for one in priorities] == [other, master]
    with silence_of(pair, "the other loses its link"):
        deployment.lab.guest(other).link("down")
        pair.wait_master(master)
    deployment.lab.kubectl("uncordon", master)
    deployment.lab.guest(other).link("up")
    pair.wait_settled(master)


def test_maintenance_moves_the_address_though_the_director_comes_first(pair: DirectorPair) -> None:
    deployment = pair.deployment
    if pair.master() != DIRECTORS[0]:
        assert hand_over(pair, "--to", DIRECTORS[0]).returncode == 0
        pair.wait_settled(DIRECTORS[0])
    with silence_of(pair, "maintenance"):
        deployment.patch("lvsdg", "failover", {"maintenance": [DIRECTORS[0]]})
        pair.wait_master(DIRECTORS[1])
    pair.wait_settled(DIRECTORS[1])
    deployment.patch("lvsdg", "failover", {"maintenance": []})
    pair.wait_settled(DIRECTORS[1])
