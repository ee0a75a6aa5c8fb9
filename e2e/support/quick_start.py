"""The quick start in the standard topology: the service that many scenarios poke at."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lvs_lab.lab_machine import LabMachine
from lvs_lab.waiting import wait_for
from support.chosen_agents import deployed_as_chosen
from support.cluster_looks import ClusterLooks
from support.deployment import EXAMPLES, GONE_SECONDS, Deployment, holds
from support.tables import Shape
from support.traffic import answers, count_replies

VIP: Final = "192.168.10.100"
KEY: Final = f"TCP {VIP}:80"
SERVERS: Final = {"server-1": "192.168.10.21", "server-2": "192.168.10.22", "server-3": "192.168.10.23"}
MANIFEST: Final = EXAMPLES / "quick-start" / "web.yaml"
HEALTH_BOUND: Final = 3 * 1 + 1 + 2
"""Seconds: fall x interval, the last check's time-out, and two for a busy machine and the looking."""
LEFT_SECONDS: Final = 300 + GONE_SECONDS
"""The pool's drain, and the looking: a connection that a test cut off, without an end that was seen, counts so long."""
RETURN_BOUND: Final = 2 * 1 + 1 + 2
"""Seconds: rise x interval, and the same."""


def quick_shape(
    scheduler: str = "rr",
    weights: Mapping[str, int] | None = None,
    method: str = "Route",
    vip: str = VIP,
    port: int = 80,
) -> Shape:
    """The table of both directors; `weights` by server name, all three with weight 1 when absent."""
    if weights is None:
        weights = dict.fromkeys(SERVERS, 1)
    entries = {f"{SERVERS[name]}:{port}": (method, weight) for name, weight in weights.items()}
    return {f"TCP {vip}:{port} {scheduler}": entries}


@contextmanager
def quick_start_lab(name: str, directory: Path) -> Iterator[Deployment]:
    """A lab of the standard topology with the quick start applied and Ready."""
    with deployed_as_chosen(name, ["plain"], directory) as deployment:
        for server in SERVERS:
            deployment.lab.machine(server).serve(port=80)
        restore(deployment)
        yield deployment


def restore(deployment: Deployment) -> None:
    """Bring back the quick start as the example has it, whatever a test did to it."""
    deployment.ensure_running()
    for director in ("director-1", "director-2"):
        # A drain waits for closed connections too, which are counted for two minutes otherwise; a boot forgets it.
        deployment.lab.guest(director).out("ipvsadm", "--set", "900", "2", "300")
    kubectl = deployment.lab.kubectl
    kubectl("label", "node", *SERVERS, "app=web", "--overwrite")
    for server in SERVERS:
        machine = deployment.lab.machine(server)
        if not answers(machine, "127.0.0.1"):
            machine.serve(port=80)
    kubectl("delete", "lvsap", "--all")
    listed = json.loads(kubectl("get", "lvsvs,lvspool", "--output=json").stdout)["items"]
    there = {(item["kind"], item["metadata"]["name"]) for item in listed}
    kept = {("LvsVirtualService", "web"), ("LvsRealServerPool", "web")}
    # Before others are deleted: an edit that waits for one of their addresses is not to be accepted then.
    if kept <= there:
        wait_for(lambda: _replace(deployment), 20, "the quick start's objects to be as the example has them")
    for kind, name in sorted(there - kept):
        kubectl("delete", kind, name)
    if not kept <= there:
        deployment.apply(MANIFEST)
        wait_for(lambda: _replace(deployment), 20, "the quick start's objects to be as the example has them")
    deployment.wait_ready("web")
    for director in ("director-1", "director-2"):
        deployment.wait_shape(director, quick_shape(), deadline=GONE_SECONDS)
    wait_for(lambda: answers(client(deployment), VIP), 10, f"{VIP} to answer")
    wait_for(holds(lambda: is_settled(deployment)), LEFT_SECONDS, "the operator to know the real servers as they are")


def _replace(deployment: Deployment) -> bool:
    """Write all of the quick start's objects: fields that a patch added are not in the note of what apply wrote last.

    kubectl reads an object's version and then writes: a status that is written in between refuses it.
    """
    done = deployment.lab.kubectl("replace", f"--filename={MANIFEST}", check=False)
    assert done.ok or "the object has been modified" in done.stderr, done.stderr
    return done.ok


def is_settled(deployment: Deployment) -> bool:
    """Whether the slices say of each real server that it is prepared, in its present boot, with no method to come from.

    After an outage of the API server the conditions may be those of before.
    """
    listed = [deployment.get("lvsslice", name)["spec"] for name in deployment.names("lvsslice")]
    members = {one["node"]: one for spec in listed for one in spec["members"]}
    boots = {name: deployment.boot_id(name) for name in SERVERS}
    return boots == {
        name: one["bootId"]
        for name, one in members.items()
        if one["prepared"] and not {"former", "draining"} & one.keys()
    }


def client(deployment: Deployment) -> LabMachine:
    """The client."""
    return deployment.lab.machine("client")


def active_director(deployment: ClusterLooks) -> str:
    """Who holds the addresses, as the group's status says."""
    active: str = deployment.get("lvsdg", "default")["status"]["active"]
    return active


def replies(deployment: Deployment, count: int = 30) -> Counter[str]:
    """Who answers how often."""
    return count_replies(client(deployment), VIP, count)
