"""A real server gets weight on a fresh word that it carries the VIP, on the fake kernel."""

from ipaddress import ip_address
from pathlib import Path

import pytest
from agent_world import (
    ARP_IGNORE,
    SERVICE,
    VIP,
    World,
    check_target,
    destination,
    director,
    member,
    real_server,
    service,
    service_on,
)

from lvs_agent.decide import judged_table
from lvs_agent.decide.health_verdict import Verdict
from lvs_agent.decide.kernel_state import KernelLinks
from lvs_agent.decide.node_word import Carried
from lvs_agent.decide.stored_plan import provisional
from lvs_agent.errors import LinkError
from lvs_api.bind_device import BindDevice
from lvs_api.network_types import Family, ForwardingMethod, Protocol
from lvs_api.real_server_pool import OnFailure
from lvs_core.plan import MarkKey, NodePlan, PlannedMember, VirtualServerKey

SERVER = ip_address("192.168.4.100")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def node(number: int = 100, **changes: object) -> PlannedMember:
    """A checked cluster node under DirectRouting, prepared in its first boot."""
    settings = {"check": check_target(number), "node": f"node-{number}", "boot_id": "boot-1"} | changes
    return member(number, **settings)


UNPREPARED = director(service(node(prepared=False, boot_id=None)))
PREPARED = director(service(node()))


async def serving(world: World, plan: NodePlan = PREPARED) -> None:
    """A member that has joined: its node prepared itself, its check passes, and its agent has confirmed it."""
    await world.do(UNPREPARED)
    await world.do(plan)
    world.health.find(100, Verdict.UP)
    await world.later(1)
    if world.health.heard is not None:
        world.health.answer(100, VIP, heard=world.now + 0.1)
        await world.later(1)
    assert world.weights() == {"100": 1}


async def after_a_failed_check(world: World, plan: NodePlan = PREPARED) -> None:
    """The same member when its check has failed and passes again."""
    await serving(world, plan)
    world.health.find(100, Verdict.DOWN, "no answer in time")
    await world.later(1)
    world.health.find(100, Verdict.UP)
    await world.later(1)


async def test_a_joining_member_is_asked_too(world: World) -> None:
    """The slices may be old news: this director did not hear the API server for a while."""
    await world.do(UNPREPARED)
    await world.do(PREPARED)
    assert world.health.asked == frozenset()
    world.health.find(100, Verdict.UP)
    await world.later(1)
    assert (world.weights(), world.health.asked) == ({"100": 0}, {SERVER})
    world.health.answer(100, VIP, heard=world.now + 0.1)
    await world.later(1)
    assert (world.weights(), world.health.asked) == ({"100": 1}, frozenset())


async def test_after_a_failed_check_the_agent_is_asked(world: World) -> None:
    await after_a_failed_check(world)
    assert (world.weights(), world.health.asked) == ({"100": 0}, {SERVER})
    assert world.exception().reason == "NoMemberReady"
    assert f"rs100: its agent is being asked whether it carries {VIP}" in world.exception().message
    assert world.metric("lvs_agent_words_awaited") == 1
    world.health.answer(100, VIP, heard=world.now + 0.1)
    await world.later(1)
    assert (world.weights(), world.health.asked) == ({"100": 1}, frozenset())
    assert world.status.exceptions == []
    assert world.metric("lvs_agent_words_awaited") == 0


async def test_nobody_is_asked_while_the_check_fails(world: World) -> None:
    await serving(world)
    world.health.find(100, Verdict.DOWN, "no answer in time")
    await world.later(1)
    assert (world.weights(), world.health.asked) == ({"100": 0}, frozenset())


@pytest.mark.parametrize(
    ("vip", "device", "detail", "said"),
    [
        (None, BindDevice.LO, "Connection refused", "at 192.168.4.100:9462 does not confirm that it carries"),
        (None, BindDevice.LO, "", "it has not got it bound and silent on lo"),
        ("192.168.4.16", BindDevice.LO, "", "it has not got it bound and silent on lo"),
        (VIP, BindDevice.TUNL0, "", "it has not got it bound and silent on lo"),
    ],
    ids=["no agent", "nothing", "another VIP", "another device"],
)
async def test_without_the_right_word_it_waits(
    world: World, vip: str | None, device: BindDevice, detail: str, said: str
) -> None:
    await after_a_failed_check(world)
    world.health.answer(100, *([vip] if vip else []), heard=world.now + 0.1, device=device, detail=detail)
    await world.later(1)
    assert (world.weights(), world.health.asked) == ({"100": 0}, {SERVER})
    assert world.exception().reason == "NotConfirmed"
    assert said in world.exception().message
    world.health.answer(100, VIP, heard=world.now + 0.1)
    await world.later(1)
    assert world.weights() == {"100": 1}


@pytest.mark.parametrize("said", [PREPARED, director(service(node(boot_id="boot-2")))], ids=["again", "a new boot"])
async def test_prepared_said_anew_is_no_word(world: World, said: NodePlan) -> None:
    """It may have been said before the check failed, and be heard now that the API server answers again."""
    await after_a_failed_check(world)
    if said is PREPARED:
        await world.do(UNPREPARED)
        assert world.health.asked == frozenset()
    await world.do(said)
    assert (world.weights(), world.health.asked) == ({"100": 0}, {SERVER})


async def test_a_word_does_not_outrank_slices_that_say_unprepared(world: World) -> None:
    """The node may have been told to give the VIP up."""
    await after_a_failed_check(world)
    world.health.answer(100, VIP, heard=world.now + 0.1)
    await world.do(UNPREPARED)
    assert (world.weights(), world.health.asked) == ({"100": 0}, frozenset())


async def test_an_answer_from_before_the_question_is_not_fresh(world: World) -> None:
    """Another service's question, which still goes on, was answered when nobody asked for this one yet."""
    await after_a_failed_check(world)
    world.health.answer(100, VIP, heard=world.now - 5)
    await world.later(1)
    assert world.weights() == {"100": 0}
    assert "is being asked" in world.exception().message


async def test_one_word_serves_all_services_of_the_vip(world: World) -> None:
    key = VirtualServerKey(address=ip_address(VIP), port=81, protocol=Protocol.TCP)
    await world.do(director(service(node(prepared=False)), service(node(prepared=False), key=key)))
    await after_a_failed_check(world, director(service(node()), service(node(), key=key)))
    world.health.answer(100, VIP, heard=world.now + 0.1)
    await world.later(1)
    assert (world.weights(), world.weights(service_on(81))) == ({"100": 1}, {"100": 1})


async def test_a_failure_after_the_word_begins_anew(world: World) -> None:
    await after_a_failed_check(world)
    world.health.answer(100, VIP, heard=world.now + 0.1)
    await world.later(1)
    world.health.find(100, Verdict.DOWN, "Connection refused")
    await world.later(1)
    world.health.find(100, Verdict.UP)
    await world.later(1)
    assert (world.weights(), world.health.asked) == ({"100": 0}, {SERVER})


async def test_a_restarted_agent_believes_who_has_weight_and_asks_the_others(world: World) -> None:
    await serving(world)
    world.restart()
    await world.do(PREPARED, rounds=2)
    assert (world.weights(), world.health.asked) == ({"100": 1}, frozenset())
    world.health.find(100, Verdict.DOWN, "no answer in time")
    await world.later(1)
    world.restart()
    await world.do(PREPARED)
    world.health.find(100, Verdict.UP)
    await world.later(1)
    assert (world.weights(), world.health.asked) == ({"100": 0}, {SERVER})


async def test_a_director_that_boots_asks_before_it_believes_its_stored_view(world: World) -> None:
    await world.do(PREPARED)
    world.health.find(100, Verdict.UP)
    await world.later(1)
    assert (world.weights(), world.health.asked) == ({"100": 0}, {SERVER})


async def test_a_stored_view_from_before_it_was_prepared_is_no_reason_to_doubt(world: World) -> None:
    """The agent ended before it acted on that view: the weight was never taken, and the API server knows better."""
    await serving(world)
    world.restart()
    await world.do(provisional(UNPREPARED))
    await world.do(PREPARED)
    assert (world.weights(), world.health.asked) == ({"100": 1}, frozenset())


async def test_an_unchecked_member_is_asked_once(world: World) -> None:
    plan = director(service(node(check=None)))
    await world.do(plan)
    assert (world.weights(), world.health.asked) == ({"100": 0}, {SERVER})
    world.health.answer(100, VIP, heard=world.now + 0.1)
    await world.later(1)
    assert (world.weights(), world.health.asked) == ({"100": 1}, frozenset())


async def test_what_another_hand_changed_is_repaired_without_asking(world: World) -> None:
    await serving(world)
    del world.ipvs.services[SERVICE]
    await world.later(1)
    assert (world.weights(), world.health.asked) == ({"100": 1}, frozenset())


async def test_a_removed_member_comes_back_without_weight_until_the_word(world: World) -> None:
    await after_a_failed_check(world, director(service(node(), on_failure=OnFailure.REMOVE)))
    assert world.weights() == {"100": 0}
    world.health.answer(100, VIP, heard=world.now + 0.1)
    await world.later(1)
    assert world.weights() == {"100": 1}


async def test_an_edit_of_the_method_to_one_that_needs_the_vip_asks_nobody(world: World) -> None:
    """The member takes connections all the time, and the slices change the method only when its node is prepared."""
    await world.do(director(service(node(method=ForwardingMethod.MASQUERADE, boot_id=None))))
    world.health.find(100, Verdict.UP)
    await world.later(1)
    assert world.weights() == {"100": 1}
    await world.do(PREPARED)
    assert (world.weights(), world.health.asked) == ({"100": 1}, frozenset())


@pytest.mark.parametrize(
    "plan",
    [
        director(service(node(node=None, boot_id=None))),
        director(service(node(method=ForwardingMethod.MASQUERADE, boot_id=None))),
    ],
    ids=["a plain machine", "Masquerade"],
)
async def test_who_needs_no_word_is_not_asked(world: World, plan: NodePlan) -> None:
    await world.do(plan)
    for verdict in (Verdict.UP, Verdict.DOWN, Verdict.UP):
        world.health.find(100, verdict)
        await world.later(1)
    assert (world.weights(), world.health.asked) == ({"100": 1}, frozenset())


async def test_where_nobody_is_asked_prepared_is_believed(world: World) -> None:
    world.health.heard = None
    await after_a_failed_check(world)
    assert world.weights() == {"100": 1}


async def test_who_vanished_stands_in_until_the_new_member_has_been_asked(world: World) -> None:
    await serving(world)
    world.ipvs.set_connections(SERVICE, destination(100), active=1)
    await world.do(director(service(node(101))))
    assert world.weights() == {"100": 1, "101": 0}
    world.health.find(101, Verdict.UP)
    await world.later(1)
    assert (world.weights(), world.health.asked) == ({"100": 1, "101": 0}, {ip_address("192.168.4.101")})
    await world.later(2)
    assert world.weights() == {"100": 1, "101": 0}
    await world.later(1)
    assert world.weights() == {"100": 0, "101": 0}
    world.health.answer(101, VIP, heard=world.now + 0.1)
    await world.later(1)
    assert world.weights() == {"100": 0, "101": 1}


async def test_a_paused_service_asks_nobody(world: World) -> None:
    await after_a_failed_check(world)
    await world.do(director(service(node(), paused=True)))
    assert (world.weights(), world.health.asked) == ({"100": 0}, frozenset())


async def test_who_failed_during_a_pause_is_asked_before_it_ends(world: World) -> None:
    """It kept its weight then, and is not to lose it at the end for as long as a question takes."""
    await serving(world)
    await world.do(director(service(node(), paused=True)))
    for verdict in (Verdict.DOWN, Verdict.UP):
        world.health.find(100, verdict)
        await world.later(1)
    assert (world.weights(), world.health.asked) == ({"100": 1}, {SERVER})
    world.health.answer(100, VIP, heard=world.now + 0.1)
    await world.later(1)
    await world.do(PREPARED)
    assert (world.weights(), world.health.asked) == ({"100": 1}, frozenset())


async def test_a_round_that_waits_for_a_word_writes_nothing(world: World) -> None:
    await after_a_failed_check(world)
    world.ipvs.set_connections(SERVICE, destination(100), active=5)
    before = world.writes()
    for _ in range(3):
        world.health.answer(100, heard=world.now + 0.1, detail="Connection refused")
        await world.later(1)
    assert world.writes() == before


async def test_an_agent_that_says_the_same_again_takes_no_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not confirm is asked once a second, for ever perhaps, beside thousands of real servers."""
    await after_a_failed_check(world)
    decided: list[float] = []
    decide = judged_table.desire
    monkeypatch.setattr(judged_table, "desire", lambda *given: decided.append(world.now) or decide(*given))
    for _ in range(5):
        world.health.answer(100, heard=world.now + 0.1, detail="Connection refused")
        await world.later(1)
    assert len(set(decided)) == 1
    assert "Connection refused" in world.exception().message
    world.health.answer(100, heard=world.now + 0.1, detail="no answer in time")
    await world.later(1)
    assert "no answer in time" in world.exception().message
    world.health.answer(100, VIP, heard=world.now + 0.1)
    await world.later(1)
    assert world.weights() == {"100": 1}


async def test_the_word_of_a_real_server_is_what_its_kernel_holds(world: World) -> None:
    assert world.agent.word() is None
    await world.do(real_server(VIP))
    word = world.agent.word()
    assert word is not None
    assert (word.boot_id, word.carried) == ("boot-1", {Carried(ip_address(VIP), BindDevice.LO)})
    del world.sysctls.values[ARP_IGNORE]
    await world.later(1)
    word = world.agent.word()
    assert word is not None
    assert word.carried == frozenset()


async def test_after_a_failed_round_there_is_no_word(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.do(real_server(VIP))

    async def refuse(*, fresh: bool = False) -> KernelLinks:
        raise LinkError(f"no answer (fresh={fresh})")

    with monkeypatch.context() as patch:
        patch.setattr(world.links, "read", refuse)
        await world.later(1)
        assert world.agent.word() is None
    await world.later(1)
    assert world.agent.word() is not None


@pytest.mark.parametrize("after", ["another port", "a mark"])
async def test_who_is_believed_is_so_in_a_new_kernel_service_of_the_same_address(world: World, after: str) -> None:
    """An edit of a service's ports is no reason to doubt what its real servers carry; its check is the same."""
    await serving(world)
    key = VirtualServerKey(address=ip_address(VIP), port=81, protocol=Protocol.TCP)
    changed = service(node(port=81), key=key)
    if after == "a mark":
        changed = service(node(port=0), key=MarkKey(mark=10, family=Family.IPV4), vip=ip_address(VIP))
    await world.do(director(changed))
    assert [s.settings.weight for one in world.ipvs.services.values() for s in one.destinations.values()] == [1]
    assert world.health.asked == frozenset()


async def test_who_is_doubted_is_so_in_a_new_kernel_service_too(world: World) -> None:
    await after_a_failed_check(world)
    marked = service(node(port=0), key=MarkKey(mark=10, family=Family.IPV4), vip=ip_address(VIP))
    await world.do(director(marked))
    assert [s.settings.weight for one in world.ipvs.services.values() for s in one.destinations.values()] == [0]
    assert world.health.asked == {SERVER}


async def test_who_is_believed_for_one_address_is_asked_for_another(world: World) -> None:
    await serving(world)
    other = VirtualServerKey(address=ip_address("192.168.4.16"), port=80, protocol=Protocol.TCP)
    await world.do(director(service(node()), service(node(), key=other)))
    assert world.health.asked == {SERVER}
