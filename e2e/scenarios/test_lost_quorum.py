"""Two directors with VRRP and a service that withdraws its address: it is where real servers are seen, or nowhere."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lvs_lab.waiting import wait_for
from support.agent_state import wait_rounds
from support.cluster_looks import READY_SECONDS
from support.deployment import EXAMPLES, Deployment, deployed
from support.director_pair import TAKE_OVER_SECONDS, DirectorPair
from support.neighbours import claimants
from support.traffic import answers, count_replies

pytestmark = pytest.mark.lab

DIRECTORS = ("fo-one", "fo-two")
SERVERS = ("fo-rs11", "fo-rs12")
VIP = "192.168.66.128"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed("quorum", ["failover"], tmp_path_factory.mktemp("quorum")) as deployment:
        for name in SERVERS:
            deployment.lab.machine(name).serve(port=80)
        for name in DIRECTORS:
            deployment.start_vrrp(name)
        deployment.apply(EXAMPLES / "quorum")
        yield deployment


@pytest.fixture
def pair(lab: Deployment) -> DirectorPair:
    """Both directors up, one of them Master, the service Ready, and the client has found it."""
    lab.wait_ready("quorum")
    pair = DirectorPair(deployment=lab, names=DIRECTORS, client_name="fo-client", vip=VIP, router_id=67)
    pair.wait_settled(pair.master())
    wait_for(lambda: answers(pair.client, VIP), TAKE_OVER_SECONDS, f"{VIP} to answer")
    return pair


@contextmanager
def unseen_by(deployment: Deployment, director: str) -> Iterator[None]:
    """Real servers answer this director no more; clients they answer as before."""
    address = deployment.lab.machine(director).ip
    for name in SERVERS:
        deployment.lab.machine(name).out("ip", "route", "add", "blackhole", f"{address}/32")
    try:
        yield
    finally:
        for name in SERVERS:
            deployment.lab.machine(name).out("ip", "route", "del", "blackhole", f"{address}/32")


def reasons(deployment: Deployment, director: str) -> list[str]:
    """Of what a director says of services."""
    status = deployment.get("lvsnode", director).get("status", {})
    return [str(one["reason"]) for one in status.get("exceptions", ())]


def test_an_address_goes_to_the_director_that_sees_the_real_servers(pair: DirectorPair) -> None:
    deployment, master = pair.deployment, pair.master()
    other = pair.other(master)
    with unseen_by(deployment, master):
        pair.wait_master(other)
        pair.wait_states({master: "Fault", other: "Master"})
        assert reasons(deployment, master) == ["BelowQuorum"]
        assert deployment.agent_metric(master, "lvs_agent_addresses_withdrawn") == 1
        assert deployment.agent_metric(other, "lvs_agent_addresses_withdrawn") == 0
        deployment.wait_ready("quorum")
        assert count_replies(pair.client, VIP, 20).keys() == set(SERVERS)
    pair.wait_settled(other)
    pair.must_stay(other)


def test_an_address_that_no_director_can_serve_is_nowhere(pair: DirectorPair) -> None:
    deployment, master = pair.deployment, pair.master()
    for name in SERVERS:
        deployment.lab.machine(name).server(port=80).stop()
    wait_for(lambda: pair.owners() == [], TAKE_OVER_SECONDS, f"nobody to carry {VIP}")
    pair.wait_states(dict.fromkeys(DIRECTORS, "Fault"))
    assert claimants(pair.client, VIP) == set()
    deployment.wait_condition("quorum", "Ready", "False", "BelowQuorum")
    deployment.wait_condition("quorum", "Ready", "False", "NoActiveDirector", kind="lvsdg", deadline=READY_SECONDS)
    deployment.lab.agent(master).kill("KILL")
    deployment.start_agent(master)
    wait_rounds(deployment, master)
    assert pair.owners() == [], "a restart changes nothing"
    deployment.lab.machine(SERVERS[0]).serve(port=80)
    pair.wait_settled(pair.master())
    assert count_replies(pair.client, VIP, 4).keys() == {SERVERS[0]}
    deployment.lab.machine(SERVERS[1]).serve(port=80)
    deployment.wait_ready("quorum")
