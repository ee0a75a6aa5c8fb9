"""What `kubectl lvs failover` asks for, and how the operator's answer is told."""

import re
from typing import Any

import pytest

from lvs_api.api_group import ANNOTATION_HAND_OVER
from lvs_api.kinds import DIRECTOR_GROUP
from lvs_api.objects import parse_object
from lvs_api.testing import director_group
from lvs_cli.__main__ import main
from lvs_cli.cluster import Cluster


class Groups(Cluster):
    """One group in memory; what is asked for is answered with this state, at once or never."""

    def __init__(self, state: str | None, message: str = "d2 carries the addresses instead of d1") -> None:
        self.namespace = "default"
        self.state = state
        self.message = message
        self.asked: list[str | None] = []
        self.answered: str | None = None
        """The request that is answered; None: the first."""

    def list(self, kind: Any, *, namespace: str | None = None) -> Any:
        assert (kind, namespace) == (DIRECTOR_GROUP, None)
        raw: dict[str, Any] = director_group("edge")
        raw["status"] = {"directors": [{"node": "d1"}, {"node": "d2"}]}
        if self.asked and self.state is not None:
            raw["status"]["handOver"] = {
                "request": self.answered or self.asked[0],
                "state": self.state,
                "time": "2026-01-01T00:00:00Z",
                "message": self.message,
            }
        return [parse_object(DIRECTOR_GROUP, raw)]

    def annotate(self, kind: Any, name: str, annotation: str, value: str | None) -> None:
        assert (kind, name, annotation) == (DIRECTOR_GROUP, "edge", ANNOTATION_HAND_OVER)
        self.asked.append(value)


def failover(monkeypatch: pytest.MonkeyPatch, cluster: Groups, *words: str) -> int:
    monkeypatch.setattr("lvs_cli.__main__.Cluster", lambda **_: cluster)
    monkeypatch.setattr("lvs_cli.failover.WAIT_SECONDS", 0.0)
    return main(["failover", *words])


@pytest.mark.parametrize(("words", "asked"), [(["edge"], "[0-9a-f]{16}"), (["edge", "--to", "d2"], "[0-9a-f]{16}/d2")])
def test_the_request_is_written_and_taken_back_once_it_is_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], asked: str
) -> None:
    cluster = Groups("Done")
    assert failover(monkeypatch, cluster, *words) == 0
    assert capsys.readouterr().out == "edge: d2 carries the addresses instead of d1\n"
    first, second = cluster.asked
    assert re.fullmatch(asked, first or "")
    assert second is None


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("Refused", "error: edge: refused: nobody is ready\n"),
        ("Failed", "error: edge: failed: nobody is ready\n"),
        ("UnderWay", "error: edge: failed: nobody is ready\n"),
        (None, "error: edge: the operator has not said anything of it; does it run?\n"),
    ],
)
def test_what_did_not_happen_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: str | None, said: str
) -> None:
    cluster = Groups(state, "nobody is ready")
    assert failover(monkeypatch, cluster, "edge") == 1
    assert capsys.readouterr().err == said
    assert cluster.asked[-1] is None


def test_another_request_that_takes_its_place_is_named_and_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Groups("UnderWay", "d1 lets go of the addresses for d3")
    cluster.answered = "theirs/d3"
    assert failover(monkeypatch, cluster, "edge") == 1
    said = "somebody else asked for a hand-over meanwhile, which counts: UnderWay: d1 lets go of the addresses for d3"
    assert capsys.readouterr().err == f"error: edge: {said}\n"
    assert None not in cluster.asked


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["edge", "--to", "d3"], "d3 is no director of LvsDirectorGroup edge; its directors are d1, d2"),
        (["absent"], "there is no LvsDirectorGroup absent; there are edge"),
    ],
)
def test_a_wrong_name_asks_for_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    cluster = Groups("Done")
    assert failover(monkeypatch, cluster, *words) == 1
    assert (capsys.readouterr().err, cluster.asked) == (f"error: {said}\n", [])
