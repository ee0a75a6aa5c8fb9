"""Routes to real servers while the network changes."""

from ipaddress import ip_address

import pytest

from lvs_agent.converge.route_lookup import PATIENCE_SECONDS, RouteLookup
from lvs_agent.decide.kernel_state import IPAddress, Route, RouteKind
from lvs_agent.kernel.fake_links import FakeLinks

ONE, TWO = ip_address("192.168.4.100"), ip_address("192.168.4.101")
ON_LINK = Route(kind=RouteKind.UNICAST, device="eth0")
NO_ROUTE = Route(kind=RouteKind.UNREACHABLE)


class ChangingLinks(FakeLinks):
    """The route to one address becomes another once it has been asked for, before the answer is there."""

    def __init__(self, address: IPAddress, after: Route) -> None:
        super().__init__()
        self.address = address
        self.after = after
        self.asked: list[IPAddress] = []

    async def route_to(self, address: IPAddress) -> Route:
        self.asked.append(address)
        answer = await super().route_to(address)
        if address == self.address and answer != self.after:
            self.routes[address] = self.after
            self._changed()
        return answer


class Clock:
    """Stands still but for a test."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def looking_up(links: FakeLinks, clock: Clock | None = None) -> RouteLookup:
    lookup = RouteLookup(links, clock or Clock())
    await links.watch(lookup.doubt)
    return lookup


async def test_a_route_that_comes_back_while_it_is_looked_up_is_seen() -> None:
    links = ChangingLinks(ONE, ON_LINK)
    lookup = await looking_up(links)
    links.routes = {TWO: ON_LINK}
    assert (await lookup.look_up({ONE}))[ONE] == NO_ROUTE
    assert (await lookup.look_up({ONE}))[ONE] == ON_LINK


async def test_a_route_that_goes_while_it_is_looked_up_is_missed() -> None:
    links, clock = ChangingLinks(ONE, NO_ROUTE), Clock()
    links.routes = {ONE: ON_LINK, TWO: ON_LINK}
    lookup = await looking_up(links, clock)
    assert (await lookup.look_up({ONE, TWO}))[ONE] == ON_LINK
    assert await lookup.look_up({ONE, TWO}) == {ONE: ON_LINK, TWO: ON_LINK}
    clock.now += PATIENCE_SECONDS
    assert await lookup.look_up({ONE, TWO}) == {ONE: NO_ROUTE, TWO: ON_LINK}


@pytest.mark.parametrize(
    "elsewhere", [NO_ROUTE, Route(kind=RouteKind.UNICAST, device="eth0", next_hop=ip_address("192.168.4.1"))]
)
async def test_an_address_that_leaves_the_link_for_a_moment_is_taken_to_be_there(elsewhere: Route) -> None:
    links, clock = FakeLinks(routes={ONE: ON_LINK}), Clock()
    lookup = await looking_up(links, clock)
    wanted = {ONE}
    known = await lookup.look_up(wanted)
    assert lookup.next_deadline() is None
    for _ in range(2):
        links.routes[ONE] = elsewhere
        lookup.doubt()
        assert await lookup.look_up(wanted) is known
        assert lookup.next_deadline() == clock.now + PATIENCE_SECONDS
        clock.now += PATIENCE_SECONDS / 2
        lookup.doubt()
        assert await lookup.look_up(wanted) is known
        links.routes[ONE] = ON_LINK
        lookup.doubt()
        assert await lookup.look_up(wanted) is known
        assert lookup.next_deadline() is None, "the next time it leaves counts by itself"
    links.routes[ONE] = elsewhere
    lookup.doubt()
    await lookup.look_up(wanted)
    clock.now += PATIENCE_SECONDS
    assert await lookup.look_up(wanted) == {ONE: elsewhere}
    assert lookup.next_deadline() is None


async def test_an_address_that_becomes_this_machines_own_or_was_never_on_the_link_counts_at_once() -> None:
    local = Route(kind=RouteKind.LOCAL, device="lo")
    links = FakeLinks(routes={ONE: ON_LINK, TWO: Route(kind=RouteKind.UNICAST, next_hop=ip_address("192.168.4.1"))})
    lookup = await looking_up(links)
    await lookup.look_up({ONE, TWO})
    links.routes = {ONE: local}
    lookup.doubt()
    assert await lookup.look_up({ONE, TWO}) == {ONE: local, TWO: NO_ROUTE}


async def test_one_that_left_and_is_not_wanted_any_more_is_forgotten() -> None:
    links = FakeLinks(routes={ONE: ON_LINK, TWO: ON_LINK})
    lookup = await looking_up(links)
    await lookup.look_up({ONE, TWO})
    del links.routes[ONE]
    lookup.doubt()
    await lookup.look_up({ONE, TWO})
    assert await lookup.look_up({TWO}) == {TWO: ON_LINK}
    assert lookup.next_deadline() is None


async def test_a_change_while_a_new_one_is_looked_up_counts_for_those_known_before() -> None:
    links, clock = ChangingLinks(TWO, NO_ROUTE), Clock()
    links.routes = {ONE: ON_LINK, TWO: ON_LINK}
    lookup = await looking_up(links, clock)
    await lookup.look_up({ONE})
    del links.routes[ONE]
    assert (await lookup.look_up({ONE, TWO}))[ONE] == ON_LINK, "nobody has told of it yet"
    await lookup.look_up({ONE, TWO})
    clock.now += PATIENCE_SECONDS
    assert await lookup.look_up({ONE, TWO}) == {ONE: NO_ROUTE, TWO: NO_ROUTE}


async def test_nothing_is_asked_twice_while_nothing_changes() -> None:
    links = ChangingLinks(ONE, ON_LINK)
    links.routes = {ONE: ON_LINK}
    lookup = await looking_up(links)
    first = await lookup.look_up({ONE})
    assert await lookup.look_up({ONE}) is first
    await lookup.look_up({ONE, TWO})
    assert links.asked == [ONE, TWO]
    links.add_device("eth1")
    known = await lookup.look_up({ONE, TWO})
    links.add_device("eth2")
    assert await lookup.look_up({ONE, TWO}) is known, "the answers are the same"


class SlowLinks(FakeLinks):
    """Each answer takes a second; something changes all the time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.asked: list[IPAddress] = []

    async def route_to(self, address: IPAddress) -> Route:
        self.asked.append(address)
        self.now += 1
        self._changed()
        return ON_LINK


async def test_routes_that_change_all_the_time_are_asked_for_a_fifth_of_it() -> None:
    links = SlowLinks()
    lookup = RouteLookup(links, lambda: links.now)
    await links.watch(lookup.doubt)
    assert await lookup.look_up({ONE}) == {ONE: ON_LINK}
    assert lookup.next_deadline() == links.now + 4
    links.now += 3.9
    assert await lookup.look_up({ONE}) == {ONE: ON_LINK}
    assert links.asked == [ONE]
    assert (await lookup.look_up({ONE, TWO})).keys() == {ONE, TWO}
    assert links.asked == [ONE, TWO], "a new real server does not wait"
    links.now += 4
    await lookup.look_up({ONE, TWO})
    assert sorted(links.asked[2:]) == [ONE, TWO]
    assert lookup.next_deadline() == links.now + 5
