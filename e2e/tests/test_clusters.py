"""What the back ends of `--cluster` read, refuse and render, without a cluster."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import yaml

from lvs_lab.clusters import ask
from lvs_lab.clusters.cluster import (
    CLIENT_LABEL,
    DIRECTOR_LABEL,
    SERVER_LABEL,
    ClusterError,
    ImageReferences,
    internal_address,
    with_token,
)
from lvs_lab.clusters.kubeconfig import PodMachine, find_roles
from lvs_lab.clusters.lookers import PROGRAMS, looker_objects, lookers_by_node
from lvs_lab.waiting import wait_for
from support.cluster_fixtures import BackEnd, Choice

IMAGES = "registry.example:5000/lvs/operator:1,registry.example:5000/lvs/agent:2"


def node(name: str, *labels: tuple[str, str], addresses: tuple[str, ...] = ("192.0.2.1",)) -> dict[str, Any]:
    told = [{"type": "Hostname", "address": name}, *({"type": "InternalIP", "address": one} for one in addresses)]
    return {"metadata": {"name": name, "labels": dict(labels)}, "status": {"addresses": told}}


def test_roles_are_read_off_the_labels() -> None:
    nodes = [
        node("c", CLIENT_LABEL),
        node("s1", SERVER_LABEL, addresses=("fd00::1", "192.0.2.21")),
        node("d", DIRECTOR_LABEL),
        node("s2", SERVER_LABEL, addresses=("fd00::2",)),
        node("other"),
    ]
    roles = find_roles(nodes)
    assert roles.directors == ("d",)
    assert roles.servers == {"s1": "192.0.2.21", "s2": "fd00::2"}
    assert roles.client == "c"
    assert find_roles(nodes[1:]).client == ""


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([node("s1", SERVER_LABEL), node("s2", SERVER_LABEL)], "NODE lvs-operator.io/role=director"),
        ([node("d", DIRECTOR_LABEL), node("s1", SERVER_LABEL)], "NODE app=web"),
        (
            [node("both", DIRECTOR_LABEL, SERVER_LABEL), node("s1", SERVER_LABEL)],
            "both: a node is director, real server",
        ),
    ],
)
def test_a_cluster_without_the_roles_is_refused_with_what_to_label(nodes: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        find_roles(nodes)


def test_a_node_without_an_address_is_named() -> None:
    with pytest.raises(ClusterError, match="node bare has no InternalIP"):
        internal_address(node("bare", addresses=()))


def test_images_keep_the_port_of_their_registry_apart_from_the_tag() -> None:
    images = ImageReferences.parse(IMAGES)
    assert images.chart_values() == [
        "--set=operator.image.repository=registry.example:5000/lvs/operator,operator.image.tag=1",
        "--set=nodeAgent.image.repository=registry.example:5000/lvs/agent,nodeAgent.image.tag=2",
    ]
    assert images.with_tag("next").operator == "registry.example:5000/lvs/operator:next"


@pytest.mark.parametrize(
    "text", ["", "operator:1", "operator:1,agent", "registry:5000/operator,agent:1", "a:1,b:2,c:3"]
)
def test_images_without_both_tags_are_refused(text: str) -> None:
    with pytest.raises(ClusterError, match="OPERATOR-IMAGE:TAG"):
        ImageReferences.parse(text)


def test_a_kubeconfig_with_a_token_has_no_credentials_but_it() -> None:
    whole = {
        "current-context": "now",
        "contexts": [
            {"name": "then", "context": {"cluster": "old", "user": "admin"}},
            {"name": "now", "context": {"cluster": "new", "user": "admin", "namespace": "elsewhere"}},
        ],
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}"}} for name in ("old", "new")],
        "users": [{"name": "admin", "user": {"client-key-data": "secret"}}],
    }
    made = with_token(whole, "abc")
    assert made["clusters"] == [{"name": "new", "cluster": {"server": "https://new"}}]
    assert made["users"] == [{"name": "token", "user": {"token": "abc"}}]
    assert made["contexts"] == [{"name": made["current-context"], "context": {"cluster": "new", "user": "token"}}]
    assert "secret" not in yaml.safe_dump(made)


def test_pods_that_look_share_the_nodes_network_and_have_the_small_server() -> None:
    namespace, programs, daemon_set = json.loads(looker_objects("agent:1"))["items"]
    assert namespace["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "privileged"}
    assert "--pid-file" in programs["data"]["serve.py"]
    pod = daemon_set["spec"]["template"]["spec"]
    assert (pod["hostNetwork"], pod["hostPID"], pod["tolerations"]) == (True, True, [{"operator": "Exists"}])
    (container,) = pod["containers"]
    assert container["image"] == "agent:1"
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == [PROGRAMS]


def test_only_pods_that_are_ready_and_stay_are_looked_through() -> None:
    def pod(name: str, on: str, ready: str, **metadata: str) -> dict[str, Any]:
        status = {"conditions": [{"type": "Ready", "status": ready}]}
        return {"metadata": {"name": name, **metadata}, "spec": {"nodeName": on}, "status": status}

    pods = [pod("a", "n1", "True"), pod("b", "n2", "False"), pod("c", "n3", "True", deletionTimestamp="now")]
    pods.append({"metadata": {"name": "d"}, "spec": {"nodeName": "n4"}, "status": {}})
    assert lookers_by_node({"items": pods}) == {"n1": "a"}


def test_commands_for_a_pod_come_after_kubectls_own_options() -> None:
    machine = PodMachine("n1", ["kubectl", "exec", "--stdin", "looker-1"])
    assert machine.command(["ip", "--json"]) == ["kubectl", "exec", "--stdin", "looker-1", "--", "ip", "--json"]


def test_commands_get_their_environment_and_input_and_tell_how_they_ended() -> None:
    machine = PodMachine("here", ["env"])  # `env -- WORDS` runs the words
    done = machine.exec(["sh", "-c", 'read line; echo "$line $WHAT"; exit 3'], stdin="in\n", env={"WHAT": "set"})
    assert (done.returncode, done.stdout) == (3, "in set\n")


@pytest.mark.parametrize("text", ["lab", "kind"])
def test_lab_and_kind_want_nothing_more(text: str) -> None:
    assert Choice.parse(text, "", "") == Choice(back_end=BackEnd(text))


def test_a_kubeconfig_comes_with_an_address_and_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/from/environment")
    given = Choice.parse("kubeconfig:/some/file", "192.0.2.9", IMAGES)
    assert (str(given.kubeconfig), given.address, given.images) == (
        "/some/file",
        "192.0.2.9",
        ImageReferences.parse(IMAGES),
    )
    assert str(Choice.parse("kubeconfig", "192.0.2.9", IMAGES).kubeconfig) == "/from/environment"


@pytest.mark.parametrize(
    ("cluster", "address", "images", "said"),
    [
        ("minikube", "", "", "it is lab, kind, kubeconfig or kubeconfig:PATH"),
        ("kind:/some/file", "", "", "it is lab, kind"),
        ("kubeconfig", "", IMAGES, "wants --cluster-address"),
        ("kubeconfig", "192.0.2.9", "", "--cluster-images"),
        ("kubeconfig", "fd00::1", IMAGES, "--cluster-address"),
        ("kubeconfig", "192.0.2.9", "operator", "OPERATOR-IMAGE:TAG"),
    ],
)
def test_choices_that_mean_nothing_are_refused(cluster: str, address: str, images: str, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        Choice.parse(cluster, address, images)


class Named(BaseHTTPRequestHandler):
    """Answers with a name, and every third time with a failure where the server says so."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.asked += 1
        body = b"server-1\n"
        self.send_response(503 if server.asked > server.healthy else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    made: Any = HTTPServer(("127.0.0.1", 0), Named)
    made.asked, made.healthy = 0, 1_000_000
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


def asked(*words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, ask.__file__, *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=30)


def test_replies_are_counted_until_one_fails(server: Any) -> None:
    port = str(server.server_port)
    done = asked("replies", "127.0.0.1", port, "3")
    assert (done.returncode, done.stdout.split()) == (0, ["server-1"] * 3)
    server.healthy = 5
    done = asked("replies", "127.0.0.1", port, "9")
    assert (done.returncode, done.stdout.split()) == (1, ["server-1"] * 2)
    assert "503" in done.stderr


def test_a_stream_goes_on_until_its_input_ends_and_tells_of_failures(server: Any) -> None:
    server.healthy = 3
    command = [sys.executable, ask.__file__, "stream", "127.0.0.1", str(server.server_port), "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        wait_for(lambda: server.asked >= server.healthy + 2, 20, "some requests to fail")
        said, _ = process.communicate(timeout=20)
    told = json.loads(said)
    assert told["replies"] == {"server-1": 3}
    assert len(told["failures"]) == server.asked - 3
    assert all("503" in one for one in told["failures"])
    assert told["slowest_seconds"] > 0


def test_who_can_not_be_asked_is_told() -> None:
    done = asked("sing")
    assert (done.returncode, done.stderr) == (1, "nobody can be asked 'sing'\n")


def test_arp_answers_are_told_from_everything_else() -> None:
    question = ask.question("02:00:00:00:00:01", "192.0.2.1", "192.0.2.9")
    assert len(question) == 42
    assert ask.claimant(question, "192.0.2.9") is None
    mac, other = bytes.fromhex("020000000009"), bytes.fromhex("020000000001")
    head = other + mac + bytes.fromhex("0806 0001 0800 06 04 0002")
    frame = head + mac + bytes([192, 0, 2, 9]) + other + bytes([192, 0, 2, 1])
    assert ask.claimant(frame, "192.0.2.9") == "02:00:00:00:00:09"
    assert ask.claimant(frame, "192.0.2.8") is None
    assert ask.claimant(frame[:20], "192.0.2.9") is None
