"""Routes to real servers while the network changes."""

from ipaddress import ip_address

from lvs_agent.converge.route_lookup import RouteLookup
from lvs_agent.decide.kernel_state import IPAddress, Route, RouteKind
from lvs_agent.kernel.fake_kernel import FakeLinks

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


async def looking_up(links: FakeLinks) -> RouteLookup:
    lookup = RouteLookup(links, lambda: 0.0)
    await links.watch(lookup.doubt)
    return lookup


async def test_a_route_that_comes_back_while_it_is_looked_up_is_seen() -> None:
    links = ChangingLinks(ONE, ON_LINK)
    lookup = await looking_up(links)
    links.routes = {TWO: ON_LINK}
    assert (await lookup.look_up({ONE}))[ONE] == NO_ROUTE
    assert (await lookup.look_up({ONE}))[ONE] == ON_LINK


async def test_a_route_that_goes_while_it_is_looked_up_is_missed() -> None:
    links = ChangingLinks(ONE, NO_ROUTE)
    links.routes = {ONE: ON_LINK, TWO: ON_LINK}
    lookup = await looking_up(links)
    assert (await lookup.look_up({ONE, TWO}))[ONE] == ON_LINK
    assert await lookup.look_up({ONE, TWO}) == {ONE: NO_ROUTE, TWO: ON_LINK}


async def test_a_change_while_a_new_one_is_looked_up_counts_for_those_known_before() -> None:
    links = ChangingLinks(TWO, NO_ROUTE)
    links.routes = {ONE: ON_LINK, TWO: ON_LINK}
    lookup = await looking_up(links)
    await lookup.look_up({ONE})
    del links.routes[ONE]
    assert (await lookup.look_up({ONE, TWO}))[ONE] == ON_LINK, "nobody has told of it yet"
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
