"""Rounds of a director that is told to let another carry the addresses."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from agent_world import GROUP
from vrrp_world import BACKUP, FAULT, MASTER, VrrpWorld, vrrp_plan

from lvs_agent.decide.giving_way import LET_GO_SECONDS, follow_giving_way, let_go
from lvs_core.plan import NodePlan

HOLD_SECONDS = LET_GO_SECONDS + 2 * 0.1
"""With an advert each 100 ms."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[VrrpWorld]:
    made = VrrpWorld(tmp_path)
    yield made
    made.lose_supervisor()


def giving(plan: NodePlan) -> NodePlan:
    (group,) = plan.directing
    return replace(plan, directing=(replace(group, gives_way=True),))


async def test_it_lets_go_for_a_moment_once_each_time_it_is_told(world: VrrpWorld) -> None:
    await world.do(vrrp_plan())
    world.say(MASTER)
    await world.later(1)
    await world.do(giving(vrrp_plan()))
    assert world.may_carry is False
    world.say(FAULT)
    await world.later(1)
    assert (world.may_carry, world.holds) == (False, False)
    assert world.router.message == "it gives way to another director, as it was told"
    await world.later(HOLD_SECONDS)
    assert world.may_carry is True
    world.say(MASTER)  # nobody took over
    await world.later(60)
    assert (world.may_carry, world.holds) == (True, True)
    await world.do(vrrp_plan())
    await world.do(giving(vrrp_plan()))
    assert world.may_carry is False


async def test_it_may_carry_again_as_soon_as_another_does(world: VrrpWorld) -> None:
    await world.do(vrrp_plan())
    world.say(MASTER)
    await world.do(giving(vrrp_plan()))
    world.say(FAULT)
    await world.do(vrrp_plan())
    assert world.may_carry is True
    world.say(BACKUP)
    await world.later(1)
    assert world.router.state is BACKUP


async def test_an_agent_that_was_killed_meanwhile_leaves_nothing_behind(world: VrrpWorld) -> None:
    await world.do(giving(vrrp_plan()))
    assert world.may_carry is False
    world.restart()
    await world.do(vrrp_plan())
    assert world.may_carry is True


@pytest.mark.parametrize(("interval", "seconds"), [(10, 3.02), (1000, 5.0), (40950, 84.9)])
def test_who_is_ready_has_time_for_its_skew(interval: int, seconds: float) -> None:
    plan = giving(vrrp_plan(advert_interval_milliseconds=interval))
    since = follow_giving_way({}, plan.directing, 7.0)
    assert follow_giving_way(since, plan.directing, 9.0) == since
    assert let_go(since, plan.directing, 7.0 + seconds - 0.01) == {GROUP}
    assert let_go(since, plan.directing, 7.0 + seconds + 0.01) == frozenset()
    assert follow_giving_way(since, vrrp_plan().directing, 9.0) == {}
