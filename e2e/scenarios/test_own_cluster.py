"""The tests of any cluster on one that is there already: a lab of which they know a kubeconfig and nothing else."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from lvs_lab.artifacts import CHECKOUT
from lvs_lab.clusters.lab import LabCluster
from lvs_lab.kube_tools import helm_program, kube_programs
from support.cluster_release import lab_cluster

pytestmark = [pytest.mark.lab, pytest.mark.kubelet, pytest.mark.long]
ADDRESS: Final = "192.168.10.77"
"""Not the quick start's: it is told."""
CLIENT: Final = """
segments: [lan]
nodes:
  asker:
    kubelet: true
    role: client
    interfaces: {eth0: {segment: lan, addresses: [192.168.10.60/24]}}
    gateways: [192.168.10.1]
"""
QUICK_START: Final = "e2e/scenarios/test_kubelet_quick_start.py"
LIFE: Final = "only_on_directors or becomes_ready or take_turns or leave_nothing"
"""Of the story what installs, serves and leaves nothing."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LabCluster]:
    with lab_cluster("stranger", ["kubelet", CLIENT]) as made:
        yield made


def left(cluster: LabCluster) -> str:
    """What of ours is in the cluster."""
    kinds = "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings"
    names = cluster.kubectl("get", kinds, "--output=name").stdout.split()
    return " ".join(name for name in names if "lvs" in name)


def run_tests(cluster: LabCluster, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run the quick start's tests with the kubeconfig as all that they know."""
    named = f"{cluster.images.operator},{cluster.images.node_agent}"
    options = [
        f"--cluster=kubeconfig:{cluster.kubeconfig}",
        f"--cluster-address={ADDRESS}",
        f"--cluster-images={named}",
    ]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, QUICK_START, *words]
    programs = {"KUBECTL": str(kube_programs() / "kubectl"), "HELM": str(helm_program())}
    environment = {**os.environ, **programs}
    return subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False, timeout=1500
    )


def test_a_release_lives_and_leaves_nothing(cluster: LabCluster) -> None:
    done = run_tests(cluster, "-k", LIFE)
    assert done.returncode == 0, done.stdout[-10000:]
    assert " 4 passed" in done.stdout
    assert left(cluster) == ""


def test_a_cluster_that_has_lvs_operator_is_refused(cluster: LabCluster) -> None:
    definition = CHECKOUT / "crds" / "lvs-operator.io_lvsvirtualservices.yaml"
    cluster.kubectl("apply", "--server-side", f"--filename={definition}")
    try:
        done = run_tests(cluster, "-k", LIFE)
        assert done.returncode == 1
        assert "lvs-operator is in this cluster already (1 CRDs of lvs-operator.io)" in done.stdout
    finally:
        cluster.kubectl("delete", f"--filename={definition}")


@pytest.mark.timeout(1800)
def test_the_whole_story(cluster: LabCluster, record_property: Callable[[str, object], None]) -> None:
    done = run_tests(cluster)
    record_property("printed", "\n".join(line for line in done.stdout.splitlines() if line.startswith("SKIPPED")))
    assert done.returncode == 0, done.stdout[-10000:]
    assert " 13 passed, 2 skipped" in done.stdout
    assert left(cluster) == ""
