"""Addresses that a VRRP daemon left on a director where nobody starts it again."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from agent_world import VIP, director, member, service
from vrrp_world import BACKUP, FAULT, MASTER, SECOND_VIP, VrrpWorld, on_link, second_service, vrrp_plan

from lvs_agent.converge.left_addresses import ABANDONED_SECONDS, AGAIN_SECONDS, LOOK_SECONDS
from lvs_agent.decide.kernel_state import AddressBinding
from lvs_agent.decide.stored_plan import provisional
from lvs_agent.kernel.vrrp_sockets import vrrp_is_spoken
from lvs_api.conditions import ConditionType
from lvs_core.plan import NodePlan, OtherDirector, PlannedService

OTHER = "192.168.4.6"
THEIRS, SERVER, STRANGER, NETWORK = b"\x0b" * 6, b"\x0c" * 6, b"\x0a" * 6, b"\x0d" * 6
LEFT = {f"{VIP}@eth0"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[VrrpWorld]:
    with on_link(tmp_path, {OTHER: THEIRS, "192.168.4.100": SERVER}) as made:
        yield made


def plan(*services: PlannedService, others: bool = True) -> NodePlan:
    """A director of two, or the only one."""
    made = vrrp_plan(*services)
    (group,) = made.directing
    two = (OtherDirector("two", (ip_address(OTHER),)),) if others else ()
    return replace(made, directing=(replace(group, others=two, ignored_answers=frozenset({NETWORK})),))


def apart(made: NodePlan) -> NodePlan:
    """Each address in a virtual router of its own."""
    (group,) = made.directing
    assert group.vrrp is not None
    (router,) = group.vrrp.routers
    routers = tuple(
        replace(router, id=router.id + index, addresses=(one,)) for index, one in enumerate(router.addresses)
    )
    return replace(made, directing=(replace(group, vrrp=replace(group.vrrp, routers=routers)),))


def answer(world: VrrpWorld, *macs: bytes, address: str = VIP) -> None:
    """From now on exactly these answer."""
    world.probe.neighbours["eth0", ip_address(address)] = set(macs)


def asked(world: VrrpWorld, address: str = VIP) -> bool:
    return any(ip_address(address) in addresses for _, addresses in world.probe.asked)


async def be_left(world: VrrpWorld, given: NodePlan, *more: str) -> None:
    """The daemon carries the addresses, and is killed with its supervisor."""
    await world.do(given)
    world.say(MASTER)
    for address in more:
        world.carry(address)
    assert world.supervisor is not None
    bindings = [AddressBinding(address=ip_address(one), device="eth0") for one in (VIP, *more)]
    world.supervisor.write_bound(frozenset(bindings))
    await world.later(1)
    world.lose_supervisor()
    world.probe.asked.clear()
    await world.later(0)


async def wait(world: VrrpWorld) -> None:
    """Long enough for everything that could happen."""
    for _ in range(12):
        await world.later(1)


def trouble(world: VrrpWorld) -> str:
    found = world.condition(ConditionType.FAILOVER_IMPAIRED)
    assert found is not None
    assert found[0] == "VrrpDown"
    return found[1]


async def test_another_director_has_it_so_it_goes(world: VrrpWorld) -> None:
    await be_left(world, plan())
    answer(world, THEIRS)
    await world.later(ABANDONED_SECONDS - 0.1)
    assert (world.bound(), asked(world)) == (LEFT, False)
    await world.later(0.2)
    assert (world.bound(), asked(world)) == (LEFT, True)
    await world.later(AGAIN_SECONDS)
    assert (world.bound(), world.holds, world.vrrp.read_bound()) == (set(), False, frozenset())
    await world.later(AGAIN_SECONDS)
    assert trouble(world).endswith(f"; taken off, for another director has it: {VIP} on eth0")
    writes = world.writes()
    await wait(world)
    assert world.writes() == writes
    world.say(BACKUP)
    await world.later(1)
    assert world.condition(ConditionType.FAILOVER_IMPAIRED) is None
    world.lose_supervisor()
    await wait(world)
    assert "taken off" not in trouble(world)


async def test_one_answer_may_be_from_who_lets_go_just_then(world: VrrpWorld) -> None:
    await be_left(world, plan())
    answer(world, THEIRS)
    await world.later(ABANDONED_SECONDS)
    assert asked(world)
    answer(world)
    await world.later(AGAIN_SECONDS)
    answer(world, THEIRS)
    await world.later(LOOK_SECONDS)
    assert world.bound() == LEFT


@pytest.mark.parametrize("macs", [(), (SERVER,), (STRANGER,), (NETWORK,)])
async def test_it_stays_where_no_other_director_has_it(world: VrrpWorld, macs: tuple[bytes, ...]) -> None:
    await be_left(world, plan())
    answer(world, *macs)
    await wait(world)
    assert (world.bound(), asked(world)) == (LEFT, True)
    assert trouble(world).endswith(f"; still on this node: {VIP} on eth0")
    answer(world, THEIRS)
    await wait(world)
    assert world.bound() == set()


async def test_the_network_is_no_director_whatever_it_answers(world: VrrpWorld) -> None:
    await be_left(world, plan())
    world.probe.neighbours["eth0", ip_address(OTHER)] = {NETWORK}
    answer(world, NETWORK)
    await wait(world)
    assert world.bound() == LEFT


async def test_a_supervisor_that_is_started_again_has_its_time(world: VrrpWorld) -> None:
    await be_left(world, plan())
    answer(world, THEIRS)
    for _ in range(3):
        await world.later(ABANDONED_SECONDS - 1)
        world.supervise()
        await world.later(0.5)
        world.lose_supervisor()
    await world.later(ABANDONED_SECONDS - 1)
    assert (world.bound(), asked(world)) == (LEFT, False)


async def test_a_daemon_that_lives_without_its_supervisor_carries_on(world: VrrpWorld) -> None:
    await be_left(world, plan())
    answer(world, THEIRS)
    world.vrrp_is_spoken = True
    await wait(world)
    assert (world.bound(), asked(world)) == (LEFT, False)
    world.vrrp_is_spoken = False
    await wait(world)
    assert world.bound() == set()


@pytest.mark.parametrize("given", [plan(others=False), provisional(plan())])
async def test_alone_or_without_a_view_nothing_goes(world: VrrpWorld, given: NodePlan) -> None:
    await be_left(world, plan())
    answer(world, THEIRS)
    world.source.plan = given
    await wait(world)
    assert (world.bound(), asked(world)) == (LEFT, False)


async def test_a_new_agent_counts_anew(world: VrrpWorld) -> None:
    await be_left(world, plan())
    answer(world, THEIRS)
    await world.later(ABANDONED_SECONDS - 1)
    world.restart()
    await world.do(plan())
    await world.later(ABANDONED_SECONDS - 1)
    assert (world.bound(), asked(world)) == (LEFT, False)
    await wait(world)
    assert world.bound() == set()


async def test_all_addresses_of_a_virtual_router_go_together_and_no_others(world: VrrpWorld) -> None:
    services = service(member(100)), second_service()
    await be_left(world, plan(*services), SECOND_VIP)
    answer(world, THEIRS)
    await wait(world)
    assert world.bound() == set()


async def test_the_addresses_of_another_virtual_router_stay(world: VrrpWorld) -> None:
    services = service(member(100)), second_service()
    await be_left(world, apart(plan(*services)), SECOND_VIP)
    answer(world, THEIRS)
    await wait(world)
    assert world.bound() == {f"{SECOND_VIP}@eth0"}
    said = trouble(world)
    assert f"has it: {VIP} on eth0; still on this node: {SECOND_VIP} on eth0" in said


async def test_what_the_agent_bound_itself_is_not_the_daemons(world: VrrpWorld) -> None:
    await world.do(director(service(member(100))), rounds=2)
    assert world.bound() == LEFT
    await world.do(plan())
    world.say(FAULT)
    world.carry(VIP)
    assert world.supervisor is not None
    world.supervisor.write_bound(frozenset({AddressBinding(address=ip_address(VIP), device="eth0")}))
    world.lose_supervisor()
    assert {str(one.address) for one in world.ledger.ledger.bindings} == {VIP}
    answer(world, THEIRS)
    await wait(world)
    assert world.bound() == LEFT


async def test_a_supervisor_that_begins_in_the_last_moment_sees_to_it_itself(tmp_path: Path) -> None:
    class Racing(VrrpWorld):
        @property
        def vrrp_is_spoken(self) -> bool:  # type: ignore[override]  # asked after it was looked for a supervisor
            if sum(ip_address(VIP) in addresses for _, addresses in self.probe.asked) > 1:
                self.supervise()
            return False

        @vrrp_is_spoken.setter
        def vrrp_is_spoken(self, value: bool) -> None:
            assert not value

    world = Racing(tmp_path)
    world.probe.neighbours["eth0", ip_address(OTHER)] = {THEIRS}
    await be_left(world, plan())
    answer(world, THEIRS)
    await world.later(ABANDONED_SECONDS)
    await world.later(AGAIN_SECONDS)
    assert world.supervisor is not None
    assert world.bound() == LEFT
    world.lose_supervisor()


# --- the kernel's list of sockets --------------------------------------------------------------------------------

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref\n"
ICMP = "   1: 00000000:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 14310 2\n"
VRRP = " 125: 0504A8C0:0070 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 92775 2\n"
VRRP6 = f"  125: {'0' * 32}:0070 {'0' * 32}:0000 07 00000000:00000000 00:00000000 00000000     0        0 92779 2\n"


@pytest.mark.parametrize(
    ("four", "six", "expected"),
    [(HEAD, HEAD, False), (HEAD + ICMP, HEAD, False), (HEAD + ICMP + VRRP, HEAD, True), (HEAD, HEAD + VRRP6, True)],
)
def test_a_socket_of_vrrp_is_found(tmp_path: Path, four: str, six: str, expected: bool) -> None:
    lists = (tmp_path / "raw", tmp_path / "raw6")
    for path, text in zip(lists, (four, six), strict=True):
        path.write_text(text)
    assert vrrp_is_spoken(lists) is expected
    assert vrrp_is_spoken((*lists, tmp_path / "not there")) is expected


def test_what_can_not_be_read_may_be_one(tmp_path: Path) -> None:
    assert vrrp_is_spoken((tmp_path,))
