"""Ranges of addresses: what is in them, and what of them is given out, from which one on."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lvs_api.network_types import Family, host_address
from lvs_core.address_ranges import AddressRange, candidates, count, read_range

EDGES = (
    *("0.0.0.0", "126.255.255.255", "127.255.255.255", "169.253.255.255", "169.254.255.255"),
    *("223.255.255.255", "239.255.255.255", "255.255.255.250", "::", "::1", "::fffe:ffff:ffff", "::ffff:ffff:ffff"),
    *("fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    *("feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffa"),
)
"""Of what no host can have."""


def test_ranges() -> None:
    def some(*texts: str, digest: int = 0, family: Family = Family.IPV4, number: int = 9) -> list[str]:
        found = candidates([read_range(text) for text in texts], family, digest)
        return [one for _, one in zip(range(number), found, strict=False)]

    assert some("192.0.2.0/30") == ["192.0.2.1", "192.0.2.2"]
    assert some("192.0.2.0/31") == ["192.0.2.0", "192.0.2.1"]
    assert some("192.0.2.7/32") == ["192.0.2.7"]
    assert some("192.0.2.0-192.0.2.1", "192.0.2.9-192.0.2.10", digest=3) == [
        "192.0.2.10",
        "192.0.2.0",
        "192.0.2.1",
        "192.0.2.9",
    ]
    assert some("2001:db8::/126", family=Family.IPV6) == ["2001:db8::1", "2001:db8::2", "2001:db8::3"]
    assert some("2001:db8::/32", family=Family.IPV6, digest=2**90, number=1) == ["2001:db8:400::1"]
    assert some("2001:db8::/64") == []
    assert count([read_range(one) for one in ("192.0.2.0/24", "192.0.2.128/25", "192.0.3.0/32", "::1/128")]) == 258


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("126.0.0.0-128.0.0.0", "126.255.255.255", "128.0.0.0"),
        ("168.0.0.0/6", "169.253.255.255", "169.255.0.0"),
        ("128.0.0.0/1", "223.255.255.255", "240.0.0.0"),
        ("240.0.0.0/4", "255.255.255.254", "240.0.0.1"),
        ("1.0.0.0-127.0.0.1", "126.255.255.255", "1.0.0.0"),
        ("fe00::/7", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fec0::"),
        ("8000::/1", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "8000::1"),
        ("::fff0:0:0/92", "::fffe:ffff:ffff", "::fff0:0:1"),
    ],
)
def test_what_no_host_can_have_is_leapt_over(text: str, before: str, after: str) -> None:
    """One by one that would take for ever: there are 2**120 multicast addresses."""
    span, number = read_range(text), int(ip_address(before))
    digest = sum(min(one.stop, number) - one.start for one in span.for_hosts if one.start <= number)
    found = candidates([span], span.family, digest)
    assert (next(found), next(found)) == (before, after)


@given(st.data())
def test_what_is_given_out_is_what_a_host_can_have(choices: st.DataObject) -> None:
    family = choices.draw(st.sampled_from(Family))
    edges = [int(ip_address(one)) for one in EDGES if (":" in one) is (family is Family.IPV6)]
    first = max(choices.draw(st.sampled_from(edges)) + choices.draw(st.integers(-3, 3)), 0)
    span = AddressRange(family, first, first + choices.draw(st.integers(0, 6)), is_network=False)
    read = IPv4Address if family is Family.IPV4 else IPv6Address
    top = 2 ** (32 if family is Family.IPV4 else 128)
    assume(span.last < top)
    every = [str(read(number)) for number in range(span.first, span.last + 1)]
    assert list(candidates([span], family, 0)) == [one for one in every if host_address(one) is not None]
