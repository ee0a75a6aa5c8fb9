"""A Service of type LoadBalancer, its pods on real kubelets, beside kube-proxy, which must leave its address alone.

The tests are one story on one lab and stand in its order.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from lvs_lab.image_build import build_images
from lvs_lab.waiting import wait_for
from support.chart_deployment import ChartDeployment, installed
from support.deployment import EXAMPLES, GONE_SECONDS
from support.traffic import answers, count_replies

pytestmark = [pytest.mark.lab, pytest.mark.kubelet]

DIRECTORY: Final = EXAMPLES / "load-balancer"
NAME: Final = "balanced-web"
DIRECTOR: Final = "director-1"
SERVERS: Final = ("server-1", "server-2")
NODE_ADDRESSES: Final = ("192.168.10.21", "192.168.10.22")
SECONDS: Final = 120.0
"""For pods and Services on a busy machine."""
TOPOLOGY: Final = """
segments: [lan]
nodes:
  director-1:
    kubelet: true
    role: director
    labels: {lvs-operator.io/role: director}
    interfaces: {eth0: {segment: lan, addresses: [192.168.10.11/24]}}
    gateways: [192.168.10.1]
  server-1:
    kubelet: true
    role: server
    labels: {app: web}
    interfaces: {eth0: {segment: lan, addresses: [192.168.10.21/24]}}
    gateways: [192.168.10.1]
  server-2:
    kubelet: true
    role: server
    labels: {app: web}
    interfaces: {eth0: {segment: lan, addresses: [192.168.10.22/24]}}
    gateways: [192.168.10.1]
routers:
  gateway:
    interfaces: {eth0: {segment: lan, addresses: [192.168.10.1/24]}}
clients:
  client:
    interfaces: {eth0: {segment: lan, addresses: [192.168.10.50/24]}}
    gateways: [192.168.10.1]
"""
PROGRAM: Final = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        body = (os.environ["NODE"] + "\\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass

ThreadingHTTPServer(("", 8080), Answer).serve_forever()
"""
Json = dict[str, Any]


def pods(image: str) -> str:
    """A pod on each server that answers with its node's name."""
    container = {
        "name": "web",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["python3", "-u", "-c", PROGRAM],
        "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
    }
    template = {
        "metadata": {"labels": {"app": NAME}},
        "spec": {"nodeSelector": {"app": "web"}, "terminationGracePeriodSeconds": 1, "containers": [container]},
    }
    spec = {"selector": {"matchLabels": {"app": NAME}}, "template": template}
    metadata = {"name": NAME, "namespace": "default"}
    return json.dumps({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec})


def example(**spec: object) -> str:
    """The example's Service."""
    (service,) = (one for one in yaml.safe_load_all((DIRECTORY / "web.yaml").read_text()) if one["kind"] == "Service")
    return json.dumps({**service, "spec": {**service["spec"], **spec}})


@pytest.fixture(scope="module")
def web() -> Iterator[ChartDeployment]:
    with installed("balancer", [TOPOLOGY]) as deployment:
        image = build_images().node_agent
        deployment.apply(pods(f"{image.repository}:{image.tag}"), DIRECTORY / "address-pool.yaml", example())
        yield deployment


def service(web: ChartDeployment) -> Json:
    raw: Json = json.loads(web.lab.kubectl("get", "service", NAME, "--output=json").stdout)
    return raw


def ingress(web: ChartDeployment) -> list[Json]:
    told: list[Json] = service(web)["status"]["loadBalancer"].get("ingress", [])
    return told


def address(web: ChartDeployment) -> str:
    """What it tells, once it tells something."""
    wait_for(lambda: ingress(web), SECONDS, "the Service to tell its address", interval=0.5)
    (one,) = ingress(web)
    assert one["ipMode"] == "Proxy"
    return str(one["ip"])


def test_clients_reach_the_pods_at_the_address_that_the_service_tells(web: ChartDeployment) -> None:
    vip = address(web)
    assert vip.startswith("192.168.10.13")
    client = web.lab.machine("client")
    wait_for(lambda: answers(client, vip), 10, f"{vip} to answer")
    assert set(count_replies(client, vip, 20)) == set(SERVERS)
    web.lab.kubectl("wait", "--for=condition=lvs-operator.io/Ready", f"service/{NAME}", "--timeout=30s")


def test_kube_proxy_leaves_the_address_alone(web: ChartDeployment) -> None:
    vip, cluster_ip, director = address(web), service(web)["spec"]["clusterIP"], web.lab.guest(DIRECTOR)
    rules = "iptables-save -t nat"
    wait_for(lambda: cluster_ip in director.sh(rules), SECONDS, "kube-proxy to know the Service", interval=0.5)
    assert vip not in director.sh(rules)
    assert f"{vip}:80" in director.sh("ipvsadm -Ln")
    assert set(count_replies(web.lab.machine("client"), vip, 20)) == set(SERVERS)


def test_nodes_take_part_and_the_director_does_not(web: ChartDeployment) -> None:
    vip = address(web)
    ports = '{"spec": {"allocateLoadBalancerNodePorts": true}}'
    web.lab.kubectl("patch", "service", NAME, "--type=merge", f"--patch={ports}")
    web.lab.kubectl("annotate", "service", NAME, "lvs-operator.io/real-servers=Nodes")
    wait_for(lambda: service(web)["spec"]["ports"][0].get("nodePort"), SECONDS, "a node port", interval=0.5)
    port = service(web)["spec"]["ports"][0]["nodePort"]
    wanted = {f"{node}:{port}": ("Masq", 1) for node in NODE_ADDRESSES}
    web.wait_shape(DIRECTOR, {f"TCP {vip}:80 wlc": wanted}, deadline=SECONDS)
    assert count_replies(web.lab.machine("client"), vip, 20).total() == 20
    web.lab.kubectl("annotate", "service", NAME, "lvs-operator.io/real-servers-")


def test_without_ready_pods_no_address_is_told(web: ChartDeployment) -> None:
    vip = address(web)
    web.lab.kubectl("delete", "daemonset", NAME, "--wait=false")
    wait_for(lambda: not ingress(web), SECONDS, "the address to be withdrawn", interval=0.5)
    image = build_images().node_agent
    web.apply(pods(f"{image.repository}:{image.tag}"))
    assert address(web) == vip
    assert set(count_replies(web.lab.machine("client"), vip, 20)) == set(SERVERS)


def test_another_type_leaves_nothing(web: ChartDeployment) -> None:
    vip = address(web)
    given_up = '{"spec": {"type": "ClusterIP", "loadBalancerClass": null, "allocateLoadBalancerNodePorts": null}}'
    web.lab.kubectl("patch", "service", NAME, "--type=merge", f"--patch={given_up}")
    web.wait_shape(DIRECTOR, {}, deadline=GONE_SECONDS)
    wait_for(lambda: f"{vip}/32" not in web.addresses(DIRECTOR, "eth0"), GONE_SECONDS, "the address to go")
    wait_for(
        lambda: service(web)["status"] == {"loadBalancer": {}}, GONE_SECONDS, "the Service to say nothing", interval=0.5
    )
    left = web.lab.kubectl("get", "lvsvs,lvspool", "--all-namespaces", "--output=name").stdout
    assert left == ""
