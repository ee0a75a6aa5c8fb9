"""Counters that begin at 0 because a person asked for it: once, only ours, and said in the status."""

from dataclasses import replace
from pathlib import Path

import pytest
from agent_world import NO_PART, SERVICE, World, destination, director, member, service, service_on

from lvs_agent.decide.kernel_state import AnyServiceKey, ServiceSettings, ServiceState, TrafficCounters
from lvs_agent.decide.zeroing import read_request
from lvs_api.lvs_node import CountersZeroed
from lvs_core.cluster_view import ObjectKey
from lvs_core.plan import VirtualServerKey

COUNTED = TrafficCounters(*range(1, 11))
ZEROED = TrafficCounters()
FOREIGN = service_on(8080)


def shop() -> VirtualServerKey:
    return replace(service().key, port=443)


async def counting(tmp_path: Path) -> World:
    """default/web on port 80, shop/shop on 443 and a stranger's service on 8080, all with traffic."""
    world = World(tmp_path)
    other = service(member(101, port=443), key=shop(), service=ObjectKey("shop", "shop"))
    world.ipvs.services[FOREIGN] = ServiceState(settings=ServiceSettings(scheduler="rr"))
    await world.do(director(service(member(100)), other))
    count(world)
    return world


def count(world: World) -> None:
    for key, state in world.ipvs.services.items():
        destinations = {one: found._replace(counters=COUNTED) for one, found in state.destinations.items()}
        world.ipvs.services[key] = replace(state, counters=COUNTED, destinations=destinations)


def counters(world: World, key: AnyServiceKey) -> TrafficCounters:
    return world.ipvs.services[key].counters


def answer(world: World) -> CountersZeroed:
    assert world.status.counters_zeroed is not None
    return world.status.counters_zeroed


async def test_everything_of_ours_begins_at_0_once_for_each_request(tmp_path: Path) -> None:
    world = await counting(tmp_path)
    assert world.status.counters_zeroed is None
    world.source.zero = "first"
    await world.later(1)
    assert counters(world, SERVICE) == counters(world, service_on(443)) == ZEROED
    assert world.ipvs.services[SERVICE].destinations[destination(100)].counters == ZEROED
    assert counters(world, FOREIGN) == COUNTED
    assert (answer(world).request, answer(world).services) == ("first", 2)
    count(world)
    await world.later(1)
    assert counters(world, SERVICE) == COUNTED
    world.source.zero = "second"
    await world.later(1)
    assert (counters(world, SERVICE), answer(world).request) == (ZEROED, "second")


async def test_of_one_service_alone(tmp_path: Path) -> None:
    world = await counting(tmp_path)
    world.source.zero = "token/shop/shop"
    await world.later(1)
    assert (counters(world, SERVICE), counters(world, service_on(443))) == (COUNTED, ZEROED)
    assert answer(world).services == 1
    world.source.zero = "token/default/absent"
    await world.later(1)
    assert (answer(world).request, answer(world).services) == ("token/default/absent", 0)


async def test_a_restarted_agent_knows_what_it_has_done(tmp_path: Path) -> None:
    world = await counting(tmp_path)
    world.source.zero = "first"
    await world.later(1)
    count(world)
    world.source.status = world.status
    world.restart()
    await world.later(1)
    assert (counters(world, SERVICE), answer(world).request) == (COUNTED, "first")


async def test_a_request_waits_until_the_table_can_be_read(tmp_path: Path) -> None:
    world = await counting(tmp_path)
    world.ipvs.available = False
    world.source.zero = "first"
    await world.later(1)
    assert world.status.counters_zeroed is None
    world.ipvs.available = True
    await world.later(1)
    assert (counters(world, SERVICE), answer(world).services) == (ZEROED, 2)


async def test_a_node_that_directs_nothing_answers_that_it_zeroed_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.source.zero = "first"
    await world.do(NO_PART)
    assert answer(world).services == 0


@pytest.mark.parametrize("said", [None, "", "token/web", "token/default/web/http", "token//web", "x" * 513])
def test_what_is_no_request_is_none(said: str | None) -> None:
    assert read_request(said) is None
