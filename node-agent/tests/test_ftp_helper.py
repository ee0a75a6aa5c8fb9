"""The kernel's FTP helper: what is asked of it, and what is said where it is not there."""

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from agent_world import SERVICE, VIP, World, director, member, service

from lvs_agent.decide.kernel_state import FirewallMarkKey
from lvs_agent.errors import IpvsReadFailed, IpvsUnavailable
from lvs_agent.kernel.fake_ftp_helper import FakeFtpHelper
from lvs_agent.kernel.fake_ipvs import FakeIpvsTable
from lvs_agent.kernel.ftp_helper import ModuleFtpHelper
from lvs_agent.kernel.ftp_helper_contract import complaint
from lvs_api.conditions import Reason
from lvs_api.network_types import ForwardingMethod, Protocol
from lvs_core.plan import NodePlan, PlannedService, VirtualServerKey

APPLICATIONS = """\
prot port    usecnt name
TCP  21      0      ftp
TCP  2121    3      ftp
TCP  5060    0      other
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def ftp(*ports: int, **changes: Any) -> PlannedService:
    key = VirtualServerKey(address=ip_address(VIP), port=ports[0], protocol=Protocol.TCP)
    masqueraded = member(100, port=ports[0], method=ForwardingMethod.MASQUERADE)
    return service(masqueraded, key=key, port_name="ftp", ftp_ports=ports, **changes)


def web() -> PlannedService:
    return service(member(100, method=ForwardingMethod.MASQUERADE))


def said(world: World) -> tuple[str, bool]:
    return world.exception().reason, world.exception().programmed


async def carried_out(world: World, plan: NodePlan) -> None:
    await world.do(plan, rounds=2)


def test_the_fake_keeps_the_contract() -> None:
    assert complaint(FakeFtpHelper()) is None


def test_ports_are_read_from_the_kernels_list(tmp_path: Path) -> None:
    listed = tmp_path / "ip_vs_app"
    helper = ModuleFtpHelper(FakeIpvsTable(), listed)
    assert helper.ports() == frozenset()
    listed.write_text("prot port    usecnt name\n")
    assert helper.ports() == frozenset()
    listed.write_text(APPLICATIONS)
    assert helper.ports() == {21, 2121}
    with pytest.raises(IpvsReadFailed):
        ModuleFtpHelper(FakeIpvsTable(), tmp_path).ports()


def test_loading_leaves_no_service() -> None:
    """Also where a kernel has a scheduler of that name, which none has."""
    for schedulers in (frozenset({"rr"}), frozenset({"rr", "ftp"})):
        table = FakeIpvsTable(schedulers=schedulers)
        ModuleFtpHelper(table).load()
        assert table.services == {}
    with pytest.raises(IpvsUnavailable):
        ModuleFtpHelper(FakeIpvsTable(available=False)).load()


async def test_it_is_loaded_once_before_the_service_is_made(world: World) -> None:
    seen: list[bool] = []
    apply = world.ipvs.apply

    def noting(changes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 -- as the seam
        seen.append(world.ftp_helper.loaded)
        return apply(changes)

    world.ipvs.apply = noting  # type: ignore[method-assign]  # in place of the fake's own
    await carried_out(world, director(ftp(21)))
    assert seen
    assert all(seen)
    assert world.ftp_helper.loads == 1
    assert world.status.exceptions == []


async def test_nobody_asks_for_it_where_no_service_needs_it(world: World) -> None:
    await carried_out(world, director(web()))
    assert (world.ftp_helper.reads, world.ftp_helper.loads) == (0, 0)


async def test_without_it_the_service_says_so_and_the_others_go_on(world: World) -> None:
    world.ftp_helper.module = None
    await carried_out(world, director(ftp(21), web()))
    assert SERVICE in world.ipvs.services
    assert world.bound() == {f"{VIP}@eth0"}
    assert said(world) == (Reason.HELPER_UNAVAILABLE, False)
    assert "modprobe ip_vs_ftp" in world.exception().message


async def test_loading_is_tried_again_less_and_less_often(world: World) -> None:
    world.ftp_helper.module = None
    await world.do(director(ftp(21)))
    for _ in range(600):
        await world.later(1)
    assert 10 < world.ftp_helper.loads < 20
    world.ftp_helper.module = frozenset({21})
    await world.later(60)
    assert world.status.exceptions == []


async def test_a_helper_loaded_for_other_ports_is_named(world: World) -> None:
    await carried_out(world, director(ftp(2121)))
    assert said(world) == (Reason.HELPER_UNAVAILABLE, False)
    assert "follows port 21 here and not 2121" in world.exception().message
    assert "ports=21,2121" in world.exception().message
    assert world.ftp_helper.loads == 1
    world.ftp_helper.module = frozenset({21, 2121})
    await world.later(1)
    assert world.status.exceptions == []


async def test_a_helper_that_somebody_unloads_is_loaded_again(world: World) -> None:
    await carried_out(world, director(ftp(21)))
    world.ftp_helper.loaded = False
    await world.later(1)
    assert world.ftp_helper.loaded
    assert world.status.exceptions == []


async def test_a_paused_service_asks_for_nothing(world: World) -> None:
    await carried_out(world, director(ftp(21, paused=True)))
    assert world.ftp_helper.loads == 0


async def test_without_ipvs_that_alone_is_said(world: World) -> None:
    world.ipvs.available = False
    world.ftp_helper.module = None
    await carried_out(world, director(ftp(21)))
    assert said(world) == (Reason.IPVS_UNAVAILABLE, False)


async def test_the_asking_is_for_a_mark_that_no_service_of_the_plan_has(world: World) -> None:
    asked: list[object] = []
    apply = world.ipvs.apply

    def noting(changes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 -- as the seam
        asked.extend(change.service for change in changes)
        return apply(changes)

    world.ipvs.apply = noting  # type: ignore[method-assign]  # in place of the fake's own
    ModuleFtpHelper(world.ipvs).load()
    (key,) = asked
    assert isinstance(key, FirewallMarkKey)
    assert key.mark == 2**32 - 1
