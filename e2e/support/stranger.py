"""Another machine beside two directors has an address of theirs: what it says, and what they say of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from lvs_lab.waiting import wait_for
from support.cluster_looks import READY_SECONDS
from support.deployment import Deployment, holds
from support.director_pair import DirectorPair
from support.neighbours import claimants, mac_of

ADDED = "192.168.66.128"
SECOND_SERVICE = f"""
apiVersion: lvs-operator.io/v1alpha1
kind: LvsVirtualService
metadata: {{name: second}}
spec:
  addresses: ["{ADDED}"]
  ports: [{{name: http, protocol: TCP, port: 80}}]
  scheduler: rr
  forwarding: {{method: DirectRouting}}
  realServerPoolRef: {{name: failover}}
  directorGroupRef: {{name: failover}}
"""


@contextmanager
def stranger_with(pair: DirectorPair, address: str) -> Iterator[str]:
    """Another machine on the link has the address; gives its MAC address."""
    stranger = pair.deployment.lab.machine("fo-stranger")
    stranger.out("ip", "address", "add", f"{address}/32", "dev", "eth0")
    try:
        yield mac_of(stranger)
    finally:
        stranger.out("ip", "address", "del", f"{address}/32", "dev", "eth0")


def conflict_at(deployment: Deployment, director: str) -> str:
    """What a director says of somebody else who has the address."""
    told = deployment.get("lvsnode", director)["status"].get("exceptions") or []
    assert [(one["reason"], one["programmed"]) for one in told] == [("AddressConflict", False)], told
    return str(told[0]["message"])


def _is_named(deployment: Deployment, director: str, stranger: str) -> bool:
    return stranger in conflict_at(deployment, director)


def must_leave_out(pair: DirectorPair, stranger: str) -> str:
    """Wait until both directors name the stranger that has the second VIP, and one carries the first alone; which."""
    deployment = pair.deployment
    for name in pair.names:
        named = holds(partial(_is_named, deployment, name, stranger))
        wait_for(named, READY_SECONDS, f"{name} to name the stranger")
    master = pair.master()
    pair.wait_settled(master)
    pair.must_stay(master)
    assert not any(f"{ADDED}/32" in deployment.addresses(name, "eth0") for name in pair.names)
    assert claimants(pair.client, ADDED) == {stranger}
    return master
