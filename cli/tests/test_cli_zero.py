"""What `kubectl lvs zero` asks of whom. That kernels do it: e2e/scenarios/test_counted_traffic.py."""

import re
from typing import Any

import pytest

from lvs_api.api_group import ANNOTATION_ZERO
from lvs_api.kinds import NODE, VIRTUAL_SERVICE
from lvs_api.objects import parse_object
from lvs_api.testing import lvs_node, virtual_service
from lvs_cli.__main__ import main
from lvs_cli.cluster import Cluster


class Directors(Cluster):
    """Two directors in memory; those of `answering` do at once what they are asked for."""

    def __init__(self, *answering: str) -> None:
        self.namespace = "default"
        self.answering = answering
        self.asked: dict[str, str] = {}

    def list(self, kind: Any, *, namespace: str | None = None) -> Any:
        if kind is VIRTUAL_SERVICE:
            return [parse_object(kind, virtual_service("web", namespace=namespace or "default"))]
        assert kind is NODE
        return [parse_object(NODE, self._node(name), generated=True) for name in ("director-1", "director-2", "rs1")]

    def _node(self, name: str) -> dict[str, Any]:
        raw = lvs_node(name) | ({"spec": {"directorGroups": ["default"]}} if name != "rs1" else {})
        if name in self.asked and name in self.answering:
            zeroed = {"request": self.asked[name], "time": "2026-01-01T00:00:00Z", "services": 3}
            raw["status"] = {"countersZeroed": zeroed}
        return raw

    def annotate(self, kind: Any, name: str, annotation: str, value: str) -> None:
        assert (kind, annotation) == (NODE, ANNOTATION_ZERO)
        self.asked[name] = value


def zero(monkeypatch: pytest.MonkeyPatch, cluster: Directors, *words: str) -> int:
    monkeypatch.setattr("lvs_cli.__main__.Cluster", lambda **_: cluster)
    monkeypatch.setattr("lvs_cli.zero.WAIT_SECONDS", 0.0)
    return main(["zero", *words])


def test_every_director_is_asked_and_its_answer_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Directors("director-1", "director-2")
    assert zero(monkeypatch, cluster, "--all") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{name}: counters begin at 0 of 3 virtual services" for name in ("director-1", "director-2")
    ]
    first = dict(cluster.asked)
    assert set(first) == {"director-1", "director-2"}
    assert all(re.fullmatch("[0-9a-f]{16}", token) for token in first.values())
    assert zero(monkeypatch, cluster, "--all", "--director", "director-2") == 0
    assert cluster.asked["director-1"] == first["director-1"]
    assert cluster.asked["director-2"] != first["director-2"], "each request is a new one"


def test_one_service_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Directors("director-1", "director-2")
    assert zero(monkeypatch, cluster, "web", "-n", "shop") == 0
    assert re.fullmatch("[0-9a-f]{16}/shop/web", cluster.asked["director-1"])


def test_who_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert zero(monkeypatch, Directors("director-2"), "--all") == 1
    said = capsys.readouterr()
    assert said.out == "director-2: counters begin at 0 of 3 virtual services\n"
    assert said.err.startswith("error: director-1: its agent has not said that it did so")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent"], "there is no LvsVirtualService absent in namespace default"),
        (["--all", "--director", "rs1"], "there is no director rs1; there are director-1, director-2"),
    ],
)
def test_a_wrong_name_asks_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    cluster = Directors()
    assert zero(monkeypatch, cluster, *words) == 1
    assert (capsys.readouterr().err, cluster.asked) == (f"error: {said}\n", {})


@pytest.mark.parametrize("words", [[], ["web", "--all"]])
def test_either_a_service_or_all(words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["zero", *words])
