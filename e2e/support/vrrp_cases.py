"""Settings of VRRP that the API takes, and those that it refuses."""

from collections.abc import Iterator

from lvs_api.testing import director_group
from support.api_case import ApiCase, Raw, refused, taken


def _group(**vrrp: object) -> Raw:
    return director_group(failover="VRRP", vrrp=vrrp)


def _priorities(*numbers: int) -> list[Raw]:
    return [{"node": f"d{position}", "priority": number} for position, number in enumerate(numbers, 1)]


def vrrp_cases() -> Iterator[ApiCase]:
    """Each field, and each rule over several."""
    yield taken("failover VRRP, and no more", director_group(failover="VRRP"))
    yield taken("VRRP with every default", _group())
    yield refused("vrrp without failover VRRP", "spec.vrrp", director_group(vrrp={}), "only for failover VRRP")
    yield refused("vrrp with failover None", "spec.vrrp", director_group(failover="None", vrrp={}), "only for failover")
    yield from _intervals()
    yield from _orders()
    yield from _ids()
    yield from _passwords()
    yield from _gateways()


def _intervals() -> Iterator[ApiCase]:
    field = "spec.vrrp.advertIntervalMilliseconds"
    for version, interval in ((3, 10), (3, 1230), (3, 40950), (2, 1000), (2, 40000)):
        yield taken(f"VRRP {version} every {interval} ms", _group(version=version, advertIntervalMilliseconds=interval))
    for version, interval, saying in (
        (3, 9, ""),
        (3, 40951, ""),
        (3, 105, "a multiple of 10"),
        (2, 100, "whole seconds"),
        (2, 1500, "whole seconds"),
    ):
        raw = _group(version=version, advertIntervalMilliseconds=interval)
        yield refused(f"VRRP {version} every {interval} ms", field, raw, saying)
    for version in (1, 4):
        yield refused(f"VRRP {version}", "spec.vrrp.version", _group(version=version))
    for transport in ("Multicast", "Unicast"):
        yield taken(f"VRRP by {transport}", _group(transport=transport))
    for delay in (0, 1000):
        yield taken(f"preemption after {delay} s", _group(preemption={"delaySeconds": delay}))
    yield taken("preemption at once", _group(preemption={}))
    yield refused(
        "preemption after 1001 s", "spec.vrrp.preemption.delaySeconds", _group(preemption={"delaySeconds": 1001})
    )


def _orders() -> Iterator[ApiCase]:
    yield taken("priorities 254 and 1", _group(priorities=_priorities(254, 1)))
    yield taken("nobody listed", _group(priorities=[]))
    yield taken("64 priorities", _group(priorities=_priorities(*range(1, 65))))
    yield refused("65 priorities", "spec.vrrp.priorities", _group(priorities=_priorities(*range(1, 66))))
    for number in (0, 255):
        raw = _group(priorities=_priorities(number))
        yield refused(f"priority {number}", "spec.vrrp.priorities[0].priority", raw)
    yield refused("equal priorities", "spec.vrrp.priorities", _group(priorities=_priorities(7, 9, 7)), "of its own")
    twice = [{"node": "d1", "priority": 1}, {"node": "d1", "priority": 2}]
    yield refused("a director listed twice", "spec.vrrp.priorities[1]", _group(priorities=twice), "Duplicate")


def _ids() -> Iterator[ApiCase]:
    field = "spec.vrrp.virtualRouterIds"
    yield taken("virtual router 55", _group(virtualRouterIds=[55]))
    yield taken("two virtual routers", _group(spread=2, virtualRouterIds=[255, 1], reservedVirtualRouterIds=[2]))
    yield taken("16 virtual routers", _group(spread=16, virtualRouterIds=list(range(1, 17))))
    yield taken("every id reserved", _group(reservedVirtualRouterIds=list(range(1, 256))))
    for spread in (0, 17):
        yield refused(f"spread {spread}", "spec.vrrp.spread", _group(spread=spread))
    for spread, ids in ((1, [1, 2]), (2, [1])):
        raw = _group(spread=spread, virtualRouterIds=ids)
        yield refused(f"{len(ids)} ids for {spread}", field, raw, "as many ids")
    yield refused("no ids", field, _group(virtualRouterIds=[]))
    yield refused("an id twice", f"{field}[1]", _group(spread=2, virtualRouterIds=[7, 7]), "Duplicate")
    yield refused("id 0", f"{field}[0]", _group(virtualRouterIds=[0]))
    yield refused("id 256", f"{field}[0]", _group(virtualRouterIds=[256]))
    raw = _group(virtualRouterIds=[7], reservedVirtualRouterIds=[6, 7])
    yield refused("an id that is reserved", field, raw, "reserved for others")


def _passwords() -> Iterator[ApiCase]:
    field = "spec.vrrp.authentication"
    for word in ("1111", "x", "a.b_c-1:"):
        yield taken(f"password {word}", _group(version=2, authentication={"password": word}))
    for word in ("", "123456789", "a b", 'a"b', "a#b", "ä"):
        raw = _group(version=2, authentication={"password": word})
        yield refused(f"password {word!r}", f"{field}.password", raw)
    yield refused("authentication without a password", f"{field}.password", _group(version=2, authentication={}))
    yield refused("a password of version 3", field, _group(authentication={"password": "1111"}), "only version 2")


def _gateways() -> Iterator[ApiCase]:
    field = "spec.vrrp.gatewayAddresses"
    both = ["192.168.2.5", "2001:db8:2::5"]
    yield taken("gateways of both families", _group(gatewayAddresses=both))
    yield taken("a gateway with version 2", _group(version=2, gatewayAddresses=both[:1]))
    yield taken("no gateways", _group(spread=2, gatewayAddresses=[]))
    yield refused("an IPv6 gateway with version 2", field, _group(version=2, gatewayAddresses=both), "has no IPv6")
    yield refused("a gateway of two", field, _group(spread=2, gatewayAddresses=both), "no single director")
    yield refused("a gateway twice", f"{field}[1]", _group(gatewayAddresses=both[:1] * 2), "Duplicate")
    yield refused("a gateway of nobody", f"{field}[0]", _group(gatewayAddresses=["0.0.0.0"]), "address of a host")
    yield taken("tracked interfaces", _group(trackedInterfaces=["eth1", "bond0.100"]))
    yield refused("a tracked interface twice", "spec.vrrp.trackedInterfaces[1]", _group(trackedInterfaces=["a", "a"]))
