"""Two directors with VRRP: who carries the address under faults, and that it is one at a time.

An advert comes each 100 ms, of pods each 300 ms. Figures are printed; what is asserted has deadlines for a busy
machine.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from lvs_agent.decide.claimants import DEFEND_SECONDS
from lvs_agent.decide.vrrp_config import ANNOUNCEMENTS, REFRESH_SECONDS
from lvs_agent.kernel.duplicate_probe import PROBES
from lvs_lab.host_commands import Completed, run
from lvs_lab.lab_machine import Capture
from lvs_lab.network_daemons import Networkd
from lvs_lab.waiting import wait_for
from support.agent_state import wait_rounds
from support.answering_network import answering_network
from support.chosen_agents import BOOTED_KUBELET, advert_milliseconds, deployed_as_chosen
from support.cluster_looks import READY_SECONDS
from support.deployment import Deployment, holds
from support.director_pair import TAKE_OVER_SECONDS, DirectorPair
from support.fault_figures import Heard, Sign, longest_silence, read_packet
from support.neighbours import claimants, mac_of
from support.steady_load import steady_probes
from support.stranger import ADDED, SECOND_SERVICE, conflict_at, must_leave_out, stranger_with
from support.traffic import answers, count_replies

pytestmark = pytest.mark.lab

FRAMES_OF_A_DEFENCE = 2
"""A request and a reply (RFC 826)."""
DIRECTORS = ("fo-one", "fo-two")
SERVERS = ("fo-rs11", "fo-rs12")
VIP = "192.168.66.127"
ROUTER_ID = 66
BOOT_SECONDS = 60.0
"""In which agents that start without the API server have begun to act on their last view."""
OBJECTS = """
apiVersion: lvs-operator.io/v1alpha1
kind: LvsDirectorGroup
metadata: {name: failover}
spec:
  nodes: {selector: {matchLabels: {lvs-operator.io/director-group: failover}}}
  failover: VRRP
  vrrp:
    advertIntervalMilliseconds: %d
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
    with deployed_as_chosen("failover", ["failover"], tmp_path_factory.mktemp("failover")) as deployment:
        for name in SERVERS:
            deployment.lab.machine(name).serve(port=80)
        for name in DIRECTORS:
            deployment.start_vrrp(name)
        deployment.apply(OBJECTS % advert_milliseconds())
        yield deployment


@pytest.fixture
def pair(lab: Deployment) -> Iterator[DirectorPair]:
    """Both directors up, one of them Master, and the service Ready; whatever a test does is put right."""
    lab.ensure_running()
    lab.wait_ready("failover")
    pair = DirectorPair(deployment=lab, names=DIRECTORS, client_name="fo-client", vip=VIP, router_id=ROUTER_ID)
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


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.processes("a kubelet starts the container again")
def test_what_is_left_of_a_keepalived_that_nobody_starts_again_goes(pair: DirectorPair) -> None:
    master = pair.master()
    other = pair.other(master)
    with silence_of(pair, "keepalived and its supervisor killed"):
        pair.deployment.lab.agent(master).vrrp.kill("KILL")
        pair.deployment.lab.guest(master).out("pkill", "-KILL", "keepalived")
        wait_for(lambda: set(pair.owners()) == set(DIRECTORS), TAKE_OVER_SECONDS, "both to have the address")
        pair.wait_master(other)
    wait_for(lambda: "taken off" in vrrp_trouble(pair, master), READY_SECONDS, f"{master} to say so", interval=0.2)
    pair.deployment.start_vrrp(master)
    pair.wait_settled(other)
    pair.must_stay(other)


def vrrp_trouble(pair: DirectorPair, director: str) -> str:
    """What a director says of its VRRP daemon; empty while all is well."""
    told = pair.deployment.get("lvsnode", director)["status"].get("conditions") or []
    return "".join(one["message"] for one in told if one["type"] == "FailoverImpaired" and one["status"] == "True")


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


@contextmanager
def without_the_api_server(pair: DirectorPair, *booting: str) -> Iterator[Callable[[], None]]:
    """These machines lose their power after the API server went; calling what is given boots them, and all that ran."""
    deployment, lab = pair.deployment, pair.deployment.lab
    credentials = {name: deployment.agent_credentials(name) for name in booting}
    lab.control_plane.stop()
    for name in booting:
        lab.guest(name).power_off()

    def boot() -> None:
        for name in booting:
            lab.guest(name).power_on()
        for name in booting:
            if name in SERVERS:
                lab.machine(name).serve(port=80)
            deployment.start_agent(name, credentials[name])
            if name in DIRECTORS:
                deployment.start_vrrp(name)

    try:
        yield boot
    finally:
        lab.control_plane.start("kube-apiserver")
        lab.control_plane.wait_until_ready()
        deployment.ensure_running()


def heard(capture: Capture, sign: Sign, begin: int = 0, address: str = VIP) -> list[Heard]:
    """What claims the address by this sign."""
    packets = (read_packet(line, address, ROUTER_ID) for line in capture.lines()[begin:])
    return [one for one in packets if one is not None and one.sign is sign]


def must_be_asked(capture: Capture, mac: str, begin: int) -> None:
    """Wait until a director has asked the link about the address a few times since."""

    def asked() -> bool:
        lines = capture.lines()[begin:]
        return sum(mac in line and f"who-has {VIP} tell 0.0.0.0" in line for line in lines) > 3 * PROBES

    wait_for(asked, BOOT_SECONDS, f"{mac} to ask about {VIP}", interval=0.5)


@pytest.mark.long
@pytest.mark.processes(BOOTED_KUBELET)
def test_a_power_cut_while_the_api_server_is_away(pair: DirectorPair) -> None:
    """All that boots has its last view: what a stranger has is taken by none, and then by one; it is so to the end."""
    deployment, lab = pair.deployment, pair.deployment.lab
    with pair.client.capture("arp", "or", "ip", "proto", "112") as capture:
        macs = pair.macs
        with without_the_api_server(pair, *DIRECTORS, SERVERS[0]) as boot:
            with stranger_with(pair, VIP) as stranger:
                begin = len(capture.lines())
                boot()
                for mac in macs:
                    must_be_asked(capture, mac, begin)
                assert heard(capture, Sign.ADVERT, begin) == []
                assert pair.owners() == []
                assert claimants(pair.client, VIP) == {stranger}
            master = pair.master()
            wait_for(lambda: answers(pair.client, VIP), TAKE_OVER_SECONDS, f"{VIP} to answer")
            for server in SERVERS:
                entry = f"{lab.machine(server).ip}:80"
                deployment.wait_weight(master, f"TCP {VIP}:80", entry, 1, deadline=READY_SECONDS)
            assert count_replies(pair.client, VIP, 20).keys() == set(SERVERS)
            pair.must_stay(master)
            begin = len(capture.lines())
        pair.wait_settled(master)
        deployment.wait_ready("failover")
        pair.must_stay(master)
        assert {macs[one.mac] for one in heard(capture, Sign.ADVERT, begin)} == {master}
    assert claimants(pair.client, VIP) == {mac_of(lab.guest(master))}


def test_a_power_cut_in_a_network_with_an_old_entry_of_the_address(pair: DirectorPair) -> None:
    """A fabric that suppresses ARP answers for what it knew: nobody carries the address until that is not to count."""
    deployment, network = pair.deployment, "02:00:00:00:e0:01"
    for name in DIRECTORS:
        deployment.lab.guest(name).power_off()
    try:
        with answering_network(deployment.lab.machine("fo-stranger"), VIP, network, learns=True):
            deployment.ensure_running()
            for name in DIRECTORS:
                named = partial(conflict_at, deployment, name)
                found = wait_for(named, READY_SECONDS, f"{name} to name the network", interval=0.5)
                assert network in found
                assert "name it in spec.ignoreAnswersFrom of the LvsDirectorGroup" in found
            assert pair.owners() == []
            deployment.patch("lvsdg", "failover", {"ignoreAnswersFrom": [network]})
            master = pair.master()
            wait_for(lambda: answers(pair.client, VIP), TAKE_OVER_SECONDS, f"{VIP} to answer")
            pair.wait_settled(master)
            deployment.wait_ready("failover")
    finally:
        deployment.patch("lvsdg", "failover", {"ignoreAnswersFrom": None})
    pair.must_stay(master)


@pytest.mark.processes(BOOTED_KUBELET)
def test_a_director_that_boots_while_the_api_server_is_away_is_a_backup(pair: DirectorPair) -> None:
    master = pair.master()
    other = pair.other(master)
    says = f'lvs_agent_virtual_router_state{{family="IPv4",group="failover",id="{ROUTER_ID}",state="Backup"}}'
    with without_the_api_server(pair, other) as boot:
        boot()
        wait_for(lambda: pair.deployment.agent_metric(other, says) == 1, BOOT_SECONDS, f"{other} to be a Backup")
        pair.must_stay(master)
        with silence_of(pair, "supervisor stopped, the Backup has booted without the API server"):
            pair.deployment.lab.agent(master).vrrp.kill("TERM")
            pair.wait_master(other)
    pair.wait_settled(other)
    pair.must_stay(other)


@pytest.mark.long
def test_a_stranger_beside_a_master_is_named_and_answered_now_and_then(pair: DirectorPair) -> None:
    deployment, master = pair.deployment, pair.master()
    with pair.client.capture("arp") as capture, stranger_with(pair, VIP) as stranger:
        wait_for(holds(lambda: stranger in conflict_at(deployment, master)), READY_SECONDS, "the stranger to be named")
        told = deployment.wait_condition("failover", "Programmed", "False")
        assert stranger in told["message"]
        wait_for(
            lambda: len(heard(capture, Sign.GRATUITOUS)) > 2 * FRAMES_OF_A_DEFENCE,
            READY_SECONDS,
            f"{master} to tell neighbours again",
        )
        assert pair.owners() == [master]
    told_at = [one.at for one in heard(capture, Sign.GRATUITOUS) if one.mac != stranger]
    # keepalived tells neighbours once a minute by itself.
    seconds = told_at[-1] - told_at[0]
    most = (seconds / DEFEND_SECONDS + 1) * FRAMES_OF_A_DEFENCE + (seconds / REFRESH_SECONDS + 1) * 2 * ANNOUNCEMENTS
    assert len(told_at) <= most, told_at
    deployment.wait_ready("failover")
    assert claimants(pair.client, VIP) == {mac_of(deployment.lab.guest(master))}


@pytest.mark.long
def test_a_vip_that_a_stranger_has_is_left_out_and_the_other_is_carried(pair: DirectorPair) -> None:
    """Where it is added, and after a power cut of both directors; it is carried once the stranger is gone."""
    deployment, before, macs = pair.deployment, pair.master(), pair.macs
    try:
        with pair.client.capture("arp") as capture:
            with stranger_with(pair, ADDED) as stranger:
                with silence_of(pair, "a stranger's VIP added"):
                    deployment.apply(SECOND_SERVICE)
                    assert must_leave_out(pair, stranger) == before
                for name in DIRECTORS:
                    deployment.lab.guest(name).power_off()
                deployment.ensure_running()
                wait_for(pair.owners, BOOT_SECONDS, f"a director to carry {VIP}", interval=0.5)
                master = must_leave_out(pair, stranger)
                wait_for(lambda: answers(pair.client, VIP), TAKE_OVER_SECONDS, f"{VIP} to answer")
                claims = [one for sign in (Sign.GRATUITOUS, Sign.ANSWER) for one in heard(capture, sign, address=ADDED)]
                assert [one for one in claims if one.mac in macs] == []
            deployment.wait_ready("second")
            wait_for(lambda: answers(pair.client, ADDED), READY_SECONDS, f"{ADDED} to answer")
            assert claimants(pair.client, ADDED) == {mac_of(deployment.lab.guest(master))}
            assert pair.owners() == [master]
    finally:
        deployment.delete(SECOND_SERVICE)
    gone = holds(lambda: not any(f"{ADDED}/32" in deployment.addresses(name, "eth0") for name in DIRECTORS))
    wait_for(gone, READY_SECONDS, f"{ADDED} to leave the directors")
    pair.wait_settled(master)


def test_a_real_server_that_answers_for_the_address_is_named(pair: DirectorPair) -> None:
    deployment, master, loud = pair.deployment, pair.master(), SERVERS[1]
    guest = deployment.lab.guest(loud)
    deployment.lab.agent(loud).kill("KILL")
    guest.out("sysctl", "-w", "net.ipv4.conf.all.arp_ignore=0", "net.ipv4.conf.eth0.arp_ignore=0")
    named = f"real server rs12 on Node {loud} ({mac_of(guest)}) answers for {VIP}"
    wait_for(holds(lambda: named in conflict_at(deployment, master)), READY_SECONDS, f"{loud} to be named")
    assert pair.owners() == [master]
    deployment.start_agent(loud)
    deployment.wait_ready("failover")
    assert claimants(pair.client, VIP) == {mac_of(deployment.lab.guest(master))}


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
