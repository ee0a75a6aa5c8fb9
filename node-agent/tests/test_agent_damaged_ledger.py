"""Rounds after the ledger was damaged, on the fake kernel."""

from collections.abc import Callable
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
    director,
    full_disk,
    member,
    other_service,
    real_server,
    service,
    service_on,
)
from cleaning import clean

from lvs_agent.decide.health_verdict import Verdict
from lvs_agent.decide.kernel_state import InterfaceAddress
from lvs_agent.errors import StateFileDamaged
from lvs_api.conditions import ConditionType
from lvs_core.plan import Holding

NOT_STORED = ConditionType.STATE_NOT_STORED


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "state")


def spoil(path: Path) -> None:
    path.write_text(path.read_text()[:-20])


def empty(path: Path) -> None:
    path.write_text("")


def newer(path: Path) -> None:
    head, _, rest = path.read_text().partition(" ")
    assert head == "1"
    path.write_text(f"2 {rest}")


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "in-the-way").touch()


DAMAGES = [(spoil, "checksum"), (empty, "checksum"), (newer, "format 2"), (directory, "Is a directory")]


@pytest.mark.parametrize(("damage", "why"), DAMAGES)
async def test_after_a_damaged_ledger_what_equals_the_plan_is_ours(
    world: World, damage: Callable[[Path], None], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    await world.do(director(service(checked(100), checked(101)), other_service(member(100))))
    world.health.find(100, Verdict.UP)
    await world.later(1)
    damage(world.directory / "ledger")
    before = world.writes()
    world.restart()
    await world.do(director(service(checked(100), checked(101))))
    assert world.writes() == before
    assert why in caplog.text
    reason, message = world.condition(NOT_STORED) or ("", "")
    assert reason == "StateDamaged"
    (aside,) = world.directory.glob("ledger.damaged.*")
    assert str(aside) in message
    assert world.metric("lvs_agent_state_failures_total", file="ledger") == 1
    assert set(world.ipvs.services) == {SERVICE, service_on(81)}, "what the plan no longer has is taken for another's"
    # It stays said until somebody took the copy away; meanwhile all goes on.
    world.health.find(100, Verdict.DOWN)
    world.restart()
    await world.do(director(service(checked(100))), rounds=2)
    assert (world.condition(NOT_STORED) or ("",))[0] == "StateDamaged"
    aside.rename(world.directory / "seen")
    await world.do(NO_PART)
    assert world.condition(NOT_STORED) is None
    assert (set(world.ipvs.services), world.bound()) == ({service_on(81)}, set())


async def test_a_damaged_ledger_on_a_full_disk_is_not_overwritten(world: World) -> None:
    await world.do(director(service(checked(100))))
    world.health.find(100, Verdict.UP)
    await world.later(1)
    spoil(world.directory / "ledger")
    with full_disk():
        world.restart()
        await world.do(director(service(checked(100), checked(101))))
        assert world.weights() == {"100": 1}
        reason, message = world.condition(NOT_STORED) or ("", "")
        assert (reason, "was damaged" in message) == ("StateNotWritten", True)
        world.health.find(100, Verdict.DOWN)
        await world.later(1)
        assert world.weights() == {"100": 0}
    await world.later(20)
    assert world.weights() == {"100": 0, "101": 0}
    assert len(list(world.directory.glob("ledger.damaged.*"))) == 1


async def test_the_copy_of_an_earlier_boot_says_nothing_of_this_one(world: World) -> None:
    await world.do(director(service(member(100))))
    spoil(world.directory / "ledger")
    world.restart()
    await world.do(director(service(member(100))))
    assert world.condition(NOT_STORED) is not None
    world.boot_id = "another"
    world.restart()
    await world.do(director(service(member(100))))
    assert world.condition(NOT_STORED) is None


async def test_a_relieved_director_lets_go_also_after_a_damaged_ledger(world: World) -> None:
    await world.do(director(service(member(100))))
    stranger = InterfaceAddress(device="eth0", address=ip_address("192.168.4.77"), prefix_length=32)
    world.links.addresses.add(stranger)
    spoil(world.directory / "ledger")
    world.restart()
    await world.do(director(service(member(100)), holding=Holding.RELEASE))
    assert world.bound() == {"192.168.4.77@eth0"}
    assert world.weights() == {"100": 1}


async def test_a_real_server_stays_silent_after_a_damaged_ledger(world: World) -> None:
    """What was there before the first write is forgotten, so nothing is given back."""
    await world.do(real_server(VIP))
    spoil(world.directory / "ledger")
    before = world.writes()
    world.restart()
    await world.do(real_server(VIP))
    assert world.writes() == before
    (address,) = world.status.addresses or ()
    assert address.state == "Bound"
    await world.do(NO_PART)
    assert world.bound() == set()
    assert (world.sysctls.values[ARP_IGNORE], world.sysctls.values[ARP_ANNOUNCE]) == (1, 2)
    _, message = world.condition(NOT_STORED) or ("", "")
    assert "sysctls keep their present values" in message


async def test_cleanup_without_a_ledger_that_can_be_read_does_nothing(world: World) -> None:
    await world.do(director(service(member(100))))
    (world.directory / "view").touch()
    spoil(world.directory / "ledger")
    with pytest.raises(StateFileDamaged):
        await clean(world)
    assert world.bound() == {f"{VIP}@eth0"}
    assert (world.directory / "view").exists()
