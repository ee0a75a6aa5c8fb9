"""Who gets weight: health, preparation, routes, edits and leaving, on the fake kernel."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from agent_world import NAME, SERVICE, VIP, World, check_target, checked, destination, director, member, service

from lvs_agent.decide.health_verdict import Verdict
from lvs_agent.decide.kernel_state import IPIP, Route, RouteKind, TunnelSettings
from lvs_agent.decide.kernel_state import TunnelType as KernelTunnel
from lvs_api.bind_device import BindDevice
from lvs_api.network_types import ForwardingMethod, Scheduler, TunnelType
from lvs_api.real_server_pool import OnFailure
from lvs_core.plan import PlannedTunnel


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_new_member_waits_for_its_check(world: World) -> None:
    await world.do(director(service(checked(100), checked(101))))
    assert world.weights() == {"100": 0, "101": 0}
    assert world.exception().reason == "NoMemberReady"
    assert (world.exception().programmed, world.exception().ready) == (True, 0)
    world.health.find(100, Verdict.UP)
    await world.later(1)
    assert world.weights() == {"100": 1, "101": 0}
    assert world.exception().reason == "MembersNotReady"
    world.health.find(101, Verdict.UP)
    await world.later(1)
    assert world.status.exceptions == []


@pytest.mark.parametrize(
    ("on_failure", "left"), [(OnFailure.ZERO_WEIGHT, {"100": 0, "101": 1}), (OnFailure.REMOVE, {"101": 1})]
)
async def test_a_failed_member_loses_its_weight_or_its_entry(
    world: World, on_failure: OnFailure, left: dict[str, int]
) -> None:
    await world.do(director(service(checked(100), member(101), on_failure=on_failure)))
    world.health.find(100, Verdict.UP)
    await world.later(1)
    world.ipvs.set_connections(SERVICE, destination(100), active=5)
    world.health.find(100, Verdict.DOWN, "Connection refused")
    await world.later(1)
    assert world.weights() == left
    assert "rs100: its check fails: Connection refused" in world.exception().message
    world.health.find(100, Verdict.UP)
    await world.later(1)
    assert world.weights() == {"100": 1, "101": 1}


@pytest.mark.parametrize(
    ("on_failure", "left"), [(OnFailure.ZERO_WEIGHT, {"100": 0, "101": 1}), (OnFailure.REMOVE, {"101": 1})]
)
async def test_an_endpoint_that_is_not_ready_is_one_that_failed(
    world: World, on_failure: OnFailure, left: dict[str, int]
) -> None:
    plan = director(service(member(100), member(101), on_failure=on_failure))
    await world.do(plan)
    world.ipvs.set_connections(SERVICE, destination(100), active=0, inactive=5)
    await world.do(director(service(member(100, weight=0, unready=True), member(101), on_failure=on_failure)))
    assert world.weights() == left
    assert world.exception().message == "1 of 2 real servers have weight (rs100: its endpoint is not ready)"
    await world.do(plan)
    assert world.weights() == {"100": 1, "101": 1}


async def test_a_restarted_agent_starts_from_the_weights_in_the_kernel(world: World) -> None:
    plan = director(service(checked(100), checked(101)))
    await world.do(plan)
    world.health.find(100, Verdict.UP)
    await world.later(1)
    before = world.writes()
    world.restart()
    await world.do(plan, rounds=2)
    assert world.writes() == before
    assert {check.address: verdict for check, verdict in world.health.wanted.items()} == {
        "192.168.4.100": Verdict.UP,
        "192.168.4.101": Verdict.UNKNOWN,
    }


async def test_an_edited_check_takes_nobody_out(world: World) -> None:
    await world.do(director(service(checked(100))))
    world.health.find(100, Verdict.UP)
    await world.later(1)
    edited = replace(check_target(100), interval_seconds=9)
    await world.do(director(service(member(100, check=edited))), rounds=2)
    assert world.weights() == {"100": 1}


async def test_only_prepared_members_get_weight(world: World) -> None:
    await world.do(director(service(member(100, prepared=False), member(101))))
    assert world.weights() == {"100": 0, "101": 1}
    await world.do(director(service(member(100), member(101))))
    assert world.weights() == {"100": 1, "101": 1}


async def test_a_refused_member_gets_no_entry(world: World) -> None:
    await world.do(director(service(member(100, refused="DirectorIsRealServer"), member(101))))
    assert world.weights() == {"101": 1}
    assert world.exception().reason == "DirectorIsRealServer"


@pytest.mark.parametrize(
    "route",
    [
        Route(kind=RouteKind.UNICAST, device="eth0", next_hop=ip_address("192.168.4.1")),
        Route(kind=RouteKind.LOCAL, device="lo"),
        Route(kind=RouteKind.UNREACHABLE),
    ],
)
async def test_a_member_beyond_a_router_is_not_on_link(world: World, route: Route) -> None:
    world.links.routes[ip_address("192.168.4.100")] = route
    await world.do(director(service(member(100), member(101))))
    assert world.weights() == {"100": 0, "101": 1}
    assert (world.exception().reason, world.exception().programmed) == ("NotOnLink", True)
    tunnel = member(100, method=ForwardingMethod.TUNNEL)
    await world.do(director(service(tunnel, member(101))))
    assert world.weights() == {"100": 1, "101": 1}


async def test_the_only_director_takes_connections_itself(world: World) -> None:
    """Where another one joins, what that sends here would be balanced again."""
    world.links.routes[ip_address("192.168.4.100")] = Route(kind=RouteKind.LOCAL, device="lo")
    await world.do(director(service(member(100), member(101), has_one_director=True)))
    assert (world.weights(), world.status.exceptions) == ({"100": 1, "101": 1}, [])
    await world.do(director(service(member(100), member(101))))
    assert (world.weights(), world.exception().reason) == ({"100": 0, "101": 1}, "NotOnLink")


async def test_a_tunnel_s_type_is_edited_in_place(world: World) -> None:
    by_ipip = member(100, method=ForwardingMethod.TUNNEL, tunnel=PlannedTunnel(TunnelType.IPIP))
    await world.do(director(service(by_ipip)))
    world.ipvs.set_connections(SERVICE, destination(100), active=7)
    assert world.ipvs.services[SERVICE].destinations[destination(100)].settings.tunnel == IPIP
    await world.do(director(service(replace(by_ipip, tunnel=PlannedTunnel(TunnelType.GRE)))))
    found = world.ipvs.services[SERVICE].destinations[destination(100)]
    assert (found.settings.tunnel, found.active_connections) == (TunnelSettings(type=KernelTunnel.GRE), 7)


@pytest.mark.parametrize(
    ("tunnel", "word"),
    [(PlannedTunnel(TunnelType.GRE), "GRE"), (PlannedTunnel(TunnelType.GUE, port=6080), "GUE")],
)
async def test_a_kernel_that_makes_every_tunnel_ipip_is_named(world: World, tunnel: PlannedTunnel, word: str) -> None:
    """Without an error, before Linux 5.2: what it made is read, told, and not written again in each round."""
    world.ipvs.knows_tunnel_types = False
    plan = director(service(member(100, method=ForwardingMethod.TUNNEL, tunnel=tunnel), member(101)))
    await world.do(plan)
    said = world.exception()
    assert (said.reason, said.programmed) == ("KernelRefused", False)
    assert f"192.168.4.100:80 an IPIP tunnel instead of {word}" in said.message
    writes = world.ipvs.writes
    await world.later(0.5)
    assert (world.ipvs.writes, world.exception().message) == (writes, said.message)
    world.ipvs.knows_tunnel_types = True
    await world.later(1)
    assert world.status.exceptions == []
    assert world.metric("lvs_agent_repairs_total", kind="destination") == 0


async def test_a_node_must_carry_the_vip_on_the_device_of_its_tunnel(world: World) -> None:
    by_gre = checked(100, method=ForwardingMethod.TUNNEL, tunnel=PlannedTunnel(TunnelType.GRE), node="n1", boot_id="b")
    await world.do(director(service(replace(by_gre, prepared=False))))
    await world.do(director(service(by_gre)))
    world.health.find(100, Verdict.UP)
    await world.later(1)
    for device, weight in ((BindDevice.TUNL0, 0), (BindDevice.GRE0, 1)):
        world.health.answer(100, VIP, heard=world.now + 0.1, device=device)
        await world.later(1)
        assert world.weights() == {"100": weight}


async def test_edits_are_made_in_place(world: World) -> None:
    await world.do(director(service(member(100), member(101))))
    world.ipvs.set_connections(SERVICE, destination(100), active=7)
    await world.do(director(service(member(100, weight=9), member(101), scheduler=Scheduler.WLC)))
    state = world.ipvs.services[SERVICE]
    assert state.settings.scheduler == "wlc"
    assert state.destinations[destination(100)].active_connections == 7
    assert world.weights() == {"100": 9, "101": 1}


async def test_a_paused_service_stays_as_it_is(world: World) -> None:
    await world.do(director(service(member(100), member(101))))
    await world.do(director(service(member(100, weight=9), paused=True)), rounds=2)
    assert world.weights() == {"100": 1, "101": 1}
    assert world.bound() == {f"{VIP}@eth0"}
    assert (world.exception().reason, world.exception().programmed) == ("Paused", True)
    await world.do(director(service(member(100, weight=9), member(101))))
    assert world.weights() == {"100": 9, "101": 1}


async def test_services_not_seen_whole_stay(world: World) -> None:
    await world.do(director(service(member(100))))
    await world.do(director(incomplete=(NAME,)), rounds=2)
    assert world.weights() == {"100": 1}
    assert world.bound() == {f"{VIP}@eth0"}
    assert not world.exception().programmed
