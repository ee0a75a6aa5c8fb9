"""Without Kubernetes: the same YAML from a directory on each machine, no API server anywhere."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import yaml

from lvs_lab.lab import Lab, for_all, standard_topology
from lvs_lab.waiting import wait_for
from support.deployment import EXAMPLES
from support.lab_fixtures import session_lab
from support.neighbours import claimants, mac_of
from support.tables import Shape, parse_table, shape
from support.traffic import answers, count_replies, steady_requests

pytestmark = pytest.mark.lab
VIP = "172.16.24.7"
DIRECTOR, SERVERS, CLIENT = "s14a-director", ("s14a-rs8", "s14a-rs9"), "s14a-client"
TABLE: Shape = {f"TCP {VIP}:80 rr": {"172.16.24.8:80": ("Route", 1), "172.16.24.9:80": ("Route", 1)}}


@dataclass(frozen=True, kw_only=True)
class Machines:
    """The machines, and the files that each has."""

    lab: Lab
    files: dict[str, str]

    def shape(self) -> Shape:
        return shape(parse_table(self.lab.guest(DIRECTOR).out("ipvsadm", "-Ln", "--exact")))

    def wait_shape(self, wanted: Shape, deadline: float = 20) -> None:
        def seen() -> bool:
            assert self.shape() == wanted
            return True

        wait_for(seen, deadline, f"the table of {DIRECTOR}", interval=0.1)

    def write(self, name: str, text: str) -> None:
        """Give every machine another file."""
        for machine in (DIRECTOR, *SERVERS):
            self.lab.agent(machine).write_manifests({name: text})

    def carries(self, machine: str, device: str) -> bool:
        return f" {VIP}/32 " in self.lab.guest(machine).out("ip", "-oneline", "address", "show", "dev", device)


def node_manifests(lab: Lab) -> str:
    """The machines as Node objects: their names, labels and addresses."""
    nodes = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": node.name, "labels": dict(node.labels)},
            "status": {"addresses": [{"type": "InternalIP", "address": str(one)} for one in node.node_addresses]},
        }
        for node in lab.topology.nodes
    ]
    return "---\n".join(f"{json.dumps(node)}\n" for node in nodes)


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    text = yaml.safe_load(standard_topology("s14a")) | {"controlPlane": {"enabled": False}}
    with session_lab("files", yaml.safe_dump(text)) as lab:
        example = EXAMPLES / "s14a-dr"
        files = {path.name: path.read_text() for path in example.glob("*.yaml")} | {"nodes.yaml": node_manifests(lab)}
        for name in SERVERS:
            lab.machine(name).serve(port=80)
        lab.guest(DIRECTOR).out("ipvsadm", "--set", "900", "2", "300")
        for_all((DIRECTOR, *SERVERS), lambda name: lab.agent(name).start(manifests=files))
        yield Machines(lab=lab, files=files)


@pytest.fixture
def web(machines: Machines) -> Iterator[Machines]:
    """Everything as the example says; restored afterwards."""
    machines.wait_shape(TABLE)
    wait_for(lambda: answers(machines.lab.machine(CLIENT), VIP), 10, f"{VIP} to answer")
    yield machines
    for name in (DIRECTOR, *SERVERS):
        if not machines.lab.agent(name).running:
            machines.lab.agent(name).start(manifests=machines.files)
        else:
            machines.lab.agent(name).write_manifests(machines.files)


def test_traffic_is_balanced(web: Machines) -> None:
    client = web.lab.machine(CLIENT)
    assert count_replies(client, VIP, 300) == Counter(dict.fromkeys(SERVERS, 150))
    assert claimants(client, VIP) == {mac_of(web.lab.guest(DIRECTOR))}
    for name in SERVERS:
        assert web.carries(name, "lo")


def test_edited_file_is_carried_out(web: Machines) -> None:
    with steady_requests(web.lab.places.namespace(web.lab.topology.machine(CLIENT)), VIP) as record:
        edited = web.files["web.yaml"].replace("scheduler: rr", "scheduler: wlc")
        web.write("web.yaml", edited)
        web.wait_shape({f"TCP {VIP}:80 wlc": TABLE[f"TCP {VIP}:80 rr"]})
    assert record.failures == []


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("scheduler: sometimes", "spec.scheduler"),
        ("scheduler: rr\n  onePacketScheduling: true", "spec.onePacketScheduling"),
        ("scheduler: rr\n  colour: red", "spec.colour"),
        ("scheduler: [", "web.yaml"),
    ],
    ids=["value", "rule", "unknown-field", "not-yaml"],
)
def test_wrong_file_is_named_and_the_last_good_state_goes_on(web: Machines, wrong: str, named: str) -> None:
    before = len(web.lab.agent(DIRECTOR).log())
    web.write("web.yaml", web.files["web.yaml"].replace("scheduler: rr", wrong))
    wait_for(lambda: named in web.lab.agent(DIRECTOR).log()[before:], 10, f"the log to name {named}")
    assert "/web.yaml: " in web.lab.agent(DIRECTOR).log()[before:]
    assert web.shape() == TABLE
    assert answers(web.lab.machine(CLIENT), VIP)


def test_stopped_server_loses_its_weight(web: Machines) -> None:
    server = web.lab.machine("s14a-rs9").server(port=80)
    server.stop()
    web.wait_shape({f"TCP {VIP}:80 rr": {"172.16.24.8:80": ("Route", 1), "172.16.24.9:80": ("Route", 0)}}, 5)
    web.lab.machine("s14a-rs9").serve(port=80)
    web.wait_shape(TABLE, 4)


def test_flushed_table_is_repaired(web: Machines) -> None:
    web.lab.guest(DIRECTOR).out("ipvsadm", "-C")
    web.wait_shape(TABLE, 3)


def test_agent_is_killed_and_comes_back_under_traffic(web: Machines) -> None:
    with steady_requests(web.lab.places.namespace(web.lab.topology.machine(CLIENT)), VIP) as record:
        web.lab.agent(DIRECTOR).kill()
        assert web.shape() == TABLE
        web.lab.agent(DIRECTOR).start(manifests=web.files)
        wait_for(lambda: is_ready(web), 20, "the agent to be ready")
        assert web.shape() == TABLE
    assert record.failures == []


def is_ready(web: Machines) -> bool:
    return web.lab.guest(DIRECTOR).exec(["curl", "--silent", "--fail", "http://127.0.0.1:9461/readyz"]).ok


def test_plan_is_printed_and_touches_nothing(web: Machines) -> None:
    planned = web.lab.agent(DIRECTOR).run_verb("plan", "--manifests", "/run/lvs-lab-agent/manifests")
    assert VIP in planned
    assert "172.16.24.8" in planned
    assert web.shape() == TABLE


def test_power_cut_and_back(web: Machines) -> None:
    web.lab.guest(DIRECTOR).power_off()
    assert not answers(web.lab.machine(CLIENT), VIP)
    web.lab.guest(DIRECTOR).power_on()
    web.lab.agent(DIRECTOR).start(manifests=web.files)
    web.wait_shape(TABLE)
    wait_for(lambda: answers(web.lab.machine(CLIENT), VIP), 10, f"{VIP} to answer")


def test_deleted_file_and_cleanup_leave_nothing(web: Machines) -> None:
    for name in (DIRECTOR, *SERVERS):
        web.lab.agent(name).remove_manifest("web.yaml")
    web.wait_shape({}, 60)
    for name, device in ((DIRECTOR, "eth0"), *((server, "lo") for server in SERVERS)):
        wait_for(lambda: not web.carries(name, device), 60, f"the VIP to leave {name}")  # noqa: B023 -- called at once
    web.write("web.yaml", web.files["web.yaml"])
    web.wait_shape(TABLE)
    for name in (DIRECTOR, *SERVERS):
        web.lab.agent(name).kill("TERM")
        web.lab.agent(name).run_verb("cleanup", "--node-name", name)
    assert web.shape() == {}
    assert not web.carries(DIRECTOR, "eth0")
    for name in SERVERS:
        assert not web.carries(name, "lo")
        assert web.lab.guest(name).out("sysctl", "-n", "net.ipv4.conf.all.arp_ignore").strip() == "0"
