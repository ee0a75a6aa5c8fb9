"""Which addresses are ours, and what is done about them."""

from ipaddress import ip_address

import pytest

from lvs_agent.decide.changes import BindAddress, LinkChange, UnbindAddress
from lvs_agent.decide.kernel_diff import diff_links
from lvs_agent.decide.kernel_state import AddressBinding, InterfaceAddress, KernelLinks
from lvs_agent.decide.ownership import judge_links

VIP = ip_address("192.168.4.15")
ON_LO, ON_TUNNEL, ON_ETH = (AddressBinding(address=VIP, device=d) for d in ("lo", "tunl0", "eth0"))


def found(device: str, prefix_length: int = 32) -> InterfaceAddress:
    return InterfaceAddress(device=device, address=VIP, prefix_length=prefix_length)


@pytest.mark.parametrize(
    ("kernel", "wanted", "ledger", "changes", "adopted", "in_the_way"),
    [
        pytest.param([], [ON_LO], [], [BindAddress(binding=ON_LO)], [], [], id="new"),
        pytest.param([found("lo")], [ON_LO], [ON_LO], [], [], [], id="ours and wanted"),
        pytest.param([found("lo")], [], [ON_LO], [UnbindAddress(binding=ON_LO)], [], [], id="ours and unwanted"),
        pytest.param([found("lo")], [], [], [], [], [], id="foreign"),
        pytest.param([found("lo")], [ON_LO], [], [], [ON_LO], [], id="adopted"),
        pytest.param([], [ON_LO], [ON_LO], [BindAddress(binding=ON_LO)], [], [], id="removed by hand"),
        pytest.param([found("eth0")], [ON_LO], [], [], [], [ON_LO], id="on another device"),
        pytest.param([found("lo", 24)], [ON_LO], [], [], [], [ON_LO], id="with another prefix"),
        pytest.param(
            [found("lo")],
            [ON_TUNNEL],
            [ON_LO],
            [BindAddress(binding=ON_TUNNEL), UnbindAddress(binding=ON_LO)],
            [],
            [],
            id="moves without a gap",
        ),
        pytest.param([], [], [ON_ETH], [], [], [], id="gone and unwanted"),
    ],
)
def test_addresses(  # noqa: PLR0917 (a table's columns)
    kernel: list[InterfaceAddress],
    wanted: list[AddressBinding],
    ledger: list[AddressBinding],
    changes: list[LinkChange],
    adopted: list[AddressBinding],
    in_the_way: list[AddressBinding],
) -> None:
    snapshot = KernelLinks(addresses=frozenset(kernel))
    verdict = judge_links(snapshot, frozenset(wanted), frozenset(ledger))
    assert list(diff_links(frozenset(wanted), verdict)) == changes
    assert verdict.adopted == frozenset(adopted)
    assert verdict.blocked == frozenset(in_the_way)
    assert [c.found for c in verdict.conflicts] == (kernel if in_the_way else [])
