"""Rounds of the agent on the fake kernel: what is written, in which order, and what is said."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from lvs_api.lvs_node import BindDevice, NodeAddressState
from lvs_api.network_types import ForwardingMethod, Scheduler
from lvs_api.real_server_pool import OnFailure
from lvs_core.plan import FormerMethod, Holding, PlannedMember

from agent_world import (
    ARP_ANNOUNCE,
    ARP_IGNORE,
    GROUP,
    NAME,
    NO_PART,
    SERVICE,
    VIP,
    World,
    check_target,
    destination,
    director,
    member,
    real_server,
    service,
)
from lvs_agent.addresses import ANNOUNCE_AFTER
from lvs_agent.decide.health_verdict import Verdict
from lvs_agent.decide.kernel_state import (
    DestinationSettings,
    DestinationState,
    InterfaceAddress,
    Route,
    RouteKind,
    ServiceSettings,
    ServiceState,
)
from lvs_agent.decide.kernel_state import ForwardingMethod as KernelMethod


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def checked(number: int, **changes: object) -> PlannedMember:
    return member(number, check=check_target(number), **changes)


# a director


async def test_a_director_programs_then_carries_and_announces(world: World) -> None:
    await world.do(director(service(member(100), member(101, weight=3))))
    assert world.weights() == {"100": 1, "101": 3}
    assert world.bound() == {f"{VIP}@eth0"}
    assert world.announcer.sent == [("eth0", ip_address(VIP))]
    assert world.status.exceptions == []
    (report,) = world.status.director_groups or ()
    assert (report.name, report.view_digest, report.holds_addresses) == (GROUP, "digest", True)


async def test_a_standby_has_the_rules_and_not_the_address(world: World) -> None:
    await world.do(director(service(member(100)), holding=Holding.RELEASE))
    assert world.weights() == {"100": 1}
    assert world.bound() == set()
    (report,) = world.status.director_groups or ()
    assert not report.holds_addresses


async def test_nothing_is_done_without_a_plan_and_nothing_without_a_difference(world: World) -> None:
    await world.do(None, rounds=3)
    assert world.writes() == (0, 0, 0)
    assert world.statuses == []
    await world.do(director(service(checked(100), member(101))), rounds=2)
    world.health.find(100, Verdict.UP)
    await world.later(1)
    before, told = world.writes(), world.status
    for _ in range(50):
        await world.later(1)
    assert world.writes() == before
    assert all(status == told for status in world.statuses[-50:])


async def test_the_announcement_is_repeated_and_then_ends(world: World) -> None:
    await world.do(director(service(member(100))))
    for _ in range(40):
        await world.later(0.5)
    assert len(world.announcer.sent) == len(ANNOUNCE_AFTER)


async def test_the_address_waits_for_a_service_in_the_kernel(world: World) -> None:
    await world.do(director(service(member(100), scheduler=Scheduler.TWOS)))
    assert world.bound() == set()
    assert not world.exception().programmed
    assert world.exception().reason == "SchedulerUnavailable"
    world.ipvs.schedulers |= {"twos"}
    await world.later(5)
    assert world.bound() == {f"{VIP}@eth0"}
    assert world.status.exceptions == []


async def test_a_refused_change_is_tried_again_ever_more_rarely(world: World) -> None:
    plan = director(service(member(100), scheduler=Scheduler.TWOS))
    tries = []
    real = world.ipvs.apply

    def apply(changes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        tries.append(world.now)
        return real(changes)

    world.ipvs.apply = apply  # type: ignore[method-assign]
    await world.do(plan)
    for _ in range(100):
        await world.later(1)
    assert 5 <= len(tries) <= 9


async def test_one_service_in_trouble_does_not_hold_up_the_others(world: World) -> None:
    other = replace(service(member(101)), key=replace(service().key, port=81), service=replace_name("other"))
    await world.do(director(service(member(100), scheduler=Scheduler.TWOS), other))
    assert list(world.ipvs.services) == [replace_port(81)]
    assert world.exception().name == "web"


async def test_releasing_takes_the_address_before_the_services(world: World) -> None:
    await world.do(director(service(member(100))))
    order = record_order(world)
    await world.do(NO_PART)
    assert order == ["unbind", "delete"]
    assert world.ipvs.services == {}
    assert world.status.director_groups == []


async def test_the_address_moves_with_the_role(world: World) -> None:
    await world.do(director(service(member(100))))
    await world.do(director(service(member(100)), holding=Holding.RELEASE))
    assert world.bound() == set()
    assert world.weights() == {"100": 1}
    await world.do(director(service(member(100)), holding=Holding.HOLD))
    assert world.bound() == {f"{VIP}@eth0"}


async def test_a_group_that_can_not_be_read_keeps_the_address(world: World) -> None:
    await world.do(director(service(member(100)), holding=Holding.KEEP))
    assert world.bound() == set()
    await world.do(director(service(member(100))))
    await world.do(director(service(member(100)), holding=Holding.KEEP), rounds=2)
    assert world.bound() == {f"{VIP}@eth0"}


async def test_a_vip_without_a_device_is_told(world: World) -> None:
    await world.do(director(service(member(100)), interface="eth7"))
    assert world.exception().message == "this node has no network device eth7, which director group default names"
    assert not world.exception().programmed


# health


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


# preparation, links


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


# edits


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


# leaving


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


async def test_a_leaving_member_is_not_brought_in_first(world: World) -> None:
    await world.do(director(service(member(100, draining_seconds=60), member(101))))
    assert world.weights() == {"101": 1}
    assert [d.members for d in world.status.drained or ()] == [["rs100"]]


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


# what is not ours


async def test_foreign_entries_are_left_alone(world: World) -> None:
    foreign = replace_port(8080)
    world.ipvs.services[foreign] = ServiceState(settings=ServiceSettings(scheduler="rr"))
    await world.do(director(service(member(100))))
    await world.do(NO_PART)
    assert list(world.ipvs.services) == [foreign]


async def test_a_foreign_service_in_the_way_is_told(world: World) -> None:
    world.ipvs.services[SERVICE] = ServiceState(settings=ServiceSettings(scheduler="sh"))
    await world.do(director(service(member(100))), rounds=2)
    assert world.ipvs.services[SERVICE].settings.scheduler == "sh"
    assert (world.exception().reason, world.exception().programmed) == ("ForeignEntry", False)
    del world.ipvs.services[SERVICE]
    await world.later(1)
    assert world.weights() == {"100": 1}


async def test_entries_that_equal_the_plan_are_adopted_after_a_reboot(world: World) -> None:
    await world.do(director(service(member(100))))
    world.boot_id = "boot-2"
    world.restart()
    before = world.writes()
    await world.do(director(service(member(100))))
    assert world.writes() == before
    await world.do(NO_PART)
    assert world.ipvs.services == {}


async def test_an_address_of_somebody_else_is_a_conflict(world: World) -> None:
    world.links.addresses.add(InterfaceAddress(device="eth0", address=ip_address(VIP), prefix_length=24))
    await world.do(director(service(member(100))))
    assert (world.exception().reason, world.exception().programmed) == ("AddressConflict", False)


# repairs


async def test_a_cleared_table_is_repaired_and_counted(world: World) -> None:
    await world.do(director(service(checked(100), member(101))))
    world.health.find(100, Verdict.UP)
    await world.later(1)
    world.ipvs.clear()
    await world.later(1)
    assert world.weights() == {"100": 1, "101": 1}
    assert world.metric("lvs_agent_repairs_total", kind="service") == 1
    assert world.metric("lvs_agent_repairs_total", kind="destination") == 2


@pytest.mark.parametrize("weight", [None, 5])
async def test_a_changed_destination_is_repaired(world: World, weight: int | None) -> None:
    await world.do(director(service(member(100), member(101))))
    state = world.ipvs.services[SERVICE]
    destinations = dict(state.destinations)
    del destinations[destination(100)]
    if weight is not None:
        settings = DestinationSettings(weight=weight, method=KernelMethod.DIRECT_ROUTE)
        destinations[destination(100)] = DestinationState(settings=settings)
    world.ipvs.services[SERVICE] = replace(state, destinations=destinations)
    await world.later(1)
    assert world.weights() == {"100": 1, "101": 1}
    assert world.metric("lvs_agent_repairs_total", kind="destination") == 1


async def test_a_removed_address_is_bound_again_and_counted(world: World) -> None:
    await world.do(director(service(member(100))))
    world.links.remove_behind_our_back(InterfaceAddress(device="eth0", address=ip_address(VIP), prefix_length=32))
    await world.later(20)
    assert world.bound() == {f"{VIP}@eth0"}
    assert world.metric("lvs_agent_repairs_total", kind="address") == 1
    assert len(world.announcer.sent) == 2


async def test_planned_changes_are_no_repairs(world: World) -> None:
    await world.do(director(service(member(100))))
    await world.do(director(service(member(100, weight=2), member(101))))
    await world.do(NO_PART)
    await world.do(director(service(member(100))))
    for kind in ("service", "destination", "address", "sysctl"):
        assert world.metric("lvs_agent_repairs_total", kind=kind) == 0


# no IPVS


async def test_a_kernel_without_ipvs_is_told(world: World) -> None:
    world.ipvs.available = False
    await world.do(director(service(member(100))))
    assert world.exception().reason == "IPVSUnavailable"
    assert world.bound() == set()
    (ready,) = world.status.conditions or ()
    assert (ready.status, ready.reason) == ("False", "IPVSUnavailable")
    world.ipvs.available = True
    await world.later(1)
    assert world.weights() == {"100": 1}
    (ready,) = world.status.conditions or ()
    assert ready.status == "True"


async def test_a_real_server_never_touches_ipvs(world: World) -> None:
    world.ipvs.available = False
    await world.do(real_server(VIP))
    assert world.ipvs.reads == 0
    assert world.bound() == {f"{VIP}@lo"}


# a real server


async def test_a_real_server_is_silent_before_it_binds(world: World) -> None:
    order = record_order(world)
    await world.do(real_server(VIP))
    assert order == ["arp_ignore=1", "arp_announce=2", "bind"]
    (address,) = world.status.addresses or ()
    assert (address.address, address.device, address.state) == (VIP, BindDevice.LO, NodeAddressState.BOUND)
    assert world.announcer.sent == []


async def test_a_real_server_lets_go_before_it_speaks_again(world: World) -> None:
    await world.do(real_server(VIP))
    order = record_order(world)
    await world.do(NO_PART)
    assert order[0] == "unbind"
    assert sorted(order[1:]) == ["arp_announce=0", "arp_ignore=0"]
    assert world.status.addresses == []
    assert (world.agent._ledger.bindings, dict(world.agent._ledger.sysctls)) == (frozenset(), {})


async def test_it_stays_silent_while_one_address_is_left(world: World) -> None:
    await world.do(real_server(VIP, "192.168.4.16"))
    await world.do(real_server(VIP))
    assert world.bound() == {f"{VIP}@lo"}
    assert (world.sysctls.values[ARP_IGNORE], world.sysctls.values[ARP_ANNOUNCE]) == (1, 2)


async def test_old_values_survive_a_restart(world: World) -> None:
    world.sysctls.values[ARP_ANNOUNCE] = 1
    await world.do(real_server(VIP))
    world.restart()
    await world.do(real_server(VIP))
    await world.do(NO_PART)
    assert (world.sysctls.values[ARP_IGNORE], world.sysctls.values[ARP_ANNOUNCE]) == (0, 1)


async def test_a_drifted_sysctl_is_repaired_and_counted(world: World) -> None:
    await world.do(real_server(VIP), rounds=2)
    world.sysctls.values[ARP_IGNORE] = 0
    await world.later(1)
    assert world.sysctls.values[ARP_IGNORE] == 1
    assert world.metric("lvs_agent_repairs_total", kind="sysctl") == 1


async def test_without_silence_nothing_is_bound(world: World) -> None:
    del world.sysctls.values[ARP_IGNORE]
    await world.do(real_server(VIP))
    assert world.bound() == set()
    (address,) = world.status.addresses or ()
    assert address.state is NodeAddressState.FAILED


async def test_a_tunnel_real_server_binds_on_its_tunnel_device(world: World) -> None:
    await world.do(real_server(VIP, device=BindDevice.TUNL0))
    assert world.bound() == {f"{VIP}@tunl0"}
    (address,) = world.status.addresses or ()
    assert address.state is NodeAddressState.BOUND


async def test_a_tunnel_device_that_can_not_be_made_is_told(world: World) -> None:
    world.links.modules = False
    await world.do(real_server(VIP, device=BindDevice.TUNL0))
    (address,) = world.status.addresses or ()
    assert (address.state, address.message) == (NodeAddressState.FAILED, "there is no network device tunl0")


# failing rounds


async def test_a_failing_round_keeps_the_last_report_and_names_the_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.do(director(service(member(100))))
    ledger = world.directory / "ledger"
    ledger.unlink()
    ledger.mkdir()
    (ledger / "in-the-way").touch()
    newer = director(service(member(100), member(101)))
    newer = replace(newer, directing=(replace(newer.directing[0], view_digest="newer"),))
    await world.do(newer, rounds=2)
    assert world.weights() == {"100": 1}, "nothing is made that could not be remembered"
    (report,) = world.status.director_groups or ()
    assert report.view_digest == "digest"
    (ready,) = world.status.conditions or ()
    assert ready.status == "False"
    (ledger / "in-the-way").unlink()
    ledger.rmdir()
    await world.later(1)
    assert world.weights() == {"100": 1, "101": 1}
    (report,) = world.status.director_groups or ()
    assert report.view_digest == "newer"


# helpers


def replace_port(port: int):  # type: ignore[no-untyped-def]  # noqa: ANN201
    return type(SERVICE)(protocol=SERVICE.protocol, address=SERVICE.address, port=port)


def replace_name(name: str):  # type: ignore[no-untyped-def]  # noqa: ANN201
    return NAME._replace(name=name)


def record_order(world: World) -> list[str]:
    """From now on, every kind of write as it comes."""
    order: list[str] = []
    links, ipvs, sysctl = world.links.apply, world.ipvs.apply, world.sysctls.write

    async def apply_links(changes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        order.extend("bind" if type(c).__name__ == "BindAddress" else "unbind" for c in changes)
        return await links(changes)

    def apply_ipvs(changes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        order.extend("delete" if type(c).__name__ == "DeleteService" else type(c).__name__ for c in changes)
        return ipvs(changes)

    def write(key, value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        order.append(f"{key.path[-1]}={value}")
        sysctl(key, value)

    world.links.apply, world.ipvs.apply, world.sysctls.write = apply_links, apply_ipvs, write  # type: ignore[method-assign]
    return order
