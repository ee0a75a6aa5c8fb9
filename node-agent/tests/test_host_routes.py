"""Host routes for connections of a former method: the decision, the keeper in the loop, the real kernel."""

from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import pytest
from agent_world import SERVICE, World, director, member, service
from cleaning import clean
from seam_work import with_seam

from lvs_agent.converge.routes import RouteKeeper
from lvs_agent.decide.kernel_state import HostRoute, RouteKind
from lvs_agent.errors import AddressRefused, DeviceNotFound
from lvs_agent.kernel.fake_links import FakeHostRoutes
from lvs_agent.kernel.host_routes import KernelHostRoutes
from lvs_agent.kernel.links import KernelLinksSeam
from lvs_agent.kernel.testing import NetworkNamespace
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.network_types import ForwardingMethod
from lvs_core.plan import FormerMethod

Result = TypeVar("Result")

WAS_DIRECT = FormerMethod(method=ForwardingMethod.DIRECT_ROUTING, timeout_seconds=60)
ROUTE = HostRoute(address=ip_address("192.168.4.100"), device="eth0")
DIRECT = director(service(member(100), member(101)))
NOW_TUNNEL = director(service(member(100, method=ForwardingMethod.TUNNEL, former=WAS_DIRECT), member(101)))
TUNNEL = director(service(member(100, method=ForwardingMethod.TUNNEL), member(101)))


async def test_the_route_is_there_before_the_method_changes(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(DIRECT)
    assert not world.host_routes.routes
    apply = world.ipvs.apply

    def with_route(changes: Any) -> Any:
        assert world.host_routes.routes == {ROUTE}
        return apply(changes)

    world.ipvs.apply = with_route  # type: ignore[method-assign]  # in place of the fake's own
    before = world.ipvs.writes
    await world.do(NOW_TUNNEL)
    assert world.ipvs.writes == before + 1


async def test_the_route_goes_with_the_last_connection_and_idle_rounds_write_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(NOW_TUNNEL, rounds=3)
    assert world.host_routes.writes == 1
    await world.do(TUNNEL, rounds=3)
    assert not world.host_routes.routes
    assert world.host_routes.writes == 2


async def test_a_route_that_somebody_removed_comes_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.agent._links.watch(world.agent._links_changed)
    await world.do(NOW_TUNNEL)
    world.host_routes.routes.clear()
    world.links.add_device("eth1")
    await world.do(NOW_TUNNEL)
    assert world.host_routes.routes == {ROUTE}


class ChangingRoutes(FakeHostRoutes):
    """Somebody takes the routes away once they have been read, before the answer is there."""

    keeper: RouteKeeper

    async def read(self) -> frozenset[HostRoute]:
        found = await super().read()
        if found:
            self.routes.clear()
            self.keeper.doubt()
        return found


async def test_a_route_that_goes_while_they_are_read_comes_back() -> None:
    routes = ChangingRoutes(routes={ROUTE})
    routes.keeper = RouteKeeper(routes, AgentMetrics())
    await routes.keeper.take_on({ROUTE})
    assert not routes.routes
    await routes.keeper.take_on({ROUTE})
    assert routes.routes == {ROUTE}


async def test_a_restarted_agent_knows_its_routes(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(NOW_TUNNEL)
    world.restart()
    await world.do(TUNNEL)
    assert not world.host_routes.routes


async def test_a_foreign_route_stays_and_the_edit_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(DIRECT)
    world.host_routes.foreign.add(ROUTE.address)
    await world.do(NOW_TUNNEL, rounds=2)
    assert world.host_routes.writes == 0
    methods = {d.settings.method for d in world.ipvs.services[SERVICE].destinations.values()}
    assert len(methods) == 2


async def test_cleanup_takes_them_away(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(NOW_TUNNEL)
    problems = await clean(world)
    assert problems == ()
    assert not world.host_routes.routes


def with_routes(namespace: NetworkNamespace, work: Callable[[KernelHostRoutes], Awaitable[Result]]) -> Result:
    return with_seam(namespace, KernelHostRoutes, work)


@pytest.fixture
def segment(namespace: NetworkNamespace) -> NetworkNamespace:
    """One Ethernet device with a subnet of each family."""
    namespace.ip("link", "add", "name", "e0", "type", "veth", "peer", "name", "e0p")
    for device in ("e0", "e0p"):
        namespace.ip("link", "set", device, "up")
    namespace.ip("addr", "add", "172.16.24.1/24", "dev", "e0")
    namespace.ip("addr", "add", "2001:db8:24::1/64", "dev", "e0", "nodad")
    return namespace


@pytest.mark.parametrize("text", ["172.16.24.8", "2001:db8:24::8"])
def test_the_kernel_takes_it_and_the_address_stays_on_link(segment: NetworkNamespace, text: str) -> None:
    address = ip_address(text)
    route = HostRoute(address=address, device="e0")
    family = f"-{address.version}"

    async def work(routes: KernelHostRoutes) -> None:
        await routes.add(route)
        assert await routes.read() == {route}
        assert f"via {text}" in segment.ip(family, "route", "get", text)
        links = KernelLinksSeam()
        found = await links.route_to(address)
        await links.close()
        assert (found.kind, found.device, found.next_hop) == (RouteKind.UNICAST, "e0", None)
        with pytest.raises(AddressRefused, match="somebody else"):
            await routes.add(route)
        await routes.remove(route)
        await routes.remove(route)
        assert await routes.read() == frozenset()

    with_routes(segment, work)


def test_foreign_routes_are_not_seen(segment: NetworkNamespace) -> None:
    segment.ip("route", "add", "172.16.24.8/32", "dev", "e0")
    assert with_routes(segment, lambda routes: routes.read()) == frozenset()


def test_a_missing_device_is_named(segment: NetworkNamespace) -> None:
    route = HostRoute(address=ip_address("172.16.24.8"), device="e9")
    with pytest.raises(DeviceNotFound, match="e9"):
        with_routes(segment, lambda routes: routes.add(route))
