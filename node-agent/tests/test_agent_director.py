"""Rounds of a director on the fake kernel: what is written, in which order, and what is said."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from agent_world import (
    GROUP,
    NAME,
    NO_PART,
    VIP,
    World,
    checked,
    director,
    member,
    real_server,
    record_order,
    service,
    service_on,
)

from lvs_agent.converge.announcements import ANNOUNCE_AFTER
from lvs_agent.decide.changes import LinkChange
from lvs_agent.decide.health_verdict import Verdict
from lvs_agent.decide.kernel_state import AddressFamily, InterfaceAddress, KernelIpvs, KernelLinks, Route, RouteKind
from lvs_agent.decide.kernel_sysctls import SysctlKey
from lvs_agent.errors import AddressRefused, IpvsReadFailed, LinkError
from lvs_agent.kernel.interface import LinkFailure
from lvs_agent.node_status import TELL_FAILURE_SECONDS
from lvs_api.bind_device import BindDevice
from lvs_api.lvs_node import LvsNodeStatus, NodeAddressState, NodeAddressStatus
from lvs_api.network_types import ForwardingMethod, Protocol, Scheduler
from lvs_core.plan import Holding, PlannedPersistence, VirtualServerKey


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_director_names_its_own_addresses_and_no_vip(world: World) -> None:
    for address, length in (("192.168.4.77", 32), ("2001:db8:4::5", 64), ("fe80::5", 64)):
        added = InterfaceAddress(device="eth0", address=ip_address(address), prefix_length=length)
        world.links.addresses.add(added)
    await world.do(director(service(member(100))))
    assert world.bound() >= {f"{VIP}@eth0"}
    assert world.status.own_addresses == ["192.168.4.5", "2001:db8:4::5"]
    await world.do(real_server("192.168.4.16"))
    assert world.status.own_addresses is None


@pytest.mark.parametrize(("source", "own"), [("192.168.255.5", ["192.168.255.5"]), (VIP, []), (None, [])])
async def test_a_director_names_what_it_wraps_packets_from(world: World, source: str | None, own: list[str]) -> None:
    """A node that speaks BGP may have its own address on lo, with no subnet; a VIP is nobody's own."""
    by_tunnel = member(100, method=ForwardingMethod.TUNNEL)
    sent_from = None if source is None else ip_address(source)
    world.links.routes[by_tunnel.address] = Route(kind=RouteKind.UNICAST, device="eth0", source=sent_from)
    await world.do(director(service(by_tunnel)))
    assert world.status.own_addresses == ["192.168.4.5", *own]


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

    def apply(changes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 -- as the seam
        tries.append(world.now)
        return real(changes)

    world.ipvs.apply = apply  # type: ignore[method-assign]  # in place of the fake's own
    await world.do(plan)
    for _ in range(100):
        await world.later(1)
    assert 5 <= len(tries) <= 9


async def test_one_service_in_trouble_does_not_hold_up_the_others(world: World) -> None:
    key = VirtualServerKey(address=ip_address(VIP), port=81, protocol=Protocol.TCP)
    other = service(member(101), key=key, service=NAME._replace(name="other"))
    await world.do(director(service(member(100), scheduler=Scheduler.TWOS), other))
    assert list(world.ipvs.services) == [service_on(81)]
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


async def test_a_kernel_without_ipvs_keeps_no_other_work_from_being_done(world: World) -> None:
    """The node is a real server of other directors, too; and what it held as a director goes on to be held."""
    await world.do(director(service(member(100))))
    world.ipvs.available = False
    world.ipvs.clear()
    other = real_server("192.168.4.16").bind
    await world.do(director(service(member(100)), bind=other))
    assert world.bound() == {f"{VIP}@eth0", "192.168.4.16@lo"}
    assert world.exception().reason == "IPVSUnavailable"
    assert [one.state for one in world.status.addresses or ()] == ["Bound"]
    world.ipvs.available = True
    await world.later(1)
    assert world.weights() == {"100": 1}
    assert world.metric("lvs_agent_repairs_total", kind="service") == 0


async def test_a_real_server_never_touches_ipvs(world: World) -> None:
    world.ipvs.available = False
    await world.do(real_server(VIP))
    assert world.ipvs.reads == 0
    assert world.bound() == {f"{VIP}@lo"}


async def test_a_failing_round_keeps_the_last_report_and_names_the_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.do(director(service(member(100))))

    def fail() -> KernelIpvs:
        raise IpvsReadFailed("the table could not be read in one piece")

    monkeypatch.setattr(world.ipvs, "read", fail)
    monkeypatch.setattr(world.ipvs, "read_services", fail)
    newer = director(service(member(100), member(101)))
    newer = replace(newer, directing=(replace(newer.directing[0], view_digest="newer"),))
    await world.do(newer)
    await world.later(TELL_FAILURE_SECONDS)
    assert world.weights() == {"100": 1}
    (report,) = world.status.director_groups or ()
    assert report.view_digest == "digest"
    (ready,) = world.status.conditions or ()
    assert (ready.status, ready.reason) == ("False", "KernelRefused")
    monkeypatch.undo()
    await world.later(1)
    assert world.weights() == {"100": 1, "101": 1}
    (report,) = world.status.director_groups or ()
    assert report.view_digest == "newer"


def failing(world: World, **status: object) -> LvsNodeStatus:
    """What the API server has when an agent starts that can not read the links."""

    async def read(*, fresh: bool = False) -> KernelLinks:
        raise LinkError(f"reading devices and addresses: Protocol error ({fresh})")

    world.links.read = read  # type: ignore[method-assign]  # in place of the fake's own
    bound = NodeAddressStatus(address="10.9.9.9", device=BindDevice.LO, state=NodeAddressState.BOUND)
    world.source.status = LvsNodeStatus(boot_id=world.boot_id, observed_generation=7, addresses=[bound])
    world.source.status = world.source.status.model_copy(update=status)
    return world.source.status


async def test_a_failure_that_passes_is_not_told(world: World) -> None:
    plan, read = director(service(member(100))), world.links.read
    await world.do(plan)
    failing(world)
    await world.later(1)
    await world.later(1)
    world.links.read = read  # type: ignore[method-assign]  # in place of the fake's own
    await world.later(1)
    failing(world)
    await world.later(1)
    assert {said.conditions[0].status for said in world.statuses if said.conditions} == {"True"}
    await world.later(TELL_FAILURE_SECONDS)
    assert [condition.status for condition in world.status.conditions or ()] == ["False"]


async def test_an_agent_whose_first_rounds_fail_says_so_and_takes_nothing_back(world: World) -> None:
    before = failing(world)
    await world.do(director(service(member(100))))
    assert world.statuses == []
    await world.later(TELL_FAILURE_SECONDS)
    (ready,) = world.status.conditions or ()
    assert (ready.status, ready.reason) == ("False", "KernelRefused")
    assert "Protocol error" in ready.message
    assert world.status.agent_version == "1"
    assert (world.status.addresses, world.status.observed_generation) == (before.addresses, 7)


async def test_the_same_is_handed_on_again_for_others_may_have_changed_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.do(director(service(member(100))), rounds=2)
    seen = await world.links.read()

    async def read(*, fresh: bool = False) -> KernelLinks:  # noqa: ARG001 (the signature of the seam)
        return seen  # as the real one does while nothing changes

    monkeypatch.setattr(world.links, "read", read)
    await world.later(1)
    said = len(world.statuses)
    await world.later(1)
    assert len(world.statuses) == said + 1
    assert world.statuses[-1] is world.statuses[-2], "nothing of it is put together anew"


async def test_what_was_so_in_another_boot_is_not_said_again(world: World) -> None:
    failing(world, boot_id="boot-0")
    await world.do(director(service(member(100))))
    await world.later(TELL_FAILURE_SECONDS)
    assert world.status.boot_id == world.boot_id
    assert (world.status.addresses, world.status.observed_generation) == (None, None)


async def test_a_vip_does_not_wander_while_its_network_is_set_up_anew(world: World) -> None:
    world.links.add_device("eth1")
    world.links.default_devices[AddressFamily.IPV4] = "eth1"
    plan = director(service(member(100)), interface=None)
    await world.do(plan)
    assert world.bound() == {f"{VIP}@eth0"}
    subnet = next(one for one in world.links.addresses if one.prefix_length == 24)
    world.links.addresses.remove(subnet)
    await world.later(1)
    assert world.bound() == {f"{VIP}@eth0"}
    world.links.addresses.add(replace(subnet, device="eth1"))
    await world.later(1)
    assert world.bound() == {f"{VIP}@eth0", f"{VIP}@eth1"}
    await world.later(1)
    assert world.bound() == {f"{VIP}@eth1"}, "the subnet has moved for good"
    world.links.addresses.add(replace(subnet, device="eth0"))
    await world.later(1)
    assert world.bound() == {f"{VIP}@eth1"}


async def test_a_client_sticks_to_no_real_server_without_weight(world: World) -> None:
    expire = SysctlKey(("ipv4", "vs", "expire_quiescent_template"))
    sticky = PlannedPersistence(timeout_seconds=300, prefix_length=32)
    world.sysctls.values[expire] = 0
    await world.do(director(service(member(100))), rounds=2)
    assert world.sysctls.values[expire] == 0
    await world.do(director(service(member(100), persistence=sticky)))
    assert world.sysctls.values[expire] == 1
    await world.do(director(service(member(100))))
    assert world.sysctls.values[expire] == 0


async def test_a_vip_is_never_absent_while_it_moves_to_another_device(world: World) -> None:
    world.links.add_device("eth1")
    await world.do(director(service(member(100))))
    order = record_order(world)
    await world.do(director(service(member(100)), interface="eth1"), rounds=3)
    assert order == ["bind", "unbind"]
    assert world.bound() == {f"{VIP}@eth1"}
    assert world.announcer.sent[-1] == ("eth1", ip_address(VIP))


async def test_a_vip_stays_where_it_is_when_the_other_device_does_not_take_it(world: World) -> None:
    world.links.add_device("eth1")
    await world.do(director(service(member(100))))
    world.links.addresses.add(InterfaceAddress(device="eth1", address=ip_address(VIP), prefix_length=24))
    await world.do(director(service(member(100)), interface="eth1"), rounds=3)
    assert world.bound() == {f"{VIP}@eth0"}
    assert world.exception().reason == "AddressConflict"


async def test_a_vip_that_can_not_be_unbound_has_a_reason(world: World) -> None:
    await world.do(director(service(member(100))))
    apply = world.links.apply

    async def refuse(changes: Sequence[LinkChange]) -> tuple[LinkFailure, ...]:
        if changes:
            error = AddressRefused(f"unbind {VIP} on eth0: Device or resource busy")
            return tuple(LinkFailure(change=change, error=error) for change in changes)
        return await apply(changes)

    world.links.apply = refuse  # type: ignore[method-assign]  # in place of the fake's own
    await world.do(director(service(member(100)), holding=Holding.RELEASE), rounds=2)
    assert world.exception().reason == "KernelRefused"
    assert "busy" in (world.exception().message or "")
    world.links.apply = apply  # type: ignore[method-assign]  # in place of the fake's own
    await world.later(1)
    assert world.bound() == set()
    assert world.status.exceptions == []
