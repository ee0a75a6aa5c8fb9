"""What the tests leave in a cluster of which they have a kubeconfig, however they end, and what they do not touch."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

from lvs_lab.clusters.cluster import CLIENT_LABEL, DIRECTOR_LABEL, SERVER_LABEL, ClusterError, ImageReferences
from lvs_lab.clusters.kubeconfig import KubeconfigCluster
from lvs_lab.errors import CommandError

IMAGES = ImageReferences(operator="operator:1", node_agent="agent:1")
CRD = "customresourcedefinition.apiextensions.k8s.io/lvsnodes.lvs-operator.io"
LABELS = {"d": DIRECTOR_LABEL, "s1": SERVER_LABEL, "s2": SERVER_LABEL, "c": CLIENT_LABEL}
PROGRAM = """#!/bin/sh
[ "$1" = --kubeconfig=/the/file ] || exit 2
shift
echo "{name} $*" >> {state}/calls
if grep --quiet --line-regexp --fixed-strings "{name} $1 $2" {state}/failing; then echo refused >&2; exit 1; fi
case "$*" in
"get nodes --output=json") cat {state}/nodes ;;
"get namespaces --output=name") cat {state}/namespaces ;;
"get customresourcedefinitions --output=name") cat {state}/crds ;;
"--namespace lvs-lab get pods --output=json") cat {state}/pods ;;
esac
"""


class Stranger:
    """Somebody's cluster, as `kubectl` and `helm` show it."""

    def __init__(self, state: Path) -> None:
        self._state = state
        nodes = [
            {
                "metadata": {"name": name, "labels": dict([label])},
                "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
            }
            for name, label in LABELS.items()
        ]
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        pods = [{"metadata": {"name": name}, "spec": {"nodeName": name}, "status": ready} for name in LABELS]
        for what, items in (("nodes", nodes), ("pods", pods)):
            (state / what).write_text(json.dumps({"items": items}))
        self.has("namespaces", "namespace/default")
        self.has("crds")
        self.has("failing")
        self.has("calls")

    def has(self, what: str, *lines: str) -> None:
        """Of one kind exactly these."""
        (self._state / what).write_text("".join(f"{line}\n" for line in lines))

    def changes(self) -> list[str]:
        """What was asked to be removed, in its order."""
        calls = (self._state / "calls").read_text().splitlines()
        return [call.partition(" --timeout=")[0] for call in calls if "delete" in call or "uninstall" in call]


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stranger:
    for name in ("kubectl", "helm"):
        program = tmp_path / name
        program.write_text(PROGRAM.format(name=name, state=shlex.quote(str(tmp_path))))
        program.chmod(0o755)
        monkeypatch.setenv(name.upper(), str(program))
    return Stranger(tmp_path)


def run_tests(stranger: Stranger) -> None:
    """As tests that installed the release and then failed."""
    with KubeconfigCluster.open(Path("/the/file"), "192.0.2.9", IMAGES):
        stranger.has("crds", CRD)


RELEASE: Sequence[str] = (
    "kubectl delete lvsvirtualservices,lvsrealserverpools --all --all-namespaces",
    "helm uninstall lvs-operator --namespace lvs-system --ignore-not-found --wait",
    f"kubectl delete {CRD}",
)
NAMESPACE = "kubectl delete namespace lvs-system --ignore-not-found"
LOOKERS = "kubectl delete namespace lvs-lab --ignore-not-found"


def test_release_and_pods_that_look_are_removed(stranger: Stranger) -> None:
    run_tests(stranger)
    assert stranger.changes() == [*RELEASE, NAMESPACE, LOOKERS]


def test_a_namespace_for_the_release_that_was_there_before_stays(stranger: Stranger) -> None:
    """With a secret for pulling images, for example."""
    stranger.has("namespaces", "namespace/default", "namespace/lvs-system")
    run_tests(stranger)
    assert stranger.changes() == [*RELEASE, LOOKERS]


@pytest.mark.parametrize(
    ("what", "name", "said"),
    [
        ("crds", CRD, "lvs-operator is in this cluster already"),
        ("namespaces", "namespace/lvs-lab", "namespace lvs-lab"),
    ],
)
def test_what_somebody_has_is_left_alone(stranger: Stranger, what: str, name: str, said: str) -> None:
    stranger.has(what, name)
    with pytest.raises(ClusterError, match=said):
        run_tests(stranger)
    assert stranger.changes() == []


@pytest.mark.parametrize("failing", [f"kubectl delete {CRD}", "kubectl delete namespace"])
def test_privileged_pods_go_also_where_the_rest_can_not_be_removed(stranger: Stranger, failing: str) -> None:
    stranger.has("failing", failing)
    with pytest.raises(CommandError, match="refused"):
        run_tests(stranger)
    assert stranger.changes() == [*RELEASE, NAMESPACE, LOOKERS]


def test_a_release_whose_job_can_not_run_is_removed_without_it(
    stranger: Stranger, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger.has("failing", "helm uninstall lvs-operator")
    with pytest.raises(CommandError, match="refused"):
        run_tests(stranger)
    changes = stranger.changes()
    assert any("--no-hooks" in change for change in changes)
    assert any("clusterroles" in change for change in changes)
    assert changes[-3:] == [RELEASE[-1], NAMESPACE, LOOKERS]
    assert "Clean a node" in capsys.readouterr().out
