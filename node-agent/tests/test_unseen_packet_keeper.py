"""An agent that finds out that packets for its services arrive and do not get to IPVS."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

import pytest
from agent_world import NAME, SERVICE, VIP, World, director, member, real_server, service, service_on

from lvs_agent.converge.unseen_packets import QUIET_SECONDS, SETTLE_SECONDS, SUSPECTING_SECONDS, TOLD_SECONDS
from lvs_agent.decide.kernel_state import (
    AddressFamily,
    AnyServiceKey,
    FirewallMarkKey,
    Route,
    RouteKind,
    ServiceKey,
    TrafficCounters,
)
from lvs_agent.decide.kernel_sysctls import SysctlKey, conf_key
from lvs_agent.decide.packet_table import HANDED_ON_MARK
from lvs_agent.decide.status_events import status_events
from lvs_agent.decide.unseen_packets import FORGET_SECONDS, RAISE_TIMES, Arrival
from lvs_agent.errors import IpvsReadFailed
from lvs_api.bind_device import BindDevice
from lvs_api.conditions import ConditionType, Reason
from lvs_core.plan import BoundAddress, Holding, NodePlan, OtherDirector, VirtualServerKey

CLIENT = ip_address("10.1.2.3")
CAME = Arrival("eth0", CLIENT, 7)
PLAN = director(service(member(101), member(102)))
BLOCKED = ConditionType.TRAFFIC_BLOCKED
RP_FILTER = conf_key("ipv4", "eth0", "rp_filter")


def count(world: World, number: int = 1, key: AnyServiceKey = SERVICE) -> None:
    """As if IPVS had seen so many connections more."""
    state = world.ipvs.services[key]
    counted = state.counters._replace(
        connections=state.counters.connections + number, in_packets=state.counters.in_packets + 3 * number
    )
    world.ipvs.services[key] = replace(state, counters=counted)


def record_reads(world: World) -> list[float]:
    """When the counters of all services are read from now on."""
    reads: list[float] = []
    read = world.ipvs.read_counters

    def reading() -> Mapping[AnyServiceKey, TrafficCounters]:
        reads.append(world.now)
        return read()

    world.ipvs.read_counters = reading  # type: ignore[method-assign]  # in place of the fake's own
    return reads


async def pass_by(world: World, seconds: float) -> None:
    """Rounds each second; between two of them whoever listens hears what there is."""
    for _ in range(round(seconds)):
        await world.later(1.0)
        await asyncio.sleep(0)


async def served(directory: Path, plan: NodePlan = PLAN) -> World:
    """A director that carries its VIP, and has looked once."""
    world = World(directory)
    await world.do(plan, rounds=3)
    await pass_by(world, 2)
    assert f"{VIP}@eth0" in world.bound()
    return world


LONG = QUIET_SECONDS + RAISE_TIMES * (SETTLE_SECONDS + 4)


async def test_what_arrives_and_is_not_counted_is_told(tmp_path: Path) -> None:
    world = await served(tmp_path)
    world.tap.arriving[SERVICE] = CAME
    before = world.status
    await pass_by(world, SUSPECTING_SECONDS + SETTLE_SECONDS)
    assert world.condition(BLOCKED) is None, "once may be chance"
    await pass_by(world, LONG)
    reason, message = world.condition(BLOCKED) or ("", "")
    assert reason == "PacketsNotSeen"
    assert f"{NAME} at {SERVICE} arrive by eth0" in message
    assert str(CLIENT) not in message
    said = world.exception()
    assert (said.name, said.reason, said.programmed, said.ready) == ("web", Reason.PACKETS_NOT_SEEN, True, 2)
    assert world.metric("lvs_agent_exceptions", reason="PacketsNotSeen") == 1
    assert {one.reason for one in status_events(before, world.status)} == {"PacketsNotSeen"}


async def test_it_is_over_when_ipvs_counts(tmp_path: Path) -> None:
    world = await served(tmp_path)
    world.tap.arriving[SERVICE] = CAME
    await pass_by(world, LONG)
    told = world.status
    assert world.condition(BLOCKED)
    for _ in range(round(TOLD_SECONDS) + 2):
        count(world)
        await pass_by(world, 1)
    assert world.condition(BLOCKED) is None
    assert not world.status.exceptions
    assert {one.reason for one in status_events(told, world.status)} == {"TrafficBlockedOver", "ExceptionCleared"}


async def test_a_firewall_that_lets_in_one_client_on_purpose_is_not_told_again_and_again(tmp_path: Path) -> None:
    """A monitor comes once a minute, and is let in; others try all the time."""
    world = await served(tmp_path)
    world.tap.arriving[SERVICE] = CAME
    told = [False]
    for second in range(1200):
        if second % 60 == 0:
            count(world)
        await pass_by(world, 1)
        told.append(world.condition(BLOCKED) is not None)
    assert sum(now and not before for before, now in pairwise(told)) <= 2
    assert not any(told[300:])


async def test_it_is_over_when_nobody_comes_any_more(tmp_path: Path) -> None:
    world = await served(tmp_path)
    world.tap.arriving[SERVICE] = CAME
    await pass_by(world, LONG)
    world.tap.arriving.clear()
    await pass_by(world, FORGET_SECONDS - 60)
    assert world.condition(BLOCKED)
    await pass_by(world, 60 + TOLD_SECONDS)
    assert world.condition(BLOCKED) is None


async def test_a_busy_service_is_not_listened_for(tmp_path: Path) -> None:
    other = service(
        member(101), key=VirtualServerKey(address=ip_address(VIP), port=81, protocol=service().key.protocol)
    )
    world = await served(tmp_path, director(service(member(101)), other))
    world.tap.listened.clear()
    for _ in range(round(LONG)):
        count(world)
        await pass_by(world, 1)
    assert set().union(*world.tap.listened) == {service_on(81)}
    assert world.metric("lvs_agent_arrival_looks_total") >= 2
    assert world.condition(BLOCKED) is None


async def test_it_listens_for_a_tenth_of_the_time_while_all_is_quiet(tmp_path: Path) -> None:
    world = await served(tmp_path)
    before = world.tap.seconds
    await pass_by(world, 10 * QUIET_SECONDS)
    assert world.tap.seconds - before <= 0.1 * 10 * QUIET_SECONDS + 2


async def test_what_is_counted_late_is_no_finding(tmp_path: Path) -> None:
    """The kernel tells of its counts up to two seconds later."""
    world = await served(tmp_path)
    world.tap.arriving[SERVICE] = CAME
    looks = len(world.tap.listened)
    while len(world.tap.listened) == looks:
        await pass_by(world, 1)
    await pass_by(world, SETTLE_SECONDS - 2)
    count(world)
    reads = record_reads(world)
    await pass_by(world, SUSPECTING_SECONDS)
    assert len(world.tap.listened) == looks + 1
    assert reads == [], "it is not looked at again soon: nothing is suspected"


@pytest.mark.parametrize(
    "why",
    [
        "no weight",
        "standby",
        "standby and real server",
        "real server",
        "counters stopped",
        "not made",
        "tap fails",
        "counters not read",
    ],
)
async def test_nothing_is_told(tmp_path: Path, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = PLAN
    if why == "no weight":
        plan = director(service(member(101, weight=0)))
    elif why == "standby":
        plan = director(service(member(101)), holding=Holding.RELEASE)
    elif why == "standby and real server":
        bind = (BoundAddress(address=ip_address(VIP), device=BindDevice.LO),)
        plan = director(service(member(101)), holding=Holding.RELEASE, bind=bind)
    elif why == "real server":
        plan = real_server(VIP)
    world = World(tmp_path)
    if why == "counters stopped":
        world.sysctls.values[SysctlKey(("ipv4", "vs", "run_estimation"))] = 0
    elif why == "not made":
        world.ipvs.room = 0
    elif why == "tap fails":
        world.tap.fails = True
    elif why == "counters not read":

        def fail() -> None:
            raise IpvsReadFailed("the table changes all the time")

        monkeypatch.setattr(world.ipvs, "read_counters", fail)
    await world.do(plan, rounds=3)
    world.tap.arriving[SERVICE] = CAME
    await pass_by(world, LONG)
    assert world.condition(BLOCKED) is None
    assert world.condition(ConditionType.READY) == ("Ready", "The agent carries out the plan.")
    assert bool(world.tap.listened) is (why == "no weight")


@pytest.mark.parametrize("by_director", [True, False])
async def test_what_another_directors_mac_address_sends_is_counted_elsewhere(
    tmp_path: Path, *, by_director: bool
) -> None:
    """A pod on a director's node is a client, too; to one that is a real server as well it looks as if handed on."""
    world = World(tmp_path)
    own, other = ip_address("192.168.4.5"), ip_address("192.168.4.6")
    world.links.routes |= {other: Route(kind=RouteKind.UNICAST, device="eth0")}
    world.links.routes |= {own: Route(kind=RouteKind.LOCAL, device="lo")}
    world.probe.neighbours["eth0", other] = {bytes.fromhex("020000000006")}
    plan = director(service(replace(member(5), address=own, is_here=True), member(101)))
    group = replace(plan.directing[0], own_addresses=(own,), others=(OtherDirector("d2", (other,)),))
    await world.do(replace(plan, directing=(group,), bind=real_server(VIP).bind), rounds=3)
    await pass_by(world, 2)
    assert f"{VIP}@eth0" in world.bound()
    world.tap.arriving[SERVICE] = CAME
    for _ in range(round(LONG + SUSPECTING_SECONDS)):
        if by_director:
            count(world, key=FirewallMarkKey(family=AddressFamily.IPV4, mark=HANDED_ON_MARK))
        await pass_by(world, 1)
    assert (world.condition(BLOCKED) is None) is by_director


async def test_real_servers_that_are_down_are_named_beside_it(tmp_path: Path) -> None:
    world = await served(tmp_path, director(service(member(101), member(102, weight=0))))
    world.tap.arriving[SERVICE] = CAME
    await pass_by(world, LONG)
    said = world.exception()
    assert (said.reason, said.ready) == (Reason.PACKETS_NOT_SEEN, 1)
    assert "; 1 of 2 real servers have weight (rs102" in said.message


@pytest.mark.parametrize(
    ("every", "own", "way", "named"),
    [(0, 1, "eth1", True), (1, 0, None, True), (0, 1, "eth0", False), (0, 2, "eth1", False), (2, 1, "eth1", False)],
)
async def test_a_strict_rp_filter_is_named(
    tmp_path: Path, every: int, own: int, way: str | None, *, named: bool
) -> None:
    world = await served(tmp_path)
    world.sysctls.values |= {RP_FILTER: own, conf_key("ipv4", "all", "rp_filter"): every}
    kind = RouteKind.UNICAST if way else RouteKind.UNREACHABLE
    world.links.routes[CLIENT] = Route(kind=kind, device=way)
    world.tap.arriving[SERVICE] = CAME
    await pass_by(world, LONG)
    message = (world.condition(BLOCKED) or ("", ""))[1]
    assert ("Set net.ipv4.conf.eth0.rp_filter=2" in message, "firewalld" in message) == (named, not named)


async def test_the_agent_ends_while_it_listens(tmp_path: Path) -> None:
    world = await served(tmp_path)

    async def forever(fronts: object, seconds: float) -> dict[ServiceKey, Arrival]:
        del fronts, seconds
        await asyncio.Event().wait()
        return {}

    world.tap.listen = forever  # type: ignore[method-assign]  # in place of the fake's own
    for _ in range(round(QUIET_SECONDS) + 2):
        await world.later(1.0)
    assert world.unseen.is_looking
    await world.unseen.close()
