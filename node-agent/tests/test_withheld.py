"""What is withheld, as the report and the token have it."""

from pathlib import Path

import pytest
from agent_world import NAME, World, director, member, service

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.withheld import (
    NOTHING_WITHHELD,
    Withheld,
    cluster_changed,
    missing_in,
    node_missing,
    token_of,
    with_missing,
    with_unreadable,
)
from lvs_api.conditions import Condition, ConditionType, Reason, find_condition
from lvs_api.testing import VIP, lvs_node
from lvs_api.violations import InvalidObject, Violation
from lvs_core.cluster_view import LvsNode
from lvs_core.plan import Holding
from lvs_core.view_objects import lvs_node_from_raw

HELD = Withheld(
    removal=Fault(reason=Reason.CRD_MISSING, message="default/web: gone with its CRD"), token="token", count=2
)  # fmt: skip


def condition(world: World, kind: ConditionType) -> Condition | None:
    return find_condition(world.status.conditions, kind)


async def test_what_is_held_is_said_as_long_as_it_is(tmp_path: Path) -> None:
    world = World(tmp_path)
    plan = director(service(member(100)), held=((NAME, "its slice is gone"),))
    world.source.withheld = HELD
    await world.do(plan)
    said = condition(world, ConditionType.REMOVAL_HELD)
    assert said is not None
    assert (said.status, said.reason, said.message) == ("True", "CRDMissing", "default/web: gone with its CRD")
    assert world.status.release_token == "token"
    assert (world.exception().reason, world.exception().programmed) == ("RemovalHeld", False)
    assert world.exception().message == "its slice is gone"
    ready = condition(world, ConditionType.READY)
    assert ready is not None
    assert ready.status == "True"
    world.source.withheld = NOTHING_WITHHELD
    await world.do(director(service(member(100))))
    assert condition(world, ConditionType.REMOVAL_HELD) is None
    assert (world.status.release_token, world.status.exceptions) == (None, [])


async def test_of_another_cluster_nothing_has_been_carried_out(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.source.withheld = cluster_changed("one", "another")
    await world.do(director(service(member(100))))
    said, ready = condition(world, ConditionType.CLUSTER_CHANGED), condition(world, ConditionType.READY)
    assert said is not None
    assert "cluster is another" in said.message
    assert ready is not None
    assert (ready.status, ready.reason, ready.observed_generation) == ("False", "ClusterChanged", None)
    assert world.status.observed_generation is None
    assert world.weights() == {"100": 1}, "what was planned goes on"


async def test_an_object_that_can_not_be_read_is_said(tmp_path: Path) -> None:
    world = World(tmp_path)
    error = InvalidObject(
        kind="LvsServiceSlice", name="default/web-0", violations=[Violation(field="spec.x", message="unknown")]
    )
    world.source.withheld = with_unreadable(NOTHING_WITHHELD, error)
    await world.do(director(service(member(100))))
    ready = condition(world, ConditionType.READY)
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "ObjectUnreadable")
    assert "LvsServiceSlice default/web-0" in ready.message
    assert "spec.x" in ready.message
    world.source.withheld = NOTHING_WITHHELD
    await world.later(1)
    ready = condition(world, ConditionType.READY)
    assert ready is not None
    assert ready.status == "True"


@pytest.mark.parametrize(("holding", "told"), [(Holding.HOLD, [True]), (Holding.RELEASE, [])])
async def test_to_another_cluster_only_a_holder_speaks_of_its_group(
    tmp_path: Path, holding: Holding, told: list[bool]
) -> None:
    world = World(tmp_path)
    plan = director(service(member(100)), holding=holding)
    await world.do(plan)
    assert [one.holds_addresses for one in world.status.director_groups or ()] == [holding is Holding.HOLD]
    world.source.withheld = cluster_changed("one", "another")
    await world.do(plan)
    assert [one.holds_addresses for one in world.status.director_groups or ()] == told


def a_node(uid: str, *addresses: str, groups: list[str] | None = None) -> LvsNode:
    raw = lvs_node(addresses=[{"address": one, "device": "lo"} for one in addresses] or None, directorGroups=groups)
    raw["metadata"]["uid"] = uid
    return lvs_node_from_raw(raw)


@pytest.mark.parametrize(
    ("before", "live", "missing"),
    [
        (None, a_node("1", VIP), []),
        (a_node("1", VIP), a_node("1"), []),
        (a_node("1", VIP), a_node("2", VIP, "192.168.4.16"), []),
        (a_node("1", VIP), a_node("2", "192.168.4.16"), [f"address {VIP} on lo"]),
        (a_node("1", groups=["a", "b"]), a_node("2", groups=["b"]), ["director group a"]),
    ],
)
def test_what_a_lvs_node_made_anew_leaves_out(before: LvsNode | None, live: LvsNode, missing: list[str]) -> None:
    assert sorted(missing_in(before, live)) == missing
    told = with_missing(before, live)
    assert told.meta == live.meta
    assert missing_in(before, told) == frozenset()
    if not missing:
        assert told == live


def test_a_port_for_gue_that_is_missing_stays_open() -> None:
    def told(uid: str, *ports: int) -> LvsNode:
        raw = lvs_node(addresses=[{"address": VIP, "device": "tunl0", "guePorts": list(ports)}])
        raw["metadata"]["uid"] = uid
        return lvs_node_from_raw(raw)

    before, live = told("1", 6080, 6081), told("2", 6081)
    assert missing_in(before, live) == {f"UDP port 6080 for {VIP} on tunl0"}
    (kept,) = with_missing(before, live).spec.addresses or ()
    assert kept.gue_ports == [6080, 6081]
    assert missing_in(live, before) == frozenset()


def test_a_missing_lvs_node_that_asked_for_nothing_is_no_loss() -> None:
    assert node_missing(None) == node_missing(a_node("1")) == NOTHING_WITHHELD
    assert node_missing(a_node("1", VIP, groups=["a"])).count == 2


def test_tokens_name_sets() -> None:
    assert token_of([]) is None
    assert token_of(["a", "b"]) == token_of(["b", "a"])
    assert token_of(["a", "b"]) != token_of(["a"])
    assert cluster_changed("a", "b").token != cluster_changed("b", "c").token
