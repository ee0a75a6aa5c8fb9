"""Local delivery by marks: the decision and its order in the loop, and the real kernel's rules and routes."""

import errno
import socket
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from agent_world import NAME, NO_PART, World, director, member, service
from cleaning import clean
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]  # pyroute2 has no types
from seam_work import with_seam

from lvs_agent.decide.kernel_state import AddressFamily, FirewallMarkKey, LocalDelivery
from lvs_agent.errors import LinkError
from lvs_agent.kernel.delivery_contract import complaint
from lvs_agent.kernel.delivery_routes import TABLE, KernelDeliveryRoutes
from lvs_agent.kernel.fake_delivery_routes import FakeDeliveryRoutes
from lvs_agent.kernel.testing import NetworkNamespace
from lvs_api.conditions import Reason
from lvs_api.network_types import Family
from lvs_core.plan import MarkKey, PlannedService

Result = TypeVar("Result")
TEN = FirewallMarkKey(family=AddressFamily.IPV4, mark=10)
TEN6 = FirewallMarkKey(family=AddressFamily.IPV6, mark=10)
NOTHING = LocalDelivery()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def caches(*, delivered: bool = True, **changes: Any) -> PlannedService:
    key = MarkKey(mark=10, family=Family.IPV4)
    return service(member(100, port=0), key=key, port_name=None, delivered=delivered, **changes)


async def test_packets_are_taken_once_there_is_a_service_for_them(world: World) -> None:
    replace = world.delivery.replace

    async def after_the_table(marks: Any) -> None:
        assert set(marks) <= world.ipvs.services.keys()
        await replace(marks)

    world.delivery.replace = after_the_table  # type: ignore[method-assign]  # in place of the fake's own
    await world.do(director(caches()), rounds=3)
    assert world.delivery.present == LocalDelivery.of({TEN})
    assert world.delivery.writes == 1
    assert world.metric("lvs_agent_kernel_writes_total", kind="rule") == 1
    assert world.metric("lvs_agent_repairs_total", kind="rule") == 0


async def test_a_service_that_the_kernel_does_not_take_gets_no_packets(world: World) -> None:
    world.ipvs.schedulers = frozenset()
    await world.do(director(caches()))
    assert world.delivery.present == NOTHING


async def test_it_ends_before_the_service_goes(world: World) -> None:
    await world.do(director(caches()))
    seen: list[LocalDelivery] = []
    apply = world.ipvs.apply

    def noting(changes: Any) -> Any:
        seen.append(world.delivery.present)
        return apply(changes)

    world.ipvs.apply = noting  # type: ignore[method-assign]  # in place of the fake's own
    await world.do(NO_PART)
    assert seen == [NOTHING]
    reads = world.delivery.reads
    await world.later(1)
    assert world.delivery.reads == reads


async def test_where_no_service_asks_for_it_nothing_is_written(world: World) -> None:
    await world.do(director(caches(delivered=False)), rounds=2)
    assert (world.delivery.present, world.delivery.writes) == (NOTHING, 0)


async def test_a_restarted_agent_takes_back_what_is_not_wanted_any_more(world: World) -> None:
    await world.do(director(caches()))
    world.restart()
    await world.do(director(caches(delivered=False)))
    assert world.delivery.present == NOTHING


@pytest.mark.parametrize(
    "spoilt",
    [NOTHING, LocalDelivery(rules=frozenset({TEN})), LocalDelivery.of({TEN, TEN6})],
    ids=["gone", "no route", "one more"],
)
async def test_what_others_change_is_put_right(world: World, spoilt: LocalDelivery) -> None:
    await world.do(director(caches()))
    world.delivery.present = spoilt
    await world.later(1)
    assert world.delivery.present == LocalDelivery.of({TEN})
    assert world.metric("lvs_agent_repairs_total", kind="rule") == 1


@pytest.mark.parametrize(("before", "after"), [(True, False), (False, True)])
async def test_a_paused_service_stays_as_it_is(world: World, before: bool, after: bool) -> None:
    await world.do(director(caches(delivered=before)))
    found = world.delivery.present
    await world.do(director(caches(delivered=after, paused=True)), rounds=2)
    assert world.delivery.present == found
    await world.do(director(caches(delivered=after)))
    assert world.delivery.present == (LocalDelivery.of({TEN}) if after else NOTHING)


async def test_while_a_service_is_unknown_nothing_is_taken_back(world: World) -> None:
    await world.do(director(caches()))
    await world.do(director(incomplete=(NAME,)))
    assert world.delivery.present == LocalDelivery.of({TEN})
    await world.do(director())
    assert world.delivery.present == NOTHING


async def test_a_kernel_without_policy_routing_is_said(world: World) -> None:
    world.delivery.refuses = True
    await world.do(director(caches()))
    assert (world.exception().reason, world.exception().programmed) == (Reason.NOT_DELIVERED, False)
    assert "Operation not supported" in world.exception().message
    world.delivery.refuses = False
    await world.later(2)
    assert world.delivery.present == LocalDelivery.of({TEN})
    assert world.status.exceptions == []


async def test_cleanup_takes_it_away(world: World) -> None:
    await world.do(director(caches()))
    problems = await clean(world)
    assert problems == ()
    assert world.delivery.present == NOTHING


async def test_the_fake_keeps_the_contract() -> None:
    assert await complaint(FakeDeliveryRoutes()) is None


def with_routes(namespace: NetworkNamespace, work: Callable[[KernelDeliveryRoutes], Awaitable[Result]]) -> Result:
    return with_seam(namespace, KernelDeliveryRoutes, work)


@pytest.fixture
def machine(namespace: NetworkNamespace) -> NetworkNamespace:
    namespace.ip("link", "set", "lo", "up")
    return namespace


def test_the_kernel_keeps_the_contract(machine: NetworkNamespace) -> None:
    before = [machine.ip(family, "rule", "show") for family in ("-4", "-6")]
    assert with_routes(machine, complaint) is None
    assert [machine.ip(family, "rule", "show") for family in ("-4", "-6")] == before


@pytest.mark.parametrize(("key", "address"), [(TEN, "203.0.113.7"), (TEN6, "2001:db8:113::7")])
def test_every_address_is_local_for_the_mark_alone(
    machine: NetworkNamespace, key: FirewallMarkKey, address: str
) -> None:
    with_routes(machine, lambda routes: routes.replace({key}))
    family = "-4" if key.family is AddressFamily.IPV4 else "-6"
    found = machine.ip(family, "route", "get", address, "mark", "10")
    assert found.startswith("local ")
    assert f"table {TABLE}" in found
    with pytest.raises(subprocess.CalledProcessError):
        machine.ip(family, "route", "get", address, "mark", "11")


class WithoutIpv6(KernelDeliveryRoutes):
    """On a kernel that was started with ipv6.disable=1, as far as its answers differ (fib_nl_dumprule)."""

    def _ip(self) -> Any:
        there = super()._ip()

        class Without:
            route = there.route

            async def rule(self, verb: str, **request: Any) -> Any:
                if request["family"] == socket.AF_INET6:
                    raise NetlinkError(errno.EAFNOSUPPORT)
                return await there.rule(verb, **request)

        return Without()


def test_a_kernel_without_ipv6_delivers_ipv4(machine: NetworkNamespace) -> None:
    async def work(_: KernelDeliveryRoutes) -> None:
        routes = WithoutIpv6()
        try:
            assert await routes.read() == NOTHING
            await routes.replace({TEN})
            assert await routes.read() == LocalDelivery.of({TEN})
            with pytest.raises(LinkError, match="mark 10 IPv6"):
                await routes.replace({TEN, TEN6})
            await routes.replace(())
            assert await routes.read() == NOTHING
        finally:
            await routes.close()

    with_routes(machine, work)


def test_rules_of_others_are_not_seen_and_stay(machine: NetworkNamespace) -> None:
    machine.ip("rule", "add", "fwmark", "10", "lookup", "100")
    machine.ip("rule", "add", "fwmark", "12", "lookup", str(TABLE))
    machine.ip("route", "add", "local", "default", "dev", "lo", "table", "100")
    others = machine.ip("rule", "show")
    assert with_routes(machine, lambda routes: routes.read()) == NOTHING
    with_routes(machine, lambda routes: routes.replace({TEN}))
    assert machine.ip("rule", "show") != others
    with_routes(machine, lambda routes: routes.replace(()))
    assert machine.ip("rule", "show") == others
