"""The agents' rolling update on directors with VRRP, as pods of real kubelets, under a steady load.

The DaemonSet takes one Node after the other; a director hands its addresses over, and the next Node has to wait until
it takes part in VRRP again. Figures are printed (`pytest -rP`).
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import pytest

from lvs_api.api_group import DEFAULT_NAMESPACE
from lvs_lab.lab import standard_topology
from lvs_lab.waiting import wait_for
from support.chart_deployment import ChartDeployment, installed
from support.chart_looks import AGENTS
from support.director_pair import DirectorPair
from support.fault_figures import Sign, longest_silence, read_packet
from support.fault_lab import DIRECTORS, NAME, ROUTER_ID, SERVERS, VIP, fault_objects
from support.steady_load import plain_real_servers, steady_load, steady_probes

pytestmark = [pytest.mark.lab, pytest.mark.kubelet]
POD_SECONDS: Final = 120.0
"""For a pod to start on a busy machine."""
ROLLOUT_SECONDS: Final = 240.0
TOPOLOGY: Final = standard_topology("failover-faults").replace("role: director", "role: director, kubelet: true")


@pytest.fixture(scope="module")
def web() -> Iterator[ChartDeployment]:
    with installed("rolling", [TOPOLOGY]) as deployment, plain_real_servers(deployment.lab, VIP, *SERVERS):
        # Who takes over finds the same real server by the hash, and needs to know no connection.
        deployment.apply(fault_objects(1000, scheduler="mh", sloppy_tcp=True))
        deployment.wait_ready(NAME, deadline=POD_SECONDS)
        yield deployment


def moment(said: str) -> float:
    return datetime.fromisoformat(said).timestamp()


def agent_pods(web: ChartDeployment) -> dict[str, Any]:
    """The agents' pods by name, those that end as well."""
    selector = "--selector=app.kubernetes.io/component=node-agent"
    listed = web.lab.kubectl("--namespace", DEFAULT_NAMESPACE, "get", "pods", selector, "--output=json").stdout
    return {pod["metadata"]["name"]: pod for pod in json.loads(listed)["items"]}


def ready_since(pod: dict[str, Any]) -> float | None:
    """Since when it is Ready, if it is."""
    (ready,) = [one for one in pod["status"]["conditions"] if one["type"] == "Ready"]
    return moment(ready["lastTransitionTime"]) if ready["status"] == "True" else None


def test_one_director_after_the_other_hands_over_and_no_connection_is_lost(web: ChartDeployment) -> None:
    pair = DirectorPair(deployment=web, names=DIRECTORS, client_name="ff-client", vip=VIP, router_id=ROUTER_ID)
    wait_for(lambda: web.agent_pods().keys() == set(DIRECTORS), POD_SECONDS, "both agents to be Ready", interval=0.5)
    first_master = pair.master()
    pair.wait_settled(first_master)
    before = web.agent_pods()
    client = web.client_namespace("ff-client")

    def one_takes_part() -> None:
        assert web.agent_pods(), "no director is ready"

    def replaced() -> bool:
        now = web.agent_pods()
        return now.keys() == set(DIRECTORS) and not set(now.values()) & set(before.values())

    with (
        steady_load(client, VIP, 100) as load,
        steady_probes(client, VIP) as probe,
        pair.client.capture("ip", "proto", "112") as capture,
    ):
        web.lab.kubectl("--namespace", DEFAULT_NAMESPACE, "rollout", "restart", f"daemonset/{AGENTS}")
        wait_for(replaced, ROLLOUT_SECONDS, "both agents to be replaced", interval=0.5, always=one_takes_part)
        last_master = pair.master()
        pair.wait_settled(last_master)
        heard = [read_packet(line, VIP, ROUTER_ID) for line in capture.lines()]

    macs = pair.macs
    let_go = [macs[one.mac] for one in heard if one is not None and one.sign is Sign.ADVERT and one.priority == 0]

    pods = sorted(agent_pods(web).values(), key=lambda pod: moment(pod["metadata"]["creationTimestamp"]))
    first, second = pods
    since = ready_since(first)
    made = moment(second["metadata"]["creationTimestamp"])
    assert since is not None
    silence = longest_silence(probe.replies, probe.ended)
    print(
        f"rolling update of {first['spec']['nodeName']} and then {second['spec']['nodeName']}, Master {first_master} "
        f"before and {last_master} after: {let_go} let go, {silence:.3f} s without a reply of {len(probe.replies)} "
        f"replies; the second pod was made {made - since:.0f} s after the first was Ready; {load}"
    )
    assert since <= made, "the second director was taken before the first was ready"
    assert let_go[0] == first_master
    assert last_master == first["spec"]["nodeName"]
    assert load.failures == {}
    assert load.succeeded > 0
