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
from support.pod_topology import DIRECTOR, NODE_ADDRESSES, SERVERS, TOPOLOGY
from support.traffic import answers, count_replies, url

pytestmark = [pytest.mark.lab, pytest.mark.kubelet]

DIRECTORY: Final = EXAMPLES / "load-balancer"
NAME: Final = "balanced-web"
DIRECTOR_ADDRESS: Final = "192.168.10.11"
CLIENT: Final = "192.168.10.50"
SECONDS: Final = 120.0
"""For pods and Services on a busy machine."""
PROGRAM: Final = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        told = self.client_address[0] if self.path == "/client" else os.environ["NODE"]
        body = (told + "\\n").encode()
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
    """A pod on each server that answers with its node's name, or with the client's address."""
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


def wait_served(web: ChartDeployment, vip: str, *servers: str) -> None:
    """Until all of these, and nobody else, answer clients at the address."""

    def seen() -> bool:
        assert set(count_replies(web.lab.machine("client"), vip, 20)) == set(servers)
        return True

    wait_for(seen, SECONDS, f"{' and '.join(servers)} to answer at {vip}", interval=0.5)


def seen_client(web: ChartDeployment, vip: str) -> str:
    """Whom a pod takes for its client."""
    return (
        web.lab.machine("client").out("curl", "--silent", "--fail", "--max-time", "10", url(vip, 80, "/client")).strip()
    )


def own_addresses(web: ChartDeployment) -> set[str]:
    """The director's, by which it asks pods and nodes."""
    return {one.split("/")[0] for device in ("eth0", "ctl0") for one in web.addresses(DIRECTOR, device)}


def wait_nodes(web: ChartDeployment, vip: str, **weights: int) -> None:
    """Until the nodes' node ports have these weights, and no pod any; pods that were real servers may still drain."""
    port = service(web)["spec"]["ports"][0]["nodePort"]
    wanted = {f"{NODE_ADDRESSES[node.replace('_', '-')]}:{port}": weight for node, weight in weights.items()}

    def seen() -> bool:
        found = web.table(DIRECTOR)[f"TCP {vip}:80"].destinations
        nodes = {address: one.weight for address, one in found.items() if address.endswith(f":{port}")}
        assert nodes == wanted
        assert {one.weight for address, one in found.items() if address not in nodes} <= {0}
        return True

    wait_for(seen, SECONDS, "the nodes to be the real servers", interval=0.5)


def annotate(web: ChartDeployment, *annotations: str) -> None:
    """Without our prefix; with a hyphen at the end to take one away."""
    web.lab.kubectl("annotate", "service", NAME, *(f"lvs-operator.io/{one}" for one in annotations))


def patch(web: ChartDeployment, **spec: object) -> None:
    web.lab.kubectl("patch", "service", NAME, "--type=merge", f"--patch={json.dumps({'spec': spec})}")


def test_clients_reach_the_pods_at_the_address_that_the_service_tells(web: ChartDeployment) -> None:
    vip = address(web)
    assert vip.startswith("192.168.10.13")
    client = web.lab.machine("client")
    wait_for(lambda: answers(client, vip), 10, f"{vip} to answer")
    wait_served(web, vip, *SERVERS)
    assert seen_client(web, vip) in own_addresses(web)
    web.lab.kubectl("wait", "--for=condition=lvs-operator.io/Ready", f"service/{NAME}", "--timeout=30s")


def test_kube_proxy_leaves_the_address_alone(web: ChartDeployment) -> None:
    vip, cluster_ip, director = address(web), service(web)["spec"]["clusterIP"], web.lab.guest(DIRECTOR)
    rules = "iptables-save -t nat"
    wait_for(lambda: cluster_ip in director.sh(rules), SECONDS, "kube-proxy to know the Service", interval=0.5)
    assert vip not in director.sh(rules)
    assert f"{vip}:80" in director.sh("ipvsadm -Ln")
    wait_served(web, vip, *SERVERS)


def test_local_shows_pods_the_client(web: ChartDeployment) -> None:
    """What pods answer comes back through the director where it is on the way, as `Local` needs it."""
    vip = address(web)
    for node in (DIRECTOR, *SERVERS):  # what goes to pods and what comes back take different ways
        web.lab.guest(node).sh("for one in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $one; done")
    for node in SERVERS:
        web.lab.guest(node).sh(f"ip route replace {CLIENT}/32 via {DIRECTOR_ADDRESS}")
    patch(web, externalTrafficPolicy="Local")

    def seen() -> bool:
        assert seen_client(web, vip) == CLIENT
        return True

    wait_for(seen, SECONDS, "pods to see the client", interval=0.5)
    wait_served(web, vip, *SERVERS)


def test_local_nodes_take_part_while_they_have_a_pod(web: ChartDeployment) -> None:
    vip = address(web)
    patch(web, allocateLoadBalancerNodePorts=True)
    wait_for(lambda: service(web)["spec"]["ports"][0].get("nodePort"), SECONDS, "a node port", interval=0.5)
    annotate(web, "real-servers=Nodes")
    wait_nodes(web, vip, server_1=1, server_2=1)
    wait_served(web, vip, *SERVERS)
    assert seen_client(web, vip) == CLIENT
    web.lab.kubectl("label", "node", "server-2", "app-")
    wait_nodes(web, vip, server_1=1, server_2=0)
    wait_served(web, vip, "server-1")


def test_any_node_takes_part_under_cluster_and_the_director_does_not(web: ChartDeployment) -> None:
    vip = address(web)
    patch(web, externalTrafficPolicy="Cluster")
    wait_nodes(web, vip, server_1=1, server_2=1)
    wait_served(web, vip, "server-1")  # server-2 hands on to the only pod there is
    web.lab.kubectl("label", "node", "server-2", "app=web")
    annotate(web, "real-servers-")
    wait_served(web, vip, *SERVERS)
    assert seen_client(web, vip) in own_addresses(web)


def test_without_ready_pods_no_address_is_told(web: ChartDeployment) -> None:
    vip = address(web)
    web.lab.kubectl("delete", "daemonset", NAME, "--wait=false")
    wait_for(lambda: not ingress(web), SECONDS, "the address to be withdrawn", interval=0.5)
    image = build_images().node_agent
    web.apply(pods(f"{image.repository}:{image.tag}"))
    assert address(web) == vip
    wait_served(web, vip, *SERVERS)


def test_another_type_leaves_nothing(web: ChartDeployment) -> None:
    vip = address(web)
    patch(web, type="ClusterIP", loadBalancerClass=None, allocateLoadBalancerNodePorts=None)
    web.wait_shape(DIRECTOR, {}, deadline=GONE_SECONDS)
    wait_for(lambda: f"{vip}/32" not in web.addresses(DIRECTOR, "eth0"), GONE_SECONDS, "the address to go")
    wait_for(
        lambda: service(web)["status"] == {"loadBalancer": {}}, GONE_SECONDS, "the Service to say nothing", interval=0.5
    )
    left = web.lab.kubectl("get", "lvsvs,lvspool", "--all-namespaces", "--output=name").stdout
    assert left == ""
