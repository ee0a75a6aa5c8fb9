"""Masquerade on a director with kube-proxy, whose FORWARD rules drop what connection tracking does not know."""

import re
from collections.abc import Iterator
from functools import partial
from typing import Final

import pytest

from lvs_lab.control_plane import KUBERNETES_SERVICE
from lvs_lab.lab_machine import GuestMachine, LabMachine
from lvs_lab.waiting import wait_for
from support.deployment import GONE_SECONDS, Deployment, deployed
from support.example_cases import example
from support.traffic import answers, count_replies

pytestmark = pytest.mark.lab

CASE: Final = example("s13-nat")
GROUP, SERVICES = "s13", ("s13-web", "s13-mysql")
START_SECONDS: Final = 60.0
REPAIR_SECONDS: Final = 3.0
INVALID: Final = re.compile(r"-A KUBE-FORWARD .*--ctstate INVALID .*-j DROP")
NFTABLES: Final = "nft list table ip kube-proxy 2>/dev/null || true"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed("masquerade", ["s13"], tmp_path_factory.mktemp("masquerade")) as deployment:
        for name in CASE.real_servers:
            deployment.lab.machine(name).serve(port=80)
        for name in ("s13-rs201", "s13-rs202"):
            deployment.lab.machine(name).serve(port=3306)
        yield deployment


@pytest.fixture
def director(lab: Deployment) -> Iterator[GuestMachine]:
    """The director; it has a new kernel afterwards: kube-proxy leaves sysctls and rules."""
    guest = lab.lab.guest(CASE.director)
    yield guest
    lab.delete(CASE.directory)
    wait_for(lambda: lab.table(CASE.director) == {}, GONE_SECONDS, "the table to be empty")
    guest.power_off()
    lab.ensure_running()


def client(lab: Deployment) -> LabMachine:
    return lab.lab.machine(CASE.client)


def drops_what_is_invalid(director: GuestMachine) -> bool:
    return INVALID.search(director.out("iptables-save", "--table", "filter")) is not None


def served(lab: Deployment) -> None:
    lab.apply(CASE.directory)
    lab.wait_ready(*SERVICES)
    wait_for(partial(answers, client(lab), CASE.vip), 10, f"{CASE.vip} to answer")
    assert lab.vs_sysctl(CASE.director, "conntrack") == 1
    assert count_replies(client(lab), CASE.vip, 30) == CASE.expected_replies(30)


def test_answers_pass_the_rule_of_iptables_mode(lab: Deployment, director: GuestMachine) -> None:
    lab.lab.kube_proxy(director.name).start("iptables")
    wait_for(partial(drops_what_is_invalid, director), START_SECONDS, "kube-proxy's rule for what is invalid")
    served(lab)

    # Without it the same rule drops the answers: what the agent sets is what lets them pass.
    lab.patch("lvsdg", GROUP, {"sysctls": {"conntrack": False}})
    wait_for(lambda: lab.vs_sysctl(director.name, "conntrack") == 0, 20, "connections not to be tracked")
    assert not answers(client(lab), CASE.vip)
    lab.patch("lvsdg", GROUP, {"sysctls": None})
    wait_for(lambda: lab.vs_sysctl(director.name, "conntrack") == 1, 20, "connections to be tracked again")
    wait_for(partial(answers, client(lab), CASE.vip), 10, f"{CASE.vip} to answer again")

    director.out("sysctl", "--write", "net.ipv4.vs.conntrack=0")
    wait_for(lambda: lab.vs_sysctl(director.name, "conntrack") == 1, REPAIR_SECONDS, "the agent to put it right")
    assert count_replies(client(lab), CASE.vip, 30) == CASE.expected_replies(30)


def test_answers_pass_beside_nftables_mode(lab: Deployment, director: GuestMachine) -> None:
    lab.lab.kube_proxy(director.name).start("nftables")
    wait_for(lambda: KUBERNETES_SERVICE in director.sh(NFTABLES), START_SECONDS, "kube-proxy's rules")
    served(lab)
