"""The tests of any cluster on kind, where docker is there; and what of that lane can be tried without it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from lvs_lab.artifacts import CHECKOUT
from lvs_lab.clusters.docker import why_no_docker
from lvs_lab.clusters.kind import kind_configuration
from lvs_lab.clusters.lab import LabCluster
from lvs_lab.demo.kind_story import CHAPTERS, KindStory
from lvs_lab.demo.narrator import Narrator
from lvs_lab.kube_tools import kind_program
from support import fake_kind
from support.cluster_release import lab_cluster

SAME_FILES: Final = ("e2e/scenarios/test_kubelet_quick_start.py",)


@pytest.mark.lab
@pytest.mark.kubelet
@pytest.mark.timeout(3600)
def test_same_files_on_kind() -> None:
    if reason := why_no_docker():
        pytest.skip(f"kind lane: {reason}")
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--cluster=kind", *SAME_FILES]
    subprocess.run(words, cwd=CHECKOUT, check=True)


def create(configuration: Path, directory: Path) -> str:
    """What kind says when docker lets it come no further than to its configuration."""
    state, programs = directory / "state", directory / "programs"
    state.mkdir(exist_ok=True)
    programs.mkdir(exist_ok=True)
    (state / "away").touch()
    fake_kind.install(programs, state)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "KIND_EXPERIMENTAL_PROVIDER": "docker"}
    command = [kind_program(), "create", "cluster", "--name=mine", f"--config={configuration}"]
    command.append(f"--kubeconfig={directory / 'kubeconfig'}")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    return done.stderr


@pytest.mark.apiserver
def test_kind_itself_reads_our_configuration(tmp_path: Path) -> None:
    configuration = tmp_path / "kind.yaml"
    configuration.write_text(kind_configuration(2, 3))
    said = create(configuration, tmp_path)
    assert "Cannot connect to the Docker daemon" in said
    assert "config" not in said
    wrong = yaml.safe_load(configuration.read_text())
    wrong["nodes"][1]["label"] = wrong["nodes"][1].pop("labels")
    configuration.write_text(yaml.safe_dump(wrong))
    assert "field label not found" in create(configuration, tmp_path)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LabCluster]:
    with lab_cluster("kind-story", ["kubelet"]) as made:
        yield made


@pytest.mark.lab
@pytest.mark.kubelet
def test_story_of_the_demo_on_kind_is_true_of_the_labs_cluster(
    cluster: LabCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    KindStory(Narrator(CHAPTERS), cluster).tell()
    told = capsys.readouterr().out
    gone = next(iter(cluster.servers))
    assert f"{gone} is taken away" in told
    assert f"{gone} goes on, and its checks pass: weight 1" in told
