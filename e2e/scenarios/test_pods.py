"""Pods as real servers: a Service's EndpointSlices, made by Kubernetes for pods of real kubelets, and written by hand.

The tests are one story on one lab and stand in its order.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pytest

from lvs_lab.image_build import build_images
from lvs_lab.waiting import wait_for
from support.chart_deployment import ChartDeployment, installed
from support.deployment import EXAMPLES, GONE_SECONDS
from support.pod_topology import DIRECTOR, NODE_ADDRESSES, SERVERS, TOPOLOGY
from support.tables import Shape
from support.traffic import HeldConnection, answers, count_replies, steady_requests, url

pytestmark = [pytest.mark.lab, pytest.mark.kubelet]

EXAMPLE: Final = EXAMPLES / "pods" / "web.yaml"
NAME: Final = "pods-web"
VIP: Final = "192.168.10.120"
KEY: Final = f"TCP {VIP}:80"
POD_SECONDS: Final = 120.0
"""For a pod to start or end on a busy machine."""
DRAIN_SECONDS: Final = 60.0
"""The example's. Behind NAT the kernel counts a connection that the server closed for two minutes."""
PROGRAM: Final = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    deaf = False

    def do_GET(self):
        if self.path in ("/deaf", "/hearing"):
            Answer.deaf = self.path == "/deaf"
        body = (os.environ["NODE"] + "\\n").encode()
        self.send_response(503 if self.path == "/ready" and Answer.deaf else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass

# The first process of a container hears no SIGTERM unless it asks for it: this one serves until it is killed.
ThreadingHTTPServer(("", 8080), Answer).serve_forever()
"""


def pods(image: str) -> str:
    """A pod on each server that answers with its node's name, and is ready unless it was told to be deaf."""
    container = {
        "name": "web",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["python3", "-u", "-c", PROGRAM],
        "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1},
    }
    template = {
        "metadata": {"labels": {"app": NAME}},
        "spec": {
            "nodeSelector": {"app": "web"},
            "terminationGracePeriodSeconds": 30,
            "containers": [container],
        },
    }
    spec = {"selector": {"matchLabels": {"app": NAME}}, "template": template}
    metadata = {"name": NAME, "namespace": "default"}
    return json.dumps({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec})


@pytest.fixture(scope="module")
def web() -> Iterator[ChartDeployment]:
    with installed("pods", [TOPOLOGY]) as deployment:
        # A drain waits for closed connections too, which are counted for two minutes otherwise.
        deployment.lab.guest(DIRECTOR).out("ipvsadm", "--set", "900", "2", "300")
        image = build_images().node_agent
        deployment.apply(pods(f"{image.repository}:{image.tag}"), EXAMPLE)
        yield deployment


def addresses(web: ChartDeployment) -> dict[str, str]:
    """Of the pods that run, by node."""
    listed = json.loads(web.lab.kubectl("get", "pods", f"--selector=app={NAME}", "--output=json").stdout)["items"]
    found: dict[str, Any] = {
        pod["spec"]["nodeName"]: pod["status"].get("podIP")
        for pod in listed
        if "deletionTimestamp" not in pod["metadata"]
    }
    assert set(found) == set(SERVERS), found
    assert all(found.values()), found
    return found


def pods_shape(web: ChartDeployment, **weights: int) -> Shape:
    """The table when all is well, or with these weights by node."""
    return {
        f"{KEY} rr": {
            f"{address}:8080": ("Masq", weights.get(node.replace("-", "_"), 1))
            for node, address in addresses(web).items()
        }
    }


def tell_pod(web: ChartDeployment, address: str, what: str) -> None:
    """From the director, which reaches pods as it does for clients."""
    web.lab.guest(DIRECTOR).out("curl", "--silent", "--fail", "--max-time", "5", url(address, 8080, f"/{what}"))


def held_by(web: ChartDeployment, node: str) -> HeldConnection:
    """A connection that the pod of a node has; of several tries one falls to it."""
    for _ in SERVERS:
        held = HeldConnection(web.client_namespace("client"), VIP)
        if held.ask() == node:
            return held
        held.close()
    raise AssertionError(f"no connection went to {node}")


def test_ready_pods_get_weight_and_answer(web: ChartDeployment) -> None:
    web.wait_ready(NAME, deadline=POD_SECONDS)
    wait_for(lambda: addresses(web), POD_SECONDS, "the pods to have addresses", interval=0.5)
    web.wait_shape(DIRECTOR, pods_shape(web))
    client = web.lab.machine("client")
    wait_for(lambda: answers(client, VIP), 10, f"{VIP} to answer")
    assert count_replies(client, VIP, 100) == Counter(dict.fromkeys(SERVERS, 50))


def test_a_pod_that_is_not_ready_keeps_its_connections_and_gets_no_new_ones(web: ChartDeployment) -> None:
    entry = f"{addresses(web)['server-1']}:8080"
    with held_by(web, "server-1") as held:
        tell_pod(web, addresses(web)["server-1"], "deaf")
        web.wait_weight(DIRECTOR, KEY, entry, 0, deadline=POD_SECONDS)
        assert count_replies(web.lab.machine("client"), VIP, 20) == Counter({"server-2": 20})
        assert held.ask() == "server-1"
        tell_pod(web, addresses(web)["server-1"], "hearing")
        web.wait_weight(DIRECTOR, KEY, entry, 1, deadline=POD_SECONDS)
        assert held.ask() == "server-1"
    assert set(count_replies(web.lab.machine("client"), VIP, 20)) == set(SERVERS)


def test_a_pod_that_terminates_drains_under_traffic_and_another_takes_its_place(web: ChartDeployment) -> None:
    address = addresses(web)["server-1"]
    select = [f"--selector=app={NAME}", "--field-selector=spec.nodeName=server-1"]
    with steady_requests(web.client_namespace("client"), VIP) as record:
        with held_by(web, "server-1") as held:
            web.lab.kubectl("delete", "pod", "--wait=false", *select)
            web.wait_weight(DIRECTOR, KEY, f"{address}:8080", 0, deadline=POD_SECONDS)
            assert held.ask() == "server-1"
        web.wait_weight(DIRECTOR, KEY, f"{address}:8080", None, deadline=POD_SECONDS)
        wait_for(lambda: addresses(web)["server-1"] != address, POD_SECONDS, "another pod", interval=0.5)
        web.wait_weight(DIRECTOR, KEY, f"{addresses(web)['server-1']}:8080", 1, deadline=POD_SECONDS)
    assert record.failures == []
    web.wait_shape(DIRECTOR, pods_shape(web))


@pytest.mark.long
def test_a_slice_written_by_hand_adds_a_plain_server(web: ChartDeployment) -> None:
    web.lab.machine("server-2").serve(port=9090)
    by_hand = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "pods-web-by-hand",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": NAME, "endpointslice.kubernetes.io/managed-by": "a-person"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 9090, "protocol": "TCP"}],
        "endpoints": [{"addresses": [NODE_ADDRESSES["server-2"]]}],
    }
    web.apply(json.dumps(by_hand))
    entry = f"{NODE_ADDRESSES['server-2']}:9090"
    web.wait_weight(DIRECTOR, KEY, entry, 1, deadline=POD_SECONDS)
    assert count_replies(web.lab.machine("client"), VIP, 30) == Counter({"server-1": 10, "server-2": 20})
    web.lab.kubectl("delete", "endpointslice", "pods-web-by-hand")
    web.wait_weight(DIRECTOR, KEY, entry, None, deadline=DRAIN_SECONDS + GONE_SECONDS)


def test_without_its_service_the_pods_stay_real_servers(web: ChartDeployment) -> None:
    before = web.shape(DIRECTOR)
    web.lab.kubectl("delete", "service", NAME)
    web.wait_condition(NAME, "ResolvedRefs", "False", "ServiceNotFound")
    assert web.shape(DIRECTOR) == before
    assert count_replies(web.lab.machine("client"), VIP, 20) == Counter(dict.fromkeys(SERVERS, 10))
    web.apply(EXAMPLE)
    web.wait_ready(NAME)
    web.wait_shape(DIRECTOR, pods_shape(web))


def test_deletion_leaves_nothing(web: ChartDeployment) -> None:
    web.delete(EXAMPLE)
    web.wait_shape(DIRECTOR, {}, deadline=GONE_SECONDS)
    assert f"{VIP}/32" not in web.addresses(DIRECTOR, "eth0")
