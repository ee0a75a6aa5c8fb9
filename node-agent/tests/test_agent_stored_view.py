"""Rounds by the last view on disk, before the API server had its say: it may be older than what was done last."""

from dataclasses import replace
from pathlib import Path

import pytest
from agent_world import SERVICE, VIP, World, checked, destination, director, member, real_server, service

from lvs_agent.decide.health_verdict import Verdict
from lvs_agent.decide.stored_plan import provisional
from lvs_api.bind_device import BindDevice
from lvs_api.network_types import ForwardingMethod, Scheduler
from lvs_core.plan import FormerMethod, Holding, NodePlan, PlannedPersistence


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "state")


NOW = director(service(checked(100, weight=2), checked(101, weight=2)))
"""What was served last."""
OLDER = {
    "other weights": director(service(checked(100), checked(101))),
    "no weight": director(service(checked(100, weight=0), checked(101))),
    "one less": director(service(checked(101, weight=2))),
    "one more": director(service(checked(100, weight=2), checked(101, weight=2), member(102))),
    "one leaves": director(service(checked(100, weight=2, draining_seconds=0), checked(101, weight=2))),
    "one unprepared": director(service(checked(100, weight=2, prepared=False), checked(101, weight=2))),
    "one refused": director(service(checked(100, refused="NotPermitted"), checked(101, weight=2))),
    "another method": director(
        service(checked(100, weight=2, method=ForwardingMethod.MASQUERADE), checked(101, weight=2))
    ),
    "other settings": director(
        service(
            checked(100, weight=2),
            checked(101, weight=2),
            scheduler=Scheduler.WLC,
            persistence=PlannedPersistence(timeout_seconds=300, prefix_length=32),
        )
    ),
    "another director active": replace(NOW, directing=(replace(NOW.directing[0], holding=Holding.RELEASE),)),
    "no service": director(),
    "no group": NodePlan(node="node", observed_generation=1),
    "a real server": real_server(VIP),
}


def tables(world: World) -> tuple[int, int]:
    """Writes to IPVS and addresses; a sysctl that an older view needs may be set."""
    return world.writes()[:2]


async def served(world: World, plan: NodePlan = NOW) -> None:
    """The plan is carried out, and every check passes."""
    await world.do(plan)
    for number in (100, 101):
        world.health.find(number, Verdict.UP)
    await world.later(1)
    assert world.weights() == {"100": 2, "101": 2}
    assert world.bound() == {f"{VIP}@eth0"}


@pytest.mark.parametrize("lost", [False, True], ids=["ledger", "no ledger"])
@pytest.mark.parametrize("older", OLDER.values(), ids=OLDER)
async def test_an_older_view_changes_nothing_that_is_there(world: World, older: NodePlan, *, lost: bool) -> None:
    await served(world)
    if lost:
        (world.directory / "ledger").write_text("damaged")
    world.restart()
    writes, told = tables(world), len(world.statuses)
    await world.do(provisional(older), rounds=2)
    await world.later(1)
    assert tables(world) == writes
    assert len(world.statuses) == told, "nothing is said of what is not carried out"
    await world.do(NOW, rounds=2)
    assert tables(world) == writes
    assert world.weights() == {"100": 2, "101": 2}
    assert len(world.statuses) > told


async def test_when_nobody_has_another_view_it_is_carried_out(world: World) -> None:
    await served(world)
    world.restart()
    await world.do(provisional(OLDER["other weights"]))
    await world.do(OLDER["other weights"])
    assert world.weights() == {"100": 1, "101": 1}


async def test_a_check_that_fails_takes_the_weight_by_an_older_view_too(world: World) -> None:
    await served(world)
    world.restart()
    await world.do(provisional(OLDER["other weights"]))
    world.health.find(100, Verdict.DOWN)
    await world.later(1)
    assert world.weights() == {"100": 0, "101": 2}
    world.health.find(100, Verdict.UP)
    await world.later(1)
    assert world.weights() == {"100": 0, "101": 2}, "which weight it is to have is not known"
    await world.do(NOW)
    assert world.weights() == {"100": 2, "101": 2}


async def test_after_a_boot_the_services_are_made_and_no_vip_is_taken(world: World) -> None:
    await world.do(provisional(director(service(member(100), member(101)))))
    assert world.weights() == {"100": 1, "101": 1}
    assert world.bound() == set()


async def test_drains_go_on_by_an_older_view(world: World) -> None:
    await served(world)
    world.ipvs.set_connections(SERVICE, destination(100), active=1)
    leaving = director(service(checked(100, weight=2, draining_seconds=60), checked(101, weight=2)))
    await world.do(leaving)
    await world.later(30)
    world.restart()
    await world.do(provisional(NOW))
    assert world.weights() == {"100": 0, "101": 2}
    await world.later(5)
    await world.do(leaving)
    await world.later(24)
    assert world.status.drained == []
    await world.later(1)
    assert [one.members for one in world.status.drained or ()] == [["rs100"]]


async def test_a_host_route_for_older_connections_stays(world: World) -> None:
    former = FormerMethod(method=ForwardingMethod.DIRECT_ROUTING, timeout_seconds=60)
    edited = member(100, method=ForwardingMethod.MASQUERADE, former=former)
    await world.do(director(service(member(100))))
    world.ipvs.set_connections(SERVICE, destination(100), active=1)
    await world.do(director(service(edited)))
    routes = set(world.host_routes.routes)
    assert routes
    world.restart()
    await world.do(provisional(director(service(member(100)))), rounds=2)
    assert set(world.host_routes.routes) == routes


@pytest.mark.parametrize("device", [BindDevice.LO, BindDevice.TUNL0])
async def test_a_real_server_keeps_what_it_carries(world: World, device: BindDevice) -> None:
    await world.do(real_server(VIP, device=device))
    assert world.bound() == {f"{VIP}@{device.value}"}
    world.restart()
    writes = world.writes()
    for older in (NodePlan(node="node", observed_generation=1), real_server()):
        await world.do(provisional(older), rounds=2)
    assert world.writes() == writes, "nor are its sysctls given back"
    await world.do(provisional(real_server("192.168.4.16")))
    assert world.bound() == {f"{VIP}@{device.value}", "192.168.4.16@lo"}
    await world.do(real_server("192.168.4.16"))
    assert world.bound() == {"192.168.4.16@lo"}
