"""Who leaves, and what an edit leaves behind: drains and former methods and ports, on the fake kernel."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from agent_world import SERVICE, VIP, World, check_target, checked, destination, director, member, service

from lvs_agent.decide.health_verdict import Verdict
from lvs_agent.decide.kernel_state import ForwardingMethod as KernelMethod
from lvs_agent.decide.kernel_state import ServiceKey, TransportProtocol
from lvs_agent.decide.kernel_sysctls import conf_key
from lvs_api.network_types import ForwardingMethod, Protocol
from lvs_core.plan import FormerMethod, PlannedMember, VirtualServerKey


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_leaving_member_drains_until_it_is_idle(world: World) -> None:
    await world.do(director(service(member(100), member(101))))
    world.ipvs.set_connections(SERVICE, destination(100), active=1)
    leaving = director(service(member(100, draining_seconds=60), member(101)))
    await world.do(leaving)
    assert world.weights() == {"100": 0, "101": 1}
    assert world.status.drained == []
    assert world.exception().draining == 1
    world.ipvs.set_connections(SERVICE, destination(100), active=0)
    await world.later(1)
    (drained,) = world.status.drained or ()
    assert (drained.name, drained.members) == ("web", ["rs100"])
    assert "100" in world.weights()
    await world.do(director(service(member(101))))
    assert world.weights() == {"101": 1}
    assert (world.status.drained, world.status.exceptions) == ([], [])


async def test_a_drain_ends_with_its_time_also_over_a_restart(world: World) -> None:
    await world.do(director(service(member(100), member(101))))
    world.ipvs.set_connections(SERVICE, destination(100), active=1)
    leaving = director(service(member(100, draining_seconds=60), member(101)))
    await world.do(leaving)
    await world.later(30)
    world.restart()
    await world.do(leaving)
    assert world.status.drained == []
    await world.later(29)
    assert world.status.drained == []
    await world.later(1)
    assert [d.members for d in world.status.drained or ()] == [["rs100"]]


async def test_a_member_that_vanished_is_drained_by_the_director(world: World) -> None:
    await world.do(director(service(member(100), member(101))))
    world.ipvs.set_connections(SERVICE, destination(100), active=1)
    await world.do(director(service(member(101), drain_seconds=60)))
    assert world.weights() == {"100": 0, "101": 1}
    assert (world.exception().draining, world.exception().programmed) == (1, True)
    await world.later(60)
    assert world.weights() == {"101": 1}
    assert world.status.exceptions == []


async def test_a_vanished_idle_member_goes_in_one_round(world: World) -> None:
    await world.do(director(service(member(100), member(101))))
    await world.do(director(service(member(101))))
    assert world.weights() == {"101": 1}
    assert world.status.exceptions == []


async def test_over_udp_who_has_had_its_time_goes_before_anybody_else_has_said_so(world: World) -> None:
    """Its clients would stay with it; slices have it until every director has named it, and one may not be heard."""
    planned = VirtualServerKey(address=ip_address(VIP), port=80, protocol=Protocol.UDP)
    key = ServiceKey(protocol=TransportProtocol.UDP, address=ip_address(VIP), port=80)
    await world.do(director(service(member(100), member(101), key=planned)))
    world.ipvs.set_connections(key, destination(100), active=0, inactive=1)
    await world.do(director(service(member(100, draining_seconds=60), member(101), key=planned)))
    assert world.weights(key) == {"100": 0, "101": 1}
    assert world.status.drained == []
    for seconds in (60, 1):
        await world.later(seconds)
        assert world.weights(key) == {"101": 1}
        assert [d.members for d in world.status.drained or ()] == [["rs100"]]
    await world.do(director(service(member(100), member(101), key=planned)))
    assert world.weights(key) == {"100": 1, "101": 1}
    await world.do(director(service(member(100, draining_seconds=0), member(101), key=planned)))
    assert world.weights(key) == {"101": 1}


async def test_a_leaving_member_is_not_brought_in_first(world: World) -> None:
    await world.do(director(service(member(100, draining_seconds=60), member(101))))
    assert world.weights() == {"101": 1}
    assert [d.members for d in world.status.drained or ()] == [["rs100"]]


async def test_answers_are_forwarded_until_connections_by_masquerade_have_ended(world: World) -> None:
    """They go on by the method that they began with, whatever their real server has now."""
    forwarding = conf_key("ipv4", "eth0", "forwarding")
    former = FormerMethod(method=ForwardingMethod.MASQUERADE, timeout_seconds=60)
    await world.do(director(service(member(100, method=ForwardingMethod.MASQUERADE))))
    for method in (ForwardingMethod.DIRECT_ROUTING, ForwardingMethod.TUNNEL):
        await world.do(director(service(member(100, method=method, former=former))))
        assert world.sysctls.values[forwarding] == 1
    await world.do(director(service(member(100))))
    assert world.sysctls.values[forwarding] == 0


async def test_an_edited_method_is_reported_when_the_old_connections_are_gone(world: World) -> None:
    await world.do(director(service(member(100))))
    world.ipvs.set_connections(SERVICE, destination(100), active=1)
    former = FormerMethod(method=ForwardingMethod.DIRECT_ROUTING, timeout_seconds=60)
    edited = director(service(member(100, method=ForwardingMethod.MASQUERADE, former=former)))
    await world.do(edited)
    assert world.ipvs.services[SERVICE].destinations[destination(100)].settings.method is KernelMethod.MASQUERADE
    assert world.weights() == {"100": 1}
    assert (world.status.drained, world.status.exceptions) == ([], [])
    world.ipvs.set_connections(SERVICE, destination(100), active=0)
    await world.later(1)
    world.ipvs.set_connections(SERVICE, destination(100), active=3)
    await world.later(1)
    assert [d.members for d in world.status.drained or ()] == [["rs100"]]
    assert world.weights() == {"100": 1}


@pytest.mark.parametrize(
    ("leaving_seconds", "former_seconds"),
    [(3, 300), (3, 3), (300, 3), (0, 300)],
    ids=["shorter", "equal", "longer", "none"],
)
@pytest.mark.parametrize("method", [ForwardingMethod.MASQUERADE, ForwardingMethod.TUNNEL])
async def test_a_member_that_leaves_after_an_edit_of_its_method_has_the_time_of_leaving(
    world: World, method: ForwardingMethod, leaving_seconds: int, former_seconds: int
) -> None:
    await world.do(director(service(member(100), member(101))))
    world.ipvs.set_connections(SERVICE, destination(100), active=1)
    former = FormerMethod(method=ForwardingMethod.DIRECT_ROUTING, timeout_seconds=former_seconds)
    edited = member(100, method=method, former=former)
    await world.do(director(service(edited, member(101))))
    await world.later(2)
    assert world.status.drained == []
    await world.do(director(service(replace(edited, draining_seconds=leaving_seconds), member(101))))
    assert world.weights() == {"100": 0, "101": 1}
    if leaving_seconds:
        await world.later(leaving_seconds - 0.5)
        assert world.status.drained == []
        assert (world.exception().draining, world.exception().programmed) == (1, True)
        await world.later(0.5)
    assert [d.members for d in world.status.drained or ()] == [["rs100"]]


async def test_a_drain_of_a_former_method_that_was_over_says_nothing_of_leaving(world: World) -> None:
    await world.do(director(service(member(100), member(101))))
    former = FormerMethod(method=ForwardingMethod.DIRECT_ROUTING, timeout_seconds=60)
    edited = member(100, method=ForwardingMethod.MASQUERADE, former=former)
    await world.do(director(service(edited, member(101))), rounds=2)
    assert [d.members for d in world.status.drained or ()] == [["rs100"]]
    world.ipvs.set_connections(SERVICE, destination(100), active=1)
    await world.do(director(service(replace(edited, draining_seconds=60), member(101))))
    assert world.status.drained == []
    world.ipvs.set_connections(SERVICE, destination(100), active=0)
    await world.later(1)
    assert [d.members for d in world.status.drained or ()] == [["rs100"]]


@pytest.mark.parametrize("was_told", [False, True], ids=["never told", "told no longer"])
async def test_connections_of_a_method_that_the_slices_do_not_tell_are_named_until_they_have_ended(
    world: World, was_told: bool
) -> None:
    """Nobody waits for a director that is out of reach; when it is back, its real servers' nodes have to."""
    await world.do(director(service(member(100, node="n1"))))
    world.health.answer(100, VIP, heard=world.now + 1)
    await world.later(1)
    world.ipvs.set_connections(SERVICE, destination(100), active=1)
    edited = member(100, node="n1", method=ForwardingMethod.MASQUERADE)
    if was_told:
        former = FormerMethod(method=ForwardingMethod.DIRECT_ROUTING, timeout_seconds=300)
        await world.do(director(service(replace(edited, former=former))))
        assert world.status.exceptions == []
    await world.do(director(service(edited)), rounds=2)
    assert world.ipvs.services[SERVICE].destinations[destination(100)].settings.method is KernelMethod.MASQUERADE
    assert world.weights() == {"100": 1}
    assert (world.exception().draining, world.exception().programmed) == (1, True)
    assert world.exception().message == "1 former real servers, or ways to them, still drain"
    world.restart()
    await world.do(director(service(edited)))
    assert world.exception().draining == 1
    world.ipvs.set_connections(SERVICE, destination(100), active=0)
    await world.later(1)
    world.ipvs.set_connections(SERVICE, destination(100), active=2)
    await world.later(1)
    assert world.status.exceptions == []


async def test_a_plain_machine_gives_nothing_up_by_an_edit_of_its_method(world: World) -> None:
    await world.do(director(service(member(100))))
    world.ipvs.set_connections(SERVICE, destination(100), active=1)
    await world.do(director(service(member(100, method=ForwardingMethod.TUNNEL))), rounds=2)
    assert world.status.exceptions == []


async def test_more_drained_members_than_a_status_can_name_are_named_in_turn(world: World) -> None:
    leaving = [
        replace(member(1), name=f"rs{n:03}", address=ip_address(f"10.9.{n // 200}.{n % 200}"), draining_seconds=60)
        for n in range(300)
    ]
    await world.do(director(service(*leaving, member(100))))
    (first,) = world.status.drained or ()
    assert len(first.members) == 256
    await world.do(director(service(*(one for one in leaving if one.name not in first.members), member(100))))
    (rest,) = world.status.drained or ()
    assert len(rest.members) == 44


def on_port(number: int, port: int) -> PlannedMember:
    """A checked real server that takes connections on a port of its own."""
    check = replace(check_target(number), port=port)
    return member(number, port=port, method=ForwardingMethod.MASQUERADE, check=check)


def by_port(world: World) -> dict[str, int]:
    destinations = world.ipvs.services[SERVICE].destinations
    return {f"{str(key.address).rsplit('.', 1)[1]}:{key.port}": s.settings.weight for key, s in destinations.items()}


async def edit_of_the_port(world: World, **changes: object) -> None:
    """Two real servers that are up are to be reached by another port."""
    await world.do(director(service(on_port(100, 8080), on_port(101, 8080), **changes)))
    for number in (100, 101):
        world.health.find(number, Verdict.UP)
    await world.later(1)
    assert by_port(world) == {"100:8080": 1, "101:8080": 1}
    await world.do(director(service(on_port(100, 9090), on_port(101, 9090), **changes)), rounds=3)
    assert by_port(world) == {"100:8080": 1, "101:8080": 1, "100:9090": 0, "101:9090": 0}


@pytest.mark.parametrize("drain_seconds", [0, 300])
async def test_after_an_edit_of_the_port_the_old_entries_serve_until_a_new_one_is_up(
    world: World, drain_seconds: int
) -> None:
    await edit_of_the_port(world, drain_seconds=drain_seconds)
    assert world.exception().draining == 2, "their addresses must stay where they are"
    world.health.find(101, Verdict.UP)
    await world.later(1)
    assert by_port(world) == {"100:9090": 0, "101:9090": 1}


@pytest.mark.parametrize("drain_seconds", [0, 300])
async def test_old_entries_do_not_serve_for_ever(world: World, drain_seconds: int) -> None:
    """No check of the new ones tells anything: with 2 s, rise 2 and fall 3 they have had 9 s."""
    await edit_of_the_port(world, drain_seconds=drain_seconds)
    await world.later(8.9)
    assert by_port(world)["100:8080"] == 1
    await world.later(0.1)
    assert by_port(world) == {"100:9090": 0, "101:9090": 0}


async def test_who_left_while_the_agent_was_away_has_its_time_from_now_on(world: World) -> None:
    """The slices told of it and the agent ended before it took the weight: connections came all the time."""
    await edit_of_the_port(world)
    world.ipvs.set_connections(SERVICE, replace(destination(100), port=8080), active=3)
    world.restart()
    await world.later(1000)
    assert by_port(world) == {"100:8080": 0, "100:9090": 0, "101:9090": 0}
    await world.later(299)
    assert by_port(world)["100:8080"] == 0
    await world.later(1)
    assert by_port(world) == {"100:9090": 0, "101:9090": 0}


async def test_old_entries_do_not_serve_when_the_new_ones_are_down(world: World) -> None:
    await edit_of_the_port(world)
    for number in (100, 101):
        world.health.find(number, Verdict.DOWN)
    await world.later(1)
    assert by_port(world) == {"100:9090": 0, "101:9090": 0}


async def test_a_refused_real_server_does_not_serve_in_place_of_a_new_one(world: World) -> None:
    await world.do(director(service(checked(100))))
    world.health.find(100, Verdict.UP)
    await world.later(1)
    await world.do(director(service(checked(100, refused="NotPermitted"), checked(101))))
    assert world.weights() == {"101": 0}
