"""Which agents are heard of, by their Leases."""

from typing import Any

import pytest

from lvs_core.cluster_view import AgentSigns
from lvs_operator.agent_leases import Sighting, observe, signs_of

Step = tuple[float, dict[str, int], bool]
"""Seconds, the Leases by node with their versions, and whether lists failed since the last step."""


def lease(node: str, version: int) -> dict[str, Any]:
    metadata = {"name": f"lvs-agent-{node}", "resourceVersion": f"{version}"}
    return {"metadata": metadata, "spec": {"leaseDurationSeconds": 40}}


def signs_after(*steps: Step) -> AgentSigns:
    known: dict[str, Sighting] | None = None
    for now, versions, interrupted in steps:
        known = observe(known, [lease(*one) for one in versions.items()], now, interrupted=interrupted)
    assert known is not None
    return signs_of(known, steps[-1][0])


def signs(late: str = "", silent: str = "", unheard: str = "", heard: str = "") -> AgentSigns:
    return AgentSigns(
        late=frozenset(late.split()),
        silent=frozenset(silent.split()),
        unheard=frozenset(unheard.split()),
        heard=frozenset(heard.split()),
    )


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(0, {"a": 1}, False)], signs(unheard="a")),
        ([(0, {"a": 1}, False), (5, {"a": 2}, False)], signs(heard="a")),
        ([(0, {}, False), (5, {"a": 1}, False)], signs(heard="a")),
        ([(0, {"a": 1}, False), (5, {"a": 2}, False), (26, {"a": 2}, False)], signs(late="a")),
        ([(0, {"a": 1}, False), (5, {"a": 2}, False), (45, {"a": 2}, False)], signs(late="a")),
        ([(0, {"a": 1}, False), (5, {"a": 2}, False), (46, {"a": 2}, False)], signs(late="a", silent="a")),
        ([(0, {"a": 1}, False), (41, {"a": 1}, False)], signs(late="a", silent="a", unheard="a")),
        ([(0, {"a": 1}, False), (41, {"a": 1}, False), (46, {"a": 2}, False)], signs(heard="a")),
        (
            [(0, {"a": 1, "b": 1}, False), (41, {"a": 1, "b": 2}, False)],
            signs(late="a", silent="a", unheard="a", heard="b"),
        ),
        ([(0, {"a": 1}, False), (5, {"a": 2}, False), (50, {}, False)], signs(late="a", silent="a")),
        ([(0, {"a": 9}, False), (41, {"a": 3}, False)], signs(late="a", silent="a", unheard="a")),
        ([(0, {"a": 9}, False), (41, {"a": 3}, False), (46, {"a": 4}, False)], signs(heard="a")),
    ],
    ids=[
        "first seen",
        "renewed",
        "came",
        "late",
        "just in time",
        "ran out",
        "ran out unheard",
        "heard again",
        "another's renewal does not count",
        "vanished",
        "restored to an older state",
        "restored and renewed",
    ],
)
def test_signs(steps: list[Step], expected: AgentSigns) -> None:
    assert signs_after(*steps) == expected


def test_time_without_lists_does_not_count() -> None:
    """The API server was away: agents could not renew either. One that was silent before stays so."""
    before: list[Step] = [(0, {"a": 1, "b": 1}, False), (41, {"a": 2, "b": 1}, False)]
    assert signs_after(*before, (600, {"a": 2, "b": 1}, True)) == signs(late="b", silent="b", unheard="b", heard="a")
    assert "a" in signs_after(*before, (600, {"a": 2, "b": 1}, True), (641, {"a": 2, "b": 1}, False)).silent


def test_other_leases_and_those_without_an_end_say_nothing() -> None:
    leader = {"metadata": {"name": "lvs-operator", "resourceVersion": "1"}, "spec": {"leaseDurationSeconds": 15}}
    endless = {"metadata": {"name": "lvs-agent-a", "resourceVersion": "1"}, "spec": {}}
    assert observe(None, [leader, endless], 0, interrupted=False) == {}
