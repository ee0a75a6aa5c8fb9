"""Which addresses are refused, by which rule, and what of a plan is a first claim."""

from ipaddress import ip_address, ip_network

import pytest
from agent_world import director, member, real_server, service

from lvs_agent.decide.kernel_state import AddressBinding, InterfaceAddress, IPAddress, KernelLinks
from lvs_agent.decide.refused_addresses import (
    Claim,
    ClusterFacts,
    NodeClaim,
    Surroundings,
    first_claims,
    refuse,
)
from lvs_core.plan import Holding

VIP, VIP6 = ip_address("192.168.4.15"), ip_address("2001:db8:4::15")
ON_DIRECTOR = Claim(address=VIP, device="eth0")
ON_SERVER = Claim(address=VIP, device="lo")


def here(device: str, length: int, address: IPAddress = VIP) -> frozenset[InterfaceAddress]:
    return frozenset({InterfaceAddress(device=device, address=address, prefix_length=length)})


def node(*, carries: bool = False) -> Surroundings:
    return Surroundings(cluster=ClusterFacts(nodes={VIP: NodeClaim(node="n2", carries=carries)}))


def in_range(network: str, what: str) -> Surroundings:
    return Surroundings(cluster=ClusterFacts(ranges={ip_network(network): what}))


REFUSED = {
    "api-server": (
        Surroundings(cluster=ClusterFacts(api_servers=frozenset({VIP}))),
        "is the address of an API server",
    ),
    "next-hop": (Surroundings(next_hops=frozenset({VIP})), "is a next hop of this node's routes"),
    "name-server": (Surroundings(name_servers=frozenset({VIP})), "is a name server of this node"),
    "node": (node(), "is an address of Node n2"),
    "pod-range": (in_range("192.168.4.0/28", "the pod range of Node n3"), "is in 192.168.4.0/28, the pod range of"),
    "service-range": (in_range("192.168.0.0/16", "the Service range kubernetes"), "the Service range kubernetes"),
    "refused-range": (Surroundings(refused_ranges=(ip_network("192.168.4.15/32"),)), "which --refuse-range names"),
}


@pytest.mark.parametrize("claim", [ON_DIRECTOR, ON_SERVER], ids=["director", "real-server"])
@pytest.mark.parametrize(("around", "said"), REFUSED.values(), ids=REFUSED)
def test_what_others_need_is_refused(claim: Claim, around: Surroundings, said: str) -> None:
    fault = refuse([claim], around)[VIP]
    assert fault.reason == "AddressRefused"
    assert fault.message.startswith(f"{VIP} {said}") or said in fault.message


@pytest.mark.parametrize("claim", [ON_DIRECTOR, ON_SERVER], ids=["director", "real-server"])
@pytest.mark.parametrize(
    ("device", "length"), [("eth0", 24), ("eth1", 32), ("dummy0", 32)], ids=["subnet", "elsewhere", "dummy"]
)
def test_an_address_of_this_node_is_a_conflict(claim: Claim, device: str, length: int) -> None:
    fault = refuse([claim], Surroundings(addresses=here(device, length)))[VIP]
    assert fault.reason == "AddressConflict"
    assert f"{VIP}/{length} is on {device}" in fault.message


TAKEN = {
    "nothing-known": Surroundings(),
    "others-of-the-subnet": Surroundings(
        next_hops=frozenset({ip_address("192.168.4.1")}), addresses=here("eth0", 24, ip_address("192.168.4.5"))
    ),
    "just-as-it-shall-be": Surroundings(addresses=here("eth0", 32)),
    "ours-elsewhere": Surroundings(
        addresses=here("tunl0", 32), bound=frozenset({AddressBinding(address=VIP, device="tunl0")})
    ),
    "reported-by-the-kubelet-of-who-carries-it": node(carries=True),
    "in-another-range": in_range("192.168.5.0/24", "the pod range of Node n3"),
    "in-a-range-of-the-other-family": in_range("::/0", "the pod range of Node n3"),
}


@pytest.mark.parametrize("around", TAKEN.values(), ids=TAKEN)
def test_anything_else_is_taken(around: Surroundings) -> None:
    assert refuse([ON_DIRECTOR], around) == {}


def test_ipv6_is_judged_alike() -> None:
    claim = Claim(address=VIP6, device="lo")
    assert refuse([claim], Surroundings(addresses=here("lo", 128, VIP6))) == {}
    assert "next hop" in refuse([claim], Surroundings(next_hops=frozenset({VIP6})))[VIP6].message


NOTHING: frozenset[IPAddress] = frozenset()
HELD = frozenset({VIP})
CLAIMS = {
    "a-new-service": (Holding.HOLD, NOTHING, NOTHING, True),
    "bound": (Holding.HOLD, HELD, HELD, False),
    "programmed-and-to-be-bound": (Holding.HOLD, HELD, NOTHING, True),
    "a-standby-with-the-rules": (Holding.RELEASE, HELD, NOTHING, False),
    "a-new-standby": (Holding.RELEASE, NOTHING, NOTHING, True),
    "nobody-named": (Holding.KEEP, HELD, NOTHING, False),
}


@pytest.mark.parametrize(("holding", "served", "bound", "claimed"), CLAIMS.values(), ids=CLAIMS)
def test_only_what_is_not_ours_yet_is_claimed(
    holding: Holding, served: frozenset[IPAddress], bound: frozenset[IPAddress], *, claimed: bool
) -> None:
    plan = director(service(member(100)), holding=holding)
    assert (first_claims(plan, KernelLinks(), served, bound) != frozenset()) is claimed


def test_a_real_server_claims_until_it_has_bound() -> None:
    plan = real_server(str(VIP))
    assert first_claims(plan, KernelLinks(), NOTHING, NOTHING) == {ON_SERVER}
    assert first_claims(plan, KernelLinks(), NOTHING, HELD) == frozenset()
