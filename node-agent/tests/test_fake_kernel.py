"""The fakes refuse what the kernel refuses: the same cases run on real kernels (e2e/scenarios)."""

from ipaddress import ip_address

import pytest

from lvs_agent.decide.changes import (
    AddDestination,
    AddService,
    BindAddress,
    DeleteDestination,
    EditDestination,
    EditService,
    UnbindAddress,
)
from lvs_agent.decide.kernel_state import (
    AddressBinding,
    DestinationKey,
    DestinationSettings,
    ForwardingMethod,
    InterfaceAddress,
    ServiceKey,
    ServiceSettings,
    TransportProtocol,
)
from lvs_agent.decide.kernel_sysctls import conf_key
from lvs_agent.errors import AnnounceError, DeviceNotFound, IpvsUnavailable, NamespaceInUse, SysctlError
from lvs_agent.kernel.contract import CASES, Case, complaint
from lvs_agent.kernel.fake_ipvs import FakeIpvsTable
from lvs_agent.kernel.fake_links import FakeLinks
from lvs_agent.kernel.fake_namespace_lock import FakeNamespaceLock
from lvs_agent.kernel.fake_neighbours import FakeAnnouncer
from lvs_agent.kernel.fake_sysctls import FakeSysctls
from lvs_agent.kernel.glance_contract import STEPS
from lvs_agent.kernel.glance_contract import complaints as glance_complaints

WEB = ServiceKey(protocol=TransportProtocol.TCP, address=ip_address("10.0.0.1"), port=80)
ONE = DestinationKey(address=ip_address("10.1.0.1"), port=80)
NAT = DestinationSettings(weight=1, method=ForwardingMethod.MASQUERADE)
VIP = AddressBinding(address=ip_address("10.0.0.1"), device="lo")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_fake_answers_as_the_kernel(case: Case) -> None:
    assert complaint(FakeIpvsTable(), case) is None


def test_a_glance_at_the_fake_shows_what_one_at_the_kernel_shows() -> None:
    assert glance_complaints(FakeIpvsTable()) == {}
    assert glance_complaints(FakeIpvsTable(shows_summary=False)).keys() == STEPS.keys()


def test_a_case_that_goes_wrong_is_noticed() -> None:
    wrong = FakeIpvsTable(schedulers=frozenset())
    assert all(complaint(wrong, case) for case in CASES if case.after)


def test_connections_live_through_edits_and_go_with_a_deletion() -> None:
    table = FakeIpvsTable()
    table.apply(
        [
            AddService(service=WEB, settings=ServiceSettings(scheduler="rr")),
            AddDestination(service=WEB, destination=ONE, settings=NAT),
        ]
    )
    table.set_connections(WEB, ONE, active=3, inactive=2)
    direct = DestinationSettings(weight=0, method=ForwardingMethod.DIRECT_ROUTE)
    table.apply(
        [
            EditService(service=WEB, settings=ServiceSettings(scheduler="wlc")),
            EditDestination(service=WEB, destination=ONE, settings=direct),
        ]
    )
    assert table.read().services[WEB].destinations[ONE].connections == 5
    table.apply([DeleteDestination(service=WEB, destination=ONE)])
    table.apply([AddDestination(service=WEB, destination=ONE, settings=NAT)])
    assert table.read().services[WEB].destinations[ONE].connections == 0
    assert table.writes == 6


def test_without_ip_vs_nothing_is_read_as_empty() -> None:
    table = FakeIpvsTable(available=False)
    for work in (table.read, table.read_services, table.info, lambda: table.apply([])):
        with pytest.raises(IpvsUnavailable, match="ip_vs"):
            work()


async def test_links() -> None:
    links, woken = FakeLinks(), list[int]()
    await links.watch(lambda: woken.append(1))
    links.add_device("lo", arp_capable=False)
    assert woken
    assert await links.apply([BindAddress(binding=VIP), BindAddress(binding=VIP)]) == ()
    assert (await links.read()).bindings() == {VIP}
    assert links.writes == 1
    links.remove_behind_our_back(InterfaceAddress(device="lo", address=VIP.address, prefix_length=32))
    assert await links.apply([UnbindAddress(binding=VIP)]) == ()
    assert links.writes == 1
    on_tunnel = AddressBinding(address=VIP.address, device="tunl0")
    assert await links.apply([BindAddress(binding=on_tunnel)]) == ()
    assert not (await links.read()).devices["tunl0"].arp_capable
    unknown = BindAddress(binding=AddressBinding(address=VIP.address, device="eth7"))
    assert [type(f.error) for f in await links.apply([unknown])] == [DeviceNotFound]


def test_the_other_seams_refuse_too() -> None:
    with pytest.raises(SysctlError):
        FakeSysctls().write(conf_key("ipv4", "gone0", "forwarding"), 1)
    with pytest.raises(AnnounceError):
        FakeAnnouncer().announce("lo", VIP.address)
    namespace: set[str] = set()
    first, second = FakeNamespaceLock(namespace=namespace), FakeNamespaceLock(namespace=namespace)
    first.acquire()
    with pytest.raises(NamespaceInUse):
        second.acquire()
    second.release()
    first.release()
    second.acquire()
