"""What `kubectl lvs release` lets go, and what it refuses. Against a real API server: e2e/scenarios/test_absence.py."""

from pathlib import Path
from typing import Any

import pytest

from lvs_api.api_group import ANNOTATION_RELEASE
from lvs_api.conditions import EPOCH
from lvs_api.kinds import NODE
from lvs_api.objects import parse_object
from lvs_api.testing import lvs_node
from lvs_cli.__main__ import main
from lvs_cli.cluster import Cluster
from lvs_cli.errors import CliError
from lvs_cli.release import release


class Nodes(Cluster):
    """A cluster in memory."""

    def __init__(self, *raws: dict[str, Any]) -> None:
        self.raws = raws
        self.annotated: list[tuple[str, str, str]] = []

    def list(self, kind: Any, *, namespace: str | None = None) -> Any:
        assert (kind, namespace) == (NODE, None)
        return [parse_object(NODE, raw) for raw in self.raws]

    def annotate(self, kind: Any, name: str, annotation: str, value: str) -> None:
        assert kind is NODE
        assert name in {raw["metadata"]["name"] for raw in self.raws}
        self.annotated.append((name, annotation, value))


def holding(name: str, token: str, message: str) -> dict[str, Any]:
    said = {"status": "True", "reason": "CRDMissing", "message": message, "lastTransitionTime": EPOCH}
    status = {"releaseToken": token, "conditions": [{"type": "RemovalHeld", **said}, {"type": "Ready", **said}]}
    return lvs_node(name) | {"status": status}


def test_what_is_held_now_is_let_go_and_named() -> None:
    cluster = Nodes(holding("d1", "token-1", "web is gone"), holding("d2", "token-2", "web is gone"), lvs_node("s1"))
    assert release(cluster, ["d1"]) == "d1: let go: web is gone"
    assert cluster.annotated == [("d1", ANNOTATION_RELEASE, "token-1")]
    assert release(cluster, []) == "d1: let go: web is gone\nd2: let go: web is gone"
    assert [name for name, _, _ in cluster.annotated] == ["d1", "d1", "d2"]


@pytest.mark.parametrize(("names", "said"), [(["d1", "x"], "no LvsNode x"), (["d1", "s1"], "s1 holds nothing")])
def test_a_wrong_name_lets_nothing_go(names: list[str], said: str) -> None:
    cluster = Nodes(holding("d1", "token-1", "web is gone"), lvs_node("s1"))
    with pytest.raises(CliError, match=said):
        release(cluster, names)
    assert cluster.annotated == []


def test_where_nothing_is_held() -> None:
    assert release(Nodes(lvs_node("s1")), []) == "No node holds anything that a person could let go."


@pytest.mark.parametrize("arguments", [["release"], ["release", "--all", "d1"]])
def test_either_nodes_or_all(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)


def test_a_missing_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    assert main(["release", "--all"]) == 1
