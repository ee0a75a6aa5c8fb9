"""Addresses that no agent takes, whatever it is told: forged in the operator's name on directors and a real server.

The operator would refuse some of them itself, so it is stopped, and slices and LvsNode.spec are written as it would.
"""

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

import pytest

from lvs_api.api_group import DEFAULT_NAMESPACE
from lvs_lab.plain_deployment import RELEASE
from lvs_lab.waiting import wait_for
from support.deployment import GONE_SECONDS, Deployment, holds
from support.quick_start import SERVERS, VIP, is_settled, quick_shape, restore
from support.traffic import StreamRecord, steady_requests

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
DIRECTORS: Final = ("director-1", "director-2")
OWN: Final = {"director-1": "192.168.10.11", "director-2": "192.168.10.12", "server-1": "192.168.10.21"}
NAME_SERVER, POD_RANGE, RANGE = "192.168.10.53", "192.168.77.0/24", "192.168.88.0/24"
TOLD_SECONDS: Final = 40.0
Json = dict[str, Any]


def refused(lab: Deployment) -> dict[str, tuple[str, str]]:
    """What every node is told to take: the address, and what the refusal says of it."""
    return {
        "gateway": ("192.168.10.1", "is a next hop of this node's routes"),
        "gateway6": ("fd00:10::1", "is a next hop of this node's routes"),
        "api-server": (str(lab.lab.topology.api_address), "is the address of an API server"),
        "name-server": (NAME_SERVER, "is a name server of this node"),
        "node": (SERVERS["server-2"], "is an address of Node server-2"),
        "node6": ("fd00:10::22", "is an address of Node server-2"),
        "service-range": ("10.96.7.7", "the Service range kubernetes"),
        "pod-range": ("192.168.77.7", "the pod range of Node server-3"),
        "refused-range": ("192.168.88.8", "which --refuse-range names"),
    }


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The quick start under steady requests, while directors and server-1 are told to take what they must not."""

    deployment: Deployment
    record: StreamRecord

    def said_of_services(self, node: str) -> dict[str, Json]:
        """The exceptions of a director, by service."""
        status = self.deployment.get("lvsnode", node)["status"]
        return {one["name"]: one for one in status.get("exceptions") or ()}

    def said_of_addresses(self, node: str) -> dict[str, Json]:
        """What a real server says of its addresses."""
        status = self.deployment.get("lvsnode", node)["status"]
        return {one["address"]: one for one in status.get("addresses") or ()}


def as_operator(lab: Deployment, *arguments: str, stdin: str | None = None) -> None:
    user = f"--as=system:serviceaccount:{DEFAULT_NAMESPACE}:{RELEASE}"
    lab.lab.kubectl(*arguments, user, stdin=stdin)


def forged_slice(lab: Deployment, name: str, address: str) -> Json:
    """The slice of web as that of another service with another address, with the same real servers."""
    slices = json.loads(lab.lab.kubectl("get", "lvsslice", "--output=json").stdout)["items"]
    true = next(one for one in slices if one["spec"]["serviceRef"]["name"] == "web")
    spec = deepcopy(true["spec"])
    spec["serviceRef"] = {"name": name, "uid": f"uid-of-{name}"}
    spec["service"]["addresses"] = [address]
    metadata = {"name": name, "namespace": "default", "labels": true["metadata"]["labels"]}
    return {"apiVersion": true["apiVersion"], "kind": true["kind"], "metadata": metadata, "spec": spec}


@pytest.fixture(scope="module")
def scene(quick_start: Deployment) -> Iterator[Scene]:
    lab = quick_start
    pods = {"spec": {"podCIDR": POD_RANGE, "podCIDRs": [POD_RANGE]}}
    lab.lab.kubectl("patch", "node", "server-3", f"--patch={json.dumps(pods)}")
    for node in OWN:
        lab.lab.guest(node).sh(f"echo nameserver {NAME_SERVER} > /etc/resolv.conf")
    told = {name: address for name, (address, _) in refused(lab).items()} | OWN
    forged = [forged_slice(lab, name, address) for name, address in told.items()]
    bind = {"spec": {"addresses": [{"address": one, "device": "lo"} for one in sorted({VIP, *told.values()})]}}
    with steady_requests(lab.client_namespace("client"), VIP) as record:
        lab.restart_agents(list(OWN), "--refuse-range", RANGE)
        # What the operator has not told of the new agents by now nobody tells.
        wait_for(holds(lambda: is_settled(lab)), GONE_SECONDS, "the operator to know the real servers as they are")
        for director in DIRECTORS:
            lab.wait_shape(director, quick_shape(), deadline=GONE_SECONDS)
        assert lab.operator.terminate() == 0
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": forged})
        as_operator(lab, "create", "--filename=-", stdin=listed)
        as_operator(lab, "patch", "lvsnode", "server-1", "--type=merge", f"--patch={json.dumps(bind)}")
        try:
            yield Scene(deployment=lab, record=record)
        finally:
            as_operator(lab, "delete", "lvsslice", *told)
            lab.restart_operator()
            for node in OWN:
                lab.lab.guest(node).sh(": > /etc/resolv.conf")
            lab.restart_agents(list(OWN))
            restore(lab)


@pytest.mark.parametrize("director", DIRECTORS)
def test_a_director_names_each_and_makes_nothing_for_it(scene: Scene, director: str) -> None:
    wanted = refused(scene.deployment)

    def named() -> bool:
        said = scene.said_of_services(director)
        for name, (address, words) in wanted.items():
            one = said.get(name, {})
            assert (one.get("reason"), one.get("programmed")) == ("AddressRefused", False), (name, one)
            assert address in one["message"]
            assert words in one["message"]
        own = said.get(director, {})
        assert (own.get("reason"), own.get("programmed")) == ("AddressConflict", False), own
        assert f"{OWN[director]}/24 is on eth0 of this node already and not ours" in own["message"]
        return True

    wait_for(named, TOLD_SECONDS, f"{director} to name what it refuses", interval=0.5)
    table = scene.deployment.shape(director)
    kept = quick_shape()
    assert {key: table.get(key) for key in kept} == kept
    assert table.keys() == kept.keys()
    carried = scene.deployment.addresses(director, "eth0")
    assert carried <= {f"{OWN[director]}/24", f"fd00:10::{OWN[director].rpartition('.')[2]}/64", f"{VIP}/32"}


@pytest.mark.parametrize("director", DIRECTORS)
def test_a_director_refuses_the_other_nodes_own_addresses(scene: Scene, director: str) -> None:
    """Those of the active director, too, whose kubelet may report what it carries."""

    def named() -> bool:
        said = scene.said_of_services(director)
        for node in OWN.keys() - {director}:
            one = said.get(node, {})
            assert (one.get("reason"), one.get("programmed")) == ("AddressRefused", False), (node, one)
            assert f"{OWN[node]} is an address of Node {node}" in one["message"]
        return True

    wait_for(named, TOLD_SECONDS, f"{director} to name the Nodes", interval=0.5)


def test_a_real_server_names_each_and_binds_only_the_vip(scene: Scene) -> None:
    wanted = refused(scene.deployment)

    def named() -> bool:
        said = scene.said_of_addresses("server-1")
        for name, (address, words) in wanted.items():
            one = said.get(address, {})
            assert one.get("state") == "Failed", (name, one)
            assert f"{address} " in one["message"]
            assert words in one["message"]
        for director in DIRECTORS:
            assert f"is an address of Node {director}" in said[OWN[director]]["message"]
        assert said[OWN["server-1"]]["state"] == "Conflict"
        assert said[VIP]["state"] == "Bound"
        return True

    wait_for(named, TOLD_SECONDS, "server-1 to name what it refuses", interval=0.5)
    bound = scene.deployment.addresses("server-1", "lo")
    refused_addresses = {address for address, _ in wanted.values()} | set(OWN.values())
    assert f"{VIP}/32" in bound
    assert {one.partition("/")[0] for one in bound}.isdisjoint(refused_addresses)


def test_the_service_beside_them_lost_no_request(scene: Scene) -> None:
    before = scene.record.requests
    wait_for(lambda: scene.record.requests >= before + 10, 20, "ten more requests")
    assert scene.record.failures == []
    assert set(scene.record.replies) == set(SERVERS)
