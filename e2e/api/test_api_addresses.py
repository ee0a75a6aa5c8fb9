"""Python and the API server draw the same line between spellings of addresses."""

from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lvs_api.testing import virtual_service
from support.api_cases import python_says
from support.api_server import ApiServer

ADDRESSES4 = st.one_of(
    st.ip_addresses(v=4),
    st.sampled_from(["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "255.255.255.255/32"]).flatmap(
        lambda network: st.ip_addresses(network=network)
    ),
).map(str)
ADDRESSES6 = st.one_of(
    st.ip_addresses(v=6),
    st.sampled_from(
        ["::/120", "::ffff:0:0/96", "fe80::/10", "fec0::/10", "fc00::/7", "ff00::/8", "2001:db8::/32"]
    ).flatmap(lambda network: st.ip_addresses(network=network)),
).map(lambda address: IPv6Address(int(address)))


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """An IPv6 address in one of its many spellings."""
    address = draw(ADDRESSES6)
    groups = [f"{int(group, 16):x}" for group in address.exploded.split(":")]
    for index, group in enumerate(groups):
        groups[index] = draw(st.sampled_from([group, group, group.zfill(4), group.upper()]))
    text = ":".join(groups)
    if draw(st.booleans()):
        start, length = draw(st.integers(0, 7)), draw(st.integers(1, 8))
        if all(int(group, 16) == 0 for group in groups[start : start + length]):
            text = f"{':'.join(groups[:start])}::{':'.join(groups[start + length :])}"
    if draw(st.integers(0, 5)) == 0:
        head, _, tail = text.rpartition(":")
        text = f"{head}:{IPv4Address(int(tail or '0', 16))}"
    return draw(st.sampled_from([text, str(address), str(address), f"{address}%eth0", f"{address}/128"]))


def agree(server: ApiServer, text: str) -> None:
    raw: dict[str, Any] = virtual_service(addresses=[text])
    answer = server.create(raw, dry_run=True)
    assert answer.status in {201, 422}, answer.body
    assert (answer.status == 201) == (python_says(raw) == ()), (text, answer.message, python_says(raw))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spellings())
def test_ipv6(api_server: ApiServer, text: str) -> None:
    agree(api_server, text)


@settings(max_examples=150, deadline=None)
@given(ADDRESSES4)
def test_ipv4(api_server: ApiServer, text: str) -> None:
    agree(api_server, text)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="0123456789abcdefABCDEF:./%x ", max_size=45))
def test_anything(api_server: ApiServer, text: str) -> None:
    agree(api_server, text)
