"""What every `PacketFilter` must answer alike: the kernel's by nft, and the fake that stands in for it.

Each case begins without a table and leaves none.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Final

from lvs_agent.decide.kernel_state import TransportProtocol
from lvs_agent.decide.packet_table import (
    NO_RULES,
    ClampRule,
    HandedOnRule,
    MarkRule,
    PacketRules,
    PacketTable,
    SourceNatRule,
    UnwrapRule,
)
from lvs_agent.errors import PacketFilterError
from lvs_agent.kernel.interface import PacketFilter

_WEB: Final = MarkRule(ip_address("192.0.2.1"), TransportProtocol.TCP, 80, 0x1000)
_TLS: Final = MarkRule(ip_address("192.0.2.1"), TransportProtocol.TCP, 443, 0x1000)
_DNS: Final = MarkRule(ip_address("192.0.2.1"), TransportProtocol.UDP, 53, 0xFFFFFFFF)
_SIX: Final = MarkRule(ip_address("2001:db8::1"), TransportProtocol.SCTP, 65535, 1)
_SERVER, _SERVER6 = ip_address("198.51.100.1"), ip_address("2001:db8:1::1")
_NAT: Final = SourceNatRule(ip_address("192.0.2.1"), TransportProtocol.TCP, 80, _SERVER, 8080)
_NAT_OTHER: Final = SourceNatRule(ip_address("192.0.2.1"), TransportProtocol.UDP, 53, _SERVER, 53)
_NAT6: Final = SourceNatRule(ip_address("2001:db8::1"), TransportProtocol.SCTP, 65535, _SERVER6, 1)
_NAT_EVERY: Final = SourceNatRule(ip_address("192.0.2.1"), TransportProtocol.TCP, 0, _SERVER, 0)
_NAT6_EVERY: Final = SourceNatRule(ip_address("2001:db8::1"), TransportProtocol.TCP, 0, _SERVER6, 0)

_CLAMP: Final = ClampRule(ip_address("192.0.2.1"), 1440)
_TUNNELS: Final = PacketRules(
    unwraps=frozenset(
        {
            UnwrapRule(4, _SERVER),
            UnwrapRule(41, _SERVER6),
            UnwrapRule(17, _SERVER, 6080),
            UnwrapRule(17, _SERVER, 6081),
            UnwrapRule(17, ip_address("198.51.100.2"), 6080),
            UnwrapRule(17, _SERVER6, 6080),
        }
    ),
    clamps=frozenset({_CLAMP, ClampRule(ip_address("192.0.2.2"), 1300), ClampRule(ip_address("2001:db8::1"), 1400)}),
)


_HANDED_ON: Final = frozenset(
    {
        HandedOnRule(_WEB.address, mac="02:00:00:00:00:0a"),
        HandedOnRule(_WEB.address, mac="02:00:00:00:00:0b"),
        HandedOnRule(_SIX.address, mac="02:00:00:00:00:0a"),
        HandedOnRule(_WEB.address, device="tunl0"),
        HandedOnRule(_SIX.address, device="ip6tnl0"),
    }
)


def _marks(*rules: MarkRule) -> PacketRules:
    return PacketRules(marks=frozenset(rules))


_MANY: Final = PacketRules(
    marks=frozenset(MarkRule(ip_address(0x0A000000 + n), TransportProtocol.TCP, 80, 16 + n) for n in range(3000)),
    source_nat=frozenset(
        SourceNatRule(ip_address(0x0A000000 + n), TransportProtocol.TCP, 80, _SERVER, 1 + n) for n in range(3000)
    ),
)
_BOTH: Final = PacketRules(
    marks=frozenset({_WEB}),
    source_nat=frozenset({_NAT, _NAT6, _NAT_EVERY}),
    kept_sources=frozenset({_NAT_OTHER, _NAT6_EVERY}),
)


async def marks_of_both_families_and_all_protocols(given: PacketFilter) -> str | None:
    """What is written is read, and nothing else."""
    return await _written(given, _marks(_WEB, _TLS, _DNS, _SIX))


async def a_mark_of_one_family(given: PacketFilter) -> str | None:
    """The other family's part is empty."""
    return await _written(given, _marks(_SIX))


async def source_nat_alone(given: PacketFilter) -> str | None:
    """There is nothing of marks then."""
    return await _written(given, PacketRules(source_nat=frozenset({_NAT})))


async def kept_sources_alone(given: PacketFilter) -> str | None:
    """As after source NAT ended, for connections from before."""
    return await _written(given, PacketRules(kept_sources=frozenset({_NAT, _NAT6_EVERY})))


async def marks_and_source_nat(given: PacketFilter) -> str | None:
    """Of one port and every port, rewritten and kept, in both families."""
    return await _written(given, _BOTH)


async def who_is_unwrapped_and_what_is_clamped(given: PacketFilter) -> str | None:
    """Of both families, with sizes that differ."""
    return await _written(given, _TUNNELS)


async def tunnels_of_one_family_beside_all_else(given: PacketFilter) -> str | None:
    """Only what has rules is filtered."""
    only = replace(_BOTH, unwraps=frozenset({UnwrapRule(41, _SERVER6)}), clamps=frozenset({_CLAMP}))
    return await _written(given, only)


async def a_port_for_gue_alone(given: PacketFilter) -> str | None:
    """Nothing is said of protocols then."""
    return await _written(given, PacketRules(unwraps=frozenset({UnwrapRule(17, _SERVER6, 6080)})))


async def what_other_directors_hand_on(given: PacketFilter) -> str | None:
    """By MAC address and by device, of both families."""
    return await _written(given, PacketRules(handed_on=_HANDED_ON))


async def what_is_handed_on_beside_all_else(given: PacketFilter) -> str | None:
    """Marks of both kinds are in one chain, and each may come alone before it."""
    return await _written(given, replace(_BOTH, handed_on=frozenset({HandedOnRule(_WEB.address, device="gre0")})))


async def two_sizes_for_one_address(given: PacketFilter) -> str | None:
    """Refused, and everything stays as it was."""
    return await _refused(given, PacketRules(clamps=frozenset({_CLAMP, _CLAMP._replace(size=1300)})))


async def other_rules(given: PacketFilter) -> str | None:
    """A second table takes the place of the first, with another mark for the same packets, and a source kept."""
    await given.replace(_marks(_WEB, _TLS))
    await given.replace(_BOTH)
    return await _written(
        given, PacketRules(marks=frozenset({_WEB._replace(mark=0x2000), _SIX}), kept_sources=frozenset({_NAT}))
    )


async def many_rules(given: PacketFilter) -> str | None:
    """As many as a hundred services of thirty ports have."""
    return await _written(given, _MANY)


async def no_rules(given: PacketFilter) -> str | None:
    """Then there is no table, also where there was none."""
    await given.replace(NO_RULES)
    missing = await _differs(given, None)
    await given.replace(_BOTH)
    await given.replace(NO_RULES)
    return missing or await _differs(given, None)


async def two_marks_for_the_same_packets(given: PacketFilter) -> str | None:
    """Refused, and everything stays as it was."""
    return await _refused(given, _marks(_WEB, _WEB._replace(mark=0x2000)))


async def a_source_that_is_rewritten_and_kept(given: PacketFilter) -> str | None:
    """Refused, and everything stays as it was."""
    return await _refused(given, replace(_BOTH, kept_sources=frozenset({_NAT})))


async def the_generation_tells_of_changes(given: PacketFilter) -> str | None:
    """Reading changes nothing."""
    first = given.generation()
    await given.read()
    if given.generation() != first:
        return "reading changes the generation"
    await given.replace(_marks(_WEB))
    second = given.generation()
    await given.replace(_marks(_TLS))
    return None if len({first, second, given.generation()}) == 3 else "a change goes unseen"  # noqa: PLR2004 -- all differ


Case = Callable[[PacketFilter], Awaitable[str | None]]
CASES: tuple[Case, ...] = (
    marks_of_both_families_and_all_protocols,
    a_mark_of_one_family,
    source_nat_alone,
    kept_sources_alone,
    marks_and_source_nat,
    who_is_unwrapped_and_what_is_clamped,
    tunnels_of_one_family_beside_all_else,
    a_port_for_gue_alone,
    what_other_directors_hand_on,
    what_is_handed_on_beside_all_else,
    two_sizes_for_one_address,
    other_rules,
    many_rules,
    no_rules,
    two_marks_for_the_same_packets,
    a_source_that_is_rewritten_and_kept,
    the_generation_tells_of_changes,
)


async def complaints(make: Callable[[], PacketFilter]) -> dict[str, str | None]:
    """Run every case; what was not as it should be, by the case's name."""
    found: dict[str, str | None] = {}
    for case in CASES:
        given = make()
        found[case.__name__] = await _differs(given, None) or await case(given)
        await given.replace(NO_RULES)
    return found


async def _written(given: PacketFilter, rules: PacketRules) -> str | None:
    await given.replace(rules)
    return await _differs(given, PacketTable(rules=rules))


async def _refused(given: PacketFilter, rules: PacketRules) -> str | None:
    await given.replace(_marks(_TLS))
    try:
        await given.replace(rules)
    except PacketFilterError:
        return await _differs(given, PacketTable(rules=_marks(_TLS)))
    return "two rules for the same packets are taken"


async def _differs(given: PacketFilter, wanted: PacketTable | None) -> str | None:
    found = await given.read()
    return None if found == wanted else f"the table is {found}, not {wanted}"
