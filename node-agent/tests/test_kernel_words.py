"""From the plan's words to the kernel's."""

from ipaddress import ip_address

import pytest

from lvs_agent.decide.kernel_state import ServiceKey, TransportProtocol
from lvs_agent.decide.kernel_words import service_key
from lvs_api.network_types import Protocol
from lvs_core.plan import VirtualServerKey


@pytest.mark.parametrize(
    ("protocol", "number"),
    [(Protocol.TCP, 6), (Protocol.UDP, 17), (Protocol.SCTP, 132)],
)
def test_every_protocol_has_its_number(protocol: Protocol, number: int) -> None:
    vip = ip_address("192.168.4.15")
    key = service_key(VirtualServerKey(address=vip, port=99, protocol=protocol))
    assert key == ServiceKey(protocol=TransportProtocol(number), address=vip, port=99)


def test_no_protocol_of_the_api_is_unknown_to_the_kernel() -> None:
    vip = ip_address("2001:db8::1")
    for protocol in Protocol:
        key = service_key(VirtualServerKey(address=vip, port=99, protocol=protocol))
        assert key.protocol.name == protocol.value
