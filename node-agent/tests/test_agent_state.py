"""Rounds while the state directory takes no file, and what a script restored at boot, on the fake kernel."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from agent_world import (
    ARP_ANNOUNCE,
    ARP_IGNORE,
    NO_PART,
    SERVICE,
    VIP,
    World,
    checked,
    destination,
    director,
    full_disk,
    member,
    other_service,
    real_server,
    service,
    service_on,
)
from cleaning import clean

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.health_verdict import Verdict
from lvs_agent.decide.kernel_state import (
    DestinationSettings,
    DestinationState,
    InterfaceAddress,
    ServiceSettings,
    ServiceState,
)
from lvs_agent.decide.kernel_state import ForwardingMethod as KernelMethod
from lvs_agent.disk.ledger import Ledger, LedgerFile
from lvs_api.conditions import ConditionType, Reason
from lvs_api.network_types import Protocol
from lvs_core.cluster_view import ObjectKey
from lvs_core.plan import VirtualServerKey

NOT_STORED = ConditionType.STATE_NOT_STORED


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "state")


async def test_a_full_disk_holds_up_new_entries_and_nothing_else(world: World) -> None:
    await world.do(director(service(checked(100), checked(101))))
    for number in (100, 101):
        world.health.find(number, Verdict.UP)
    await world.later(1)
    with full_disk():
        await world.do(director(service(checked(100), checked(101), checked(102)), other_service(member(100))))
        assert world.weights() == {"100": 1, "101": 1}
        assert service_on(81) not in world.ipvs.services
        reason, message = world.condition(NOT_STORED) or ("", "")
        assert (reason, "File too large" in message, f"{world.directory}/ledger" in message) == (
            "StateNotWritten",
            True,
            True,
        )
        assert {(e.name, e.reason, e.programmed) for e in world.status.exceptions or ()} == {
            ("web", "StateNotWritten", False),
            ("other", "StateNotWritten", False),
        }
        # Health goes on, and what somebody else broke is mended: the ledger on disk names it.
        world.health.find(101, Verdict.DOWN, "Connection refused")
        await world.later(1)
        assert world.weights() == {"100": 1, "101": 0}
        world.ipvs.clear()
        await world.later(1)
        assert world.weights() == {"100": 1, "101": 0}
        # Removals go on.
        await world.do(director(service(checked(100), drain_seconds=0)))
        await world.later(1)
        assert world.weights() == {"100": 1}
        assert world.metric("lvs_agent_rounds_total", result="failed") == 0
    await world.do(director(service(checked(100), checked(101), checked(102)), other_service(member(100))))
    await world.later(20)
    assert world.weights() == {"100": 1, "101": 0, "102": 0}
    assert world.weights(service_on(81)) == {"100": 1}
    assert world.condition(NOT_STORED) is None
    assert world.metric("lvs_agent_state_failures_total", file="ledger") > 0


async def test_what_serves_goes_on_while_a_full_disk_holds_up_what_takes_its_place(world: World) -> None:
    """The real servers' port is edited, and in another service the VIP's."""
    ports = [VirtualServerKey(address=ip_address(VIP), port=port, protocol=Protocol.TCP) for port in (81, 82)]
    name = ObjectKey("default", "other")
    await world.do(director(service(member(100)), service(member(100), key=ports[0], service=name)))
    with full_disk():
        edited = director(service(member(100, port=8080)), service(member(100), key=ports[1], service=name))
        await world.do(edited, rounds=2)
        destinations = world.ipvs.services[SERVICE].destinations
        assert {str(key): one.settings.weight for key, one in destinations.items()} == {"192.168.4.100:80": 1}
        assert world.weights(service_on(81)) == {"100": 1}
        assert {(e.name, e.reason, e.programmed) for e in world.status.exceptions or ()} == {
            ("web", "StateNotWritten", False),
            ("other", "StateNotWritten", False),
        }
    await world.later(2)
    assert {str(key) for key in world.ipvs.services[SERVICE].destinations} == {"192.168.4.100:8080"}
    assert set(world.ipvs.services) == {SERVICE, service_on(82)}
    assert world.status.exceptions == []


async def test_a_disk_that_has_room_again_is_noticed_without_a_change(world: World) -> None:
    await world.do(director(service(member(100))))
    with full_disk():
        await world.do(director(service(member(100), member(101))))
        await world.do(director(service(member(100))))
        await world.later(1)
        assert world.condition(NOT_STORED) is not None, "it has not been written since"
    await world.later(20)
    assert world.condition(NOT_STORED) is None


async def test_failed_writes_are_not_repeated_at_every_round(world: World) -> None:
    await world.do(director(service(member(100))))
    with full_disk():
        await world.do(director(service(member(100), member(101))), rounds=50)
        assert world.metric("lvs_agent_state_failures_total", file="ledger") == 1
        for _ in range(60):
            await world.later(1)
    assert 5 <= world.metric("lvs_agent_state_failures_total", file="ledger") <= 12


async def test_an_agent_that_starts_on_a_full_disk_takes_nobody_out(world: World) -> None:
    await world.do(director(service(checked(100), checked(101))))
    for number in (100, 101):
        world.health.find(number, Verdict.UP)
    await world.later(1)
    before = world.writes()
    with full_disk():
        world.restart()
        await world.do(director(service(checked(100), checked(101))))
        assert world.writes() == before
        world.health.find(100, Verdict.DOWN)
        await world.later(1)
        assert world.weights() == {"100": 0, "101": 1}
        assert world.condition(NOT_STORED) is None, "what the file says is so"


async def test_nothing_new_is_bound_or_silenced_on_a_full_disk(world: World) -> None:
    with full_disk():
        await world.do(real_server(VIP), rounds=3)
        assert (world.bound(), world.writes()) == (set(), (0, 0, 0))
        (address,) = world.status.addresses or ()
        assert (address.state, world.sysctls.values[ARP_IGNORE]) == ("Failed", 0)
        reason, message = world.condition(ConditionType.READY) or ("", "")
        assert (reason, "arp_ignore" in message) == ("StateNotWritten", True)
    await world.later(20)
    assert world.bound() == {f"{VIP}@lo"}
    (address,) = world.status.addresses or ()
    assert (address.state, world.sysctls.values[ARP_IGNORE]) == ("Bound", 1)
    await world.do(NO_PART)
    assert world.sysctls.values[ARP_IGNORE] == world.sysctls.values[ARP_ANNOUNCE] == 0


async def test_a_second_address_waits_where_the_first_has_silenced_the_node(world: World) -> None:
    await world.do(real_server(VIP))
    with full_disk():
        await world.do(real_server(VIP, "192.168.4.16"), rounds=2)
        assert world.bound() == {f"{VIP}@lo"}
        told = {one.address: (one.state, one.message) for one in world.status.addresses or ()}
        assert told[VIP] == ("Bound", None)
        state, message = told["192.168.4.16"]
        assert (state, "waits for the state directory" in (message or "")) == ("Failed", True)
    await world.later(20)
    assert world.bound() == {f"{VIP}@lo", "192.168.4.16@lo"}


async def test_an_address_is_bound_again_on_a_full_disk(world: World) -> None:
    await world.do(director(service(member(100))))
    world.links.remove_behind_our_back(InterfaceAddress(device="eth0", address=ip_address(VIP), prefix_length=32))
    with full_disk():
        await world.later(1)
        assert world.bound() == {f"{VIP}@eth0"}
        await world.do(NO_PART)
        assert (world.bound(), world.ipvs.services) == (set(), {})


async def test_a_new_vip_waits_with_its_service(world: World) -> None:
    with full_disk():
        await world.do(director(service(member(100))))
        assert (world.bound(), world.ipvs.services) == (set(), {})
        assert world.exception().reason == "StateNotWritten"
    await world.later(20)
    assert (world.bound(), world.weights()) == ({f"{VIP}@eth0"}, {"100": 1})


async def test_a_drain_goes_on_in_memory(world: World) -> None:
    await world.do(director(service(member(100), member(101))))
    world.ipvs.set_connections(SERVICE, destination(101), active=3)
    with full_disk():
        await world.do(director(service(member(100), member(101, draining_seconds=60))))
        assert world.weights() == {"100": 1, "101": 0}
        await world.later(59)
        assert not world.status.drained
        await world.later(2)
        (drained,) = world.status.drained or ()
        assert drained.members == ["rs101"]


def restored(scheduler: str, **weights: int) -> ServiceState:
    """What a script restored at boot, by last parts of addresses."""
    return ServiceState(
        settings=ServiceSettings(scheduler=scheduler),
        destinations={
            destination(int(name[2:])): DestinationState(
                settings=DestinationSettings(weight=weight, method=KernelMethod.DIRECT_ROUTE)
            )
            for name, weight in weights.items()
        },
    )


async def test_what_a_script_restored_at_boot_is_adopted_where_it_is_equal(world: World) -> None:
    world.ipvs.services = {
        SERVICE: restored("rr", rs100=1, rs101=1),
        service_on(81): restored("sh", rs100=1),
        service_on(8080): restored("wlc", rs109=5),
    }
    world.links.addresses.add(InterfaceAddress(device="eth0", address=ip_address(VIP), prefix_length=32))
    await world.do(director(service(checked(100), checked(101)), other_service(member(100))))
    assert world.writes() == (0, 0, 0)
    assert (world.exception().name, world.exception().reason) == ("other", "ForeignEntry")
    assert LedgerFile(world.directory / "ledger", "boot-1").read().ipvs == {
        SERVICE: {destination(100), destination(101)}
    }
    # It stays ours: checks move it, and it goes with its object.
    world.health.find(100, Verdict.DOWN)
    await world.later(1)
    assert world.weights() == {"100": 0, "101": 1}
    await world.do(NO_PART)
    assert set(world.ipvs.services) == {service_on(81), service_on(8080)}


async def test_a_script_s_real_server_that_the_plan_does_not_have_is_named_and_left_alone(world: World) -> None:
    world.ipvs.services = {SERVICE: restored("rr", rs100=1, rs109=1)}
    await world.do(director(service(member(100))))
    assert world.weights() == {"100": 1, "109": 1}
    said = world.exception()
    assert (said.reason, said.programmed, "192.168.4.109:80" in said.message) == ("ForeignEntry", True, True)
    state = world.ipvs.services[SERVICE]
    world.ipvs.services[SERVICE] = replace(state, destinations={destination(100): state.destinations[destination(100)]})
    await world.later(1)
    assert world.status.exceptions == []


async def test_cleanup_removes_all_on_a_full_disk_and_says_so(world: World) -> None:
    await world.do(director(service(member(100))))
    with full_disk():
        (problem,) = await clean(world)
    assert "File too large" in problem
    assert (world.bound(), world.ipvs.services) == (set(), {})
    assert await clean(world) == ()
    assert LedgerFile(world.directory / "ledger", world.boot_id).read() == Ledger()


async def test_blindness_is_a_condition_while_it_lasts(world: World) -> None:
    await world.do(director(service(checked(100))))
    before = world.status
    world.health.blind = Fault(reason=Reason.CHECKS_UNANSWERED, message="nobody answers")
    await world.later(1)
    assert world.condition(ConditionType.CHECKS_BLIND) == ("ChecksUnanswered", "nobody answers")
    world.health.blind = None
    await world.later(1)
    assert world.status == before
