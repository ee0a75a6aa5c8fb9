"""Labs come up, go on where they were left, stand side by side and go down without a trace, whatever happened."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lvs_lab import processes
from lvs_lab.artifacts import remove_tree
from lvs_lab.errors import LabError
from lvs_lab.host_commands import run
from lvs_lab.lab import Lab, lab_names, take_down
from lvs_lab.places import RUN_ROOT
from lvs_lab.waiting import wait_for
from support.lab_fixtures import LabOf, session_name
from support.lab_looks import left_of, lvs_lab, node_ready, pings

pytestmark = pytest.mark.lab

TINY = """
segments: [lan]
controlPlane: {enabled: false}
nodes:
  one: {memoryMiB: 192, interfaces: {eth0: {segment: lan, addresses: [192.168.4.5/24]}}}
clients:
  client: {interfaces: {eth0: {segment: lan, addresses: [192.168.4.10/24]}}}
"""


def test_two_labs_with_the_same_addresses_side_by_side(own_lab: LabOf) -> None:
    labs: Sequence[Lab] = [own_lab(TINY), own_lab(TINY)]
    for number, lab in enumerate(labs):
        lab.guest("one").serve(port=80)
        lab.guest("one").sh(f"echo {number} > /root/number")
    for number, lab in enumerate(labs):
        assert lab.machine("client").out("curl", "--silent", "http://192.168.4.5/") == "one\n"
        assert lab.guest("one").out("cat", "/root/number") == f"{number}\n"
    labs[0].down()
    assert left_of(labs[0].name) == []
    assert labs[1].machine("client").exec(["curl", "--silent", "http://192.168.4.5/"]).ok


def test_up_again_starts_what_is_missing_and_refuses_another_topology(own_lab: LabOf) -> None:
    lab = own_lab(TINY)
    lab.guest("one").power_off()
    assert Lab.up(lab.name, TINY).guest("one").exec(["true"]).ok
    with pytest.raises(LabError, match="is up with another topology"):
        Lab.up(lab.name, TINY.replace("192.168.4.10", "192.168.4.11"))


PHASES = {
    "noted": "topology.yaml",
    "network": "network-built",
    "guest": "pids/guest.one",
    "credentials": "credentials/ca.crt",
    "etcd": "pids/etcd",
    "api": "pids/kube-apiserver",
    "supervisor": "pids/supervisor",
}
"""The steps of `up`, by what the lab's directory has when each begins."""
SMALL = TINY.replace("enabled: false", "enabled: true")


def killed_at(name: str, topology: Path, phase: str) -> None:
    """Begin to bring a lab up, and SIGKILL that as soon as a phase begins."""
    command = [sys.executable, "-m", "lvs_lab", "up", "--name", name, "--topology", str(topology)]
    coming_up = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for((RUN_ROOT / name / PHASES[phase]).exists, 120, f"{phase} to begin", interval=0.001)
    finally:
        coming_up.kill()
        coming_up.wait()


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A lab's name and the file of its topology; whatever a test leaves of it goes."""
    name = session_name("kill")
    topology = tmp_path / "small.yaml"
    topology.write_text(SMALL)
    yield name, topology
    take_down(name)


@pytest.mark.parametrize("phase", PHASES)
def test_down_leaves_nothing_of_a_lab_that_was_killed(killed: tuple[str, Path], phase: str) -> None:
    name, topology = killed
    killed_at(name, topology, phase)
    assert name in lab_names()
    typed = lvs_lab("down", "--name", name)
    assert (typed.returncode, typed.stdout) == (0, f"lab '{name}' is down\n")
    assert left_of(name) == []
    assert lvs_lab("down", "--name", name).stdout == f"lab '{name}' was not up\n"


@pytest.mark.parametrize("phase", ["noted", "guest", "api"])
def test_up_goes_on_where_it_was_killed(killed: tuple[str, Path], phase: str) -> None:
    name, topology = killed
    killed_at(name, topology, phase)
    typed = lvs_lab("up", "--name", name, "--topology", str(topology))
    assert typed.returncode == 0, typed.stderr
    lab = Lab(name)
    assert pings(lab, lab.guest("one").ip)
    wait_for(lambda: node_ready(lab, "one") == "True", 20, "the node to be Ready")
    boot_id = lab.kubectl("get", "node", "one", "--output=jsonpath={.status.nodeInfo.bootID}").stdout
    assert lab.guest("one").out("cat", "/proc/sys/kernel/random/boot_id").strip() == boot_id


def test_down_finds_what_lost_its_note_its_namespace_or_stands_still(own_lab: LabOf) -> None:
    lab = own_lab(SMALL)
    notes = lab.places.notes
    (notes / "etcd").unlink()
    processes.Program(notes / "guest.one").signal(signal.SIGSTOP)
    run(["ip", "netns", "delete", lab.places.switches])
    refused = subprocess.run(
        [sys.executable, "-m", "lvs_lab", "up", "--name", lab.name, "--topology", "s14a"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert refused.returncode == 1
    assert "is damaged" in refused.stderr
    assert f"lvs-lab down --name {lab.name}" in refused.stderr
    remove_tree(lab.places.run)
    assert lvs_lab("down", "--name", lab.name).stdout == f"lab '{lab.name}' is down\n"
    assert left_of(lab.name) == []


def test_up_again_keeps_what_the_control_plane_knows(own_lab: LabOf) -> None:
    """Whatever of it has ended is started with the data and the credentials that it had."""
    lab = own_lab(SMALL)
    lab.kubectl("create", "configmap", "kept")
    before = lab.kubectl("get", "configmap", "kept", "--output=jsonpath={.metadata.uid}").stdout
    authority = lab.control_plane.authority.certificate.read_bytes()
    for ended in (["kube-apiserver"], ["etcd", "kube-apiserver"]):
        for daemon in ended:
            lab.control_plane.program(daemon).kill()
        assert lvs_lab("up", "--name", lab.name, "--topology", str(lab.places.run / "topology.yaml")).returncode == 0
        assert lab.kubectl("get", "configmap", "kept", "--output=jsonpath={.metadata.uid}").stdout == before
        assert lab.control_plane.authority.certificate.read_bytes() == authority
    wait_for(lambda: node_ready(lab, "one") == "True", 30, "the node to be Ready again")


def test_a_topology_that_a_guest_can_not_have_is_told(own_lab: LabOf) -> None:
    with pytest.raises(LabError, match=r"one is not as its topology says: .*no_such_module"):
        own_lab(TINY.replace("memoryMiB: 192,", "memoryMiB: 192, modules: [no_such_module],"))
