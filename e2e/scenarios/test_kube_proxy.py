"""kube-proxy on a director: what it deletes is put back and told, and nothing of its own is touched."""

import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Final

import pytest

from lvs_lab.control_plane import KUBERNETES_SERVICE
from lvs_lab.kube_proxy import KubeProxy
from lvs_lab.lab_machine import GuestMachine
from lvs_lab.waiting import wait_for
from support.deployment import Deployment, holds
from support.quick_start import KEY, SERVERS, VIP, active_director, client, quick_shape, replies
from support.tables import Shape
from support.traffic import HeldConnection, answers

pytestmark = pytest.mark.lab
REPAIR_SECONDS: Final = 3.0
"""Repairs come within about a second; the rest is for a busy machine and for looking."""
START_SECONDS: Final = 60.0
THEIRS: Final = f"TCP {KUBERNETES_SERVICE}:443"
"""kube-proxy's entry for the API server."""
STRANGER: Final = "192.168.10.200:99"
CONTESTED: Final = "TableContested"
SERVICE_REPAIRS: Final = 'lvs_agent_repairs_total{kind="service"}'


@pytest.fixture
def director(web: Deployment) -> Iterator[GuestMachine]:
    """The active director, with an agent that remembers no damage of other tests.

    It has a new kernel afterwards: kube-proxy leaves a device, sysctls, rules and entries.
    """
    guest = web.lab.guest(active_director(web))
    web.lab.agent(guest.name).kill()
    web.start_agent(guest.name)
    makes_rounds(web, guest.name)
    wait_for(lambda: not contested(web, guest.name), 20, "the restarted agent to report")
    yield guest
    guest.power_off()
    guest.power_on()


def makes_rounds(web: Deployment, node: str) -> None:
    """Wait until an agent that was just started has found the kernel as it shall be."""
    rounds = partial(web.agent_metric, node, 'lvs_agent_rounds_total{result="ok"}')
    wait_for(lambda: rounds() >= 2, 20, f"the agent of {node} to make rounds", interval=0.2)


def proxy(web: Deployment, director: GuestMachine) -> KubeProxy:
    return web.lab.kube_proxy(director.name)


def others(web: Deployment, node: str) -> Shape:
    """Every entry that is not of the quick start."""
    ours = quick_shape()
    return {key: destinations for key, destinations in web.shape(node).items() if key not in ours}


def reaches_the_api(director: GuestMachine) -> bool:
    """Whether the cluster's own service works there, which is kube-proxy's work."""
    url = f"https://{KUBERNETES_SERVICE}/readyz"
    return director.exec(["curl", "--silent", "--insecure", "--max-time", "2", url]).stdout == "ok"


def contested(web: Deployment, node: str) -> bool:
    conditions = web.get("lvsnode", node)["status"]["conditions"]
    return any(condition["type"] == CONTESTED for condition in conditions)


def warns(web: Deployment, node: str) -> bool:
    """Whether an event of the node names the remedy."""
    selector = f"involvedObject.kind=LvsNode,involvedObject.name={node},reason=ForeignWriter,type=Warning"
    listed = web.lab.kubectl("get", "events", "--namespace=default", f"--field-selector={selector}", "--output=json")
    return any("ipvs.excludeCIDRs" in event["message"] for event in json.loads(listed.stdout)["items"])


def sees_a_sweep(web: Deployment, director: GuestMachine) -> None:
    """Wait until kube-proxy has looked through the whole table: a service of nobody's is gone."""
    director.out("ipvsadm", "-A", "-t", STRANGER)

    def swept() -> bool:
        table = web.table(director.name)
        assert KEY in table
        return f"TCP {STRANGER}" not in table

    wait_for(swept, 30, "kube-proxy to delete a service that it does not know")


def test_what_kube_proxy_deletes_is_put_back_and_told(web: Deployment, director: GuestMachine) -> None:
    node = director.name
    before = web.agent_metric(node, SERVICE_REPAIRS)
    proxy(web, director).start("ipvs")
    said = web.wait_condition(node, CONTESTED, "True", "ForeignWriter", kind="lvsnode", deadline=START_SECONDS)
    assert f"this time it deleted {KEY}." in said["message"]
    assert "its device kube-ipvs0 is here with the addresses of" in said["message"]
    assert f"name the VIPs in its ipvs.excludeCIDRs ({VIP}/32)" in said["message"]
    assert web.agent_metric(node, SERVICE_REPAIRS) >= before + 3
    for _ in range(3):
        wait_for(lambda: KEY not in web.table(node), 30, "kube-proxy to delete the service", interval=0.01)
        wait_for(
            lambda: quick_shape().items() <= web.shape(node).items(), REPAIR_SECONDS, "it to be back", interval=0.01
        )
    assert THEIRS in web.table(node)
    wait_for(partial(warns, web, node), 10, "an event about it")
    wait_for(partial(answers, client(web), VIP), 10, f"{VIP} to answer")
    proxy(web, director).stop()
    web.wait_ready("web")
    assert replies(web) == Counter(dict.fromkeys(SERVERS, 10))


def test_with_the_vip_excluded_both_live_in_one_table(web: Deployment, director: GuestMachine) -> None:
    node = director.name
    before = web.agent_metric(node, SERVICE_REPAIRS)
    proxy(web, director).start("ipvs", exclude_cidrs=[f"{VIP}/32"])
    theirs_is_whole = holds(lambda: bool(web.table(node)[THEIRS].destinations))
    wait_for(theirs_is_whole, START_SECONDS, "kube-proxy's service of the API server")
    sees_a_sweep(web, director)
    sees_a_sweep(web, director)
    assert web.agent_metric(node, SERVICE_REPAIRS) == before
    assert not contested(web, node)
    wait_for(partial(reaches_the_api, director), 10, "the cluster's own service to answer")
    assert replies(web) == Counter(dict.fromkeys(SERVERS, 10))

    theirs, bound = others(web, node), web.addresses(node, "kube-ipvs0")
    assert f"{KUBERNETES_SERVICE}/32" in bound
    agent = web.lab.agent(node)
    agent.kill()
    web.start_agent(node)
    makes_rounds(web, node)
    web.patch("lvspool", "web", {"weight": 2})
    web.wait_shape(node, theirs | quick_shape(weights=dict.fromkeys(SERVERS, 2)))
    agent.kill("TERM")
    agent.run_verb("cleanup", "--node-name", node)
    assert web.shape(node) == theirs
    assert web.addresses(node, "kube-ipvs0") == bound
    assert f"{VIP}/32" not in web.addresses(node, "eth0")
    assert reaches_the_api(director)


def test_kube_proxy_of_nftables_empties_the_table_once(web: Deployment, director: GuestMachine) -> None:
    """When it starts it clears away what an ipvs mode before it may have left, which is the whole table."""
    node = director.name
    before = web.agent_metric(node, SERVICE_REPAIRS)

    def its_rules(address: str) -> bool:
        return address in director.exec(["nft", "list", "table", "ip", "kube-proxy"]).stdout

    with HeldConnection(web.client_namespace("client"), VIP) as held:
        server = held.ask()
        proxy(web, director).start("nftables")
        wait_for(partial(its_rules, KUBERNETES_SERVICE), START_SECONDS, "kube-proxy's rules")
        web.wait_shape(node, quick_shape(), deadline=REPAIR_SECONDS)
        assert web.agent_metric(node, SERVICE_REPAIRS) == before + 1
        assert held.ask() == server
    wait_for(partial(reaches_the_api, director), 10, "the cluster's own service to answer")
    assert replies(web) == Counter(dict.fromkeys(SERVERS, 10))

    kubectl = web.lab.kubectl
    kubectl("create", "service", "clusterip", "beside", "--clusterip=10.96.7.7", "--tcp=80:80")
    try:
        wait_for(partial(its_rules, "10.96.7.7"), 30, "kube-proxy to go on")
    finally:
        kubectl("delete", "service", "beside")
    assert replies(web) == Counter(dict.fromkeys(SERVERS, 10))
    assert web.shape(node) == quick_shape()
    assert web.agent_metric(node, SERVICE_REPAIRS) == before + 1
    assert not contested(web, node)
