"""From which addresses a node asks neighbours for their MAC addresses."""

from ipaddress import ip_address

import pytest

from lvs_agent.decide.asking_addresses import asking_addresses
from lvs_agent.decide.kernel_state import InterfaceAddress, KernelLinks


def address(text: str, device: str = "eth0", *, usable: bool = True) -> InterfaceAddress:
    host, length = text.split("/")
    return InterfaceAddress(device=device, address=ip_address(host), prefix_length=int(length), usable=usable)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([], []),
        ([address("192.168.4.5/24"), address("192.168.4.15/32")], ["192.168.4.5"]),
        ([address("192.168.4.15/32")], []),
        ([address("192.168.4.5/24", "eth1")], []),
        ([address("2001:db8::5/64"), address("fe80::5/64")], ["fe80::5"]),
        ([address("2001:db8::5/64"), address("fe80::5/64", usable=False)], ["2001:db8::5"]),
        ([address("192.168.4.9/24"), address("192.168.4.5/24"), address("fe80::5/64")], ["fe80::5", "192.168.4.5"]),
    ],
    ids=["none", "not a VIP", "a VIP only", "of another device", "link-local", "not tentative", "one of each family"],
)
def test_own_addresses_of_the_device(there: list[InterfaceAddress], expected: list[str]) -> None:
    links = KernelLinks(addresses=frozenset(there))
    assert asking_addresses("eth0", links) == tuple(map(ip_address, expected))
