"""How a cluster by kind is made and taken away, with programs that refuse what the real ones do; and without docker."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lvs_lab.artifacts import CHECKOUT, remove_tree
from lvs_lab.clusters.cluster import DIRECTOR_LABEL, SERVER_LABEL, Ability, ClusterError
from lvs_lab.clusters.docker import IMAGES, ContainerMachine, client_arguments, free_address, why_no_docker
from lvs_lab.clusters.kind import KindSettings, kind_configuration, open_kind
from support import fake_kind

SETTINGS = KindSettings(name="mine", directors=1, servers=2)
QUICK_START = "e2e/scenarios/test_kubelet_quick_start.py"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the programs know, which stand in PATH before all others."""
    made, programs = tmp_path / "state", tmp_path / "programs"
    made.mkdir()
    programs.mkdir()
    fake_kind.install(programs, made)
    for name in ("KIND", "KUBECTL", "HELM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(fake_kind, "STATE", made)
    return made


def test_every_role_has_its_label_and_the_control_plane_none() -> None:
    read = yaml.safe_load(kind_configuration(1, 2))
    assert (read["kind"], read["apiVersion"]) == ("Cluster", "kind.x-k8s.io/v1alpha4")
    director, server = (dict([label]) for label in (DIRECTOR_LABEL, SERVER_LABEL))
    workers = [{"role": "worker", "labels": labels} for labels in (director, server, server)]
    assert read["nodes"] == [{"role": "control-plane"}, *workers]


def network(*ranges: str, **containers: str) -> str:
    there = {name: {"Name": name, "IPv4Address": address} for name, address in containers.items()}
    config = [{"Subnet": one} for one in ranges]
    return json.dumps([{"Name": "kind", "IPAM": {"Config": config}, "Containers": there}])


def test_the_address_is_near_the_end_of_the_ipv4_range() -> None:
    assert free_address(network("fc00::/64", "172.18.0.0/16", node="172.18.0.2/16")) == "172.18.255.199"
    assert free_address(network("10.1.0.0/24")) == "10.1.0.199"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (network("fc00::/64", "10.1.0.0/26"), "no IPv4 range of 128 addresses"),
        (network("10.1.0.0/24", other="10.1.0.199/24"), "10.1.0.199 on docker's network kind belongs to other"),
    ],
)
def test_a_network_without_a_free_address_is_named(text: str, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        free_address(text)


def test_the_client_is_a_container_beside_the_nodes() -> None:
    words = client_arguments("mine-client", "agent:1")
    assert words[:2] == ["run", "--detach"]
    assert words[words.index("--network") + 1] == "kind"
    assert words[words.index("agent:1") + 1 :] == ["-c", "import signal; signal.pause()"]
    command = ContainerMachine("mine-client").command(["ip", "route"])
    assert command == ["docker", "exec", "--interactive", "mine-client", "ip", "route"]


@pytest.mark.usefixtures("state")
def test_a_cluster_is_made_with_both_images_and_a_client_and_taken_away() -> None:
    with open_kind(SETTINGS) as cluster:
        assert cluster.directors == ("kind-worker",)
        assert cluster.servers == {"kind-worker2": "172.18.0.4", "kind-worker3": "172.18.0.5"}
        assert cluster.address == "172.18.255.199"
        assert cluster.client.name == "mine-client"
        assert fake_kind.there("clusters") == ["mine"]
        assert fake_kind.there("containers") == ["mine-client"]
        assert set(fake_kind.there("loaded")) == {IMAGES.operator, IMAGES.node_agent}
        assert cluster.kubeconfig.exists()
        assert cluster.lack(Ability.SYSTEM_PROGRAMS) == ""
        assert "share the kernel" in cluster.lack(Ability.POWER_CUT)
    assert (fake_kind.there("clusters"), fake_kind.there("containers")) == ([], [])
    assert not cluster.kubeconfig.parent.exists()
    assert not (Path.cwd() / ".pytest-kind").exists()


@pytest.mark.usefixtures("state")
def test_a_cluster_that_is_kept_is_left_with_its_client(capsys: pytest.CaptureFixture[str]) -> None:
    with open_kind(KindSettings(name="mine", keep=True)) as cluster:
        pass
    assert (fake_kind.there("clusters"), fake_kind.there("containers")) == (["mine"], ["mine-client"])
    assert f"export KUBECONFIG={cluster.kubeconfig}" in capsys.readouterr().out
    remove_tree(cluster.kubeconfig.parent)
    fake_kind.keep("clusters", [])  # as its user deletes it, by kind alone
    with open_kind(SETTINGS) as cluster:
        assert fake_kind.there("containers") == ["mine-client"]
    assert fake_kind.there("containers") == []


@pytest.mark.usefixtures("state")
def test_a_cluster_that_somebody_has_is_left_alone() -> None:
    fake_kind.keep("clusters", ["mine"])
    with pytest.raises(ClusterError, match="has a cluster mine already"), open_kind(SETTINGS):
        pass
    assert fake_kind.there("clusters") == ["mine"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [("no-room", "create cluster .* ended with 1"), ("no-ipvs", "modprobe ip_vs .*Module ip_vs not found")],
)
def test_what_was_half_made_is_taken_away(state: Path, fault: str, said: str) -> None:
    (state / fault).touch()
    with pytest.raises(ClusterError, match=said), open_kind(SETTINGS):
        pass
    assert (fake_kind.there("clusters"), fake_kind.there("containers")) == ([], [])


@pytest.mark.usefixtures("state")
def test_a_program_that_is_not_there_is_not_downloaded(tmp_path: Path) -> None:
    settings = KindSettings(name="mine", kind=tmp_path / "kind-of-mine")
    with pytest.raises(ClusterError, match=r"there is no program .*/kind-of-mine"), open_kind(settings):
        pass


def test_docker_that_does_not_answer_is_quoted(state: Path) -> None:
    (state / "away").touch()
    assert "docker does not answer: Error: Cannot connect to the Docker daemon" in why_no_docker()
    with pytest.raises(ClusterError, match="docker does not answer"), open_kind(SETTINGS):
        pass


def test_without_docker_its_absence_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert why_no_docker() == "docker is not installed here"


def run_here(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=120)


def test_without_docker_the_tests_are_skipped_and_say_why(state: Path) -> None:
    (state / "away").touch()
    done = run_here(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--cluster=kind", QUICK_START)
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert lines
    assert all("kind lane: docker does not answer: Error: Cannot connect" in line for line in lines), lines
    assert " passed" not in done.stdout


def test_without_docker_the_demo_says_why_and_fails(state: Path) -> None:
    (state / "away").touch()
    done = run_here(sys.executable, "-m", "lvs_lab.demo.on_kind")
    assert (done.returncode, done.stdout) == (1, "")
    assert "can not run: docker does not answer" in done.stderr
    assert "`make demo` needs no docker" in done.stderr
