"""When a director with VRRP is ready, so that an update goes on to the next."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_world import director, member, service
from vrrp_world import BACKUP, FAULT, ROUTER, VrrpWorld, vrrp_plan

from lvs_agent.decide.kernel_state import KernelLinks
from lvs_agent.decide.stored_plan import provisional
from lvs_agent.errors import LinkError


@pytest.fixture
def world(tmp_path: Path) -> Iterator[VrrpWorld]:
    made = VrrpWorld(tmp_path)
    yield made
    made.lose_supervisor()


async def test_an_update_waits_until_the_daemon_has_spoken_of_every_virtual_router(world: VrrpWorld) -> None:
    assert world.agent.not_ready() == "no round by a complete view yet"
    await world.do(provisional(vrrp_plan()))
    assert "the API server has not told all yet" in (world.agent.not_ready() or "")
    await world.do(vrrp_plan())
    unheard = f"the VRRP daemon has said nothing of {ROUTER} yet"
    assert world.agent.not_ready() == unheard
    world.say(None)
    await world.later(1)
    assert world.agent.not_ready() == unheard
    world.say(FAULT)
    await world.later(1)
    assert world.agent.not_ready() is None, "what is in its way is said elsewhere"


async def test_what_comes_after_it_was_ready_lets_no_update_end_all_directors_at_once(world: VrrpWorld) -> None:
    await world.do(vrrp_plan())
    world.say(BACKUP)
    await world.later(1)
    assert world.agent.not_ready() is None
    world.lose_supervisor()
    await world.later(1)
    assert world.agent.not_ready() is None
    world.restart()
    await world.do(vrrp_plan())
    assert world.agent.not_ready() == f"the VRRP daemon has said nothing of {ROUTER} yet"


async def test_an_update_waits_while_rounds_fail(world: VrrpWorld) -> None:
    await world.do(director(service(member(100))))
    read = world.links.read

    async def no_answer(*, fresh: bool = False) -> KernelLinks:
        raise LinkError(f"no answer (fresh={fresh})")

    world.links.read = no_answer  # type: ignore[method-assign]  # in place of the fake's own
    await world.later(1)
    assert world.agent.not_ready() == "the last round failed: no answer (fresh=False)"
    world.links.read = read  # type: ignore[method-assign]  # in place of the fake's own
    await world.later(1)
    assert world.agent.not_ready() is None
