"""What every `Marks` must answer alike: the packet filter by nft, and the fake that stands in for it.

Each case begins without a table and leaves none.
"""

from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Final

from lvs_agent.decide.kernel_state import MarkRule, MarkTable, TransportProtocol
from lvs_agent.errors import MarksError
from lvs_agent.kernel.interface import Marks

_WEB: Final = MarkRule(ip_address("192.0.2.1"), TransportProtocol.TCP, 80, 0x1000)
_TLS: Final = MarkRule(ip_address("192.0.2.1"), TransportProtocol.TCP, 443, 0x1000)
_DNS: Final = MarkRule(ip_address("192.0.2.1"), TransportProtocol.UDP, 53, 0xFFFFFFFF)
_SIX: Final = MarkRule(ip_address("2001:db8::1"), TransportProtocol.SCTP, 65535, 1)
_MANY: Final = tuple(MarkRule(ip_address(0x0A000000 + n), TransportProtocol.TCP, 80, 16 + n) for n in range(3000))


async def rules_of_both_families_and_all_protocols(marks: Marks) -> str | None:
    """What is written is read, and nothing else."""
    rules = {_WEB, _TLS, _DNS, _SIX}
    await marks.replace(rules)
    return await _differs(marks, MarkTable(rules=frozenset(rules)))


async def a_rule_of_one_family(marks: Marks) -> str | None:
    """The other family's part is empty."""
    await marks.replace([_SIX])
    return await _differs(marks, MarkTable(rules=frozenset({_SIX})))


async def other_rules(marks: Marks) -> str | None:
    """A second table takes the place of the first, with another mark for the same packets."""
    other = _WEB._replace(mark=0x2000)
    await marks.replace([_WEB, _TLS])
    await marks.replace([other, _SIX])
    return await _differs(marks, MarkTable(rules=frozenset({other, _SIX})))


async def many_rules(marks: Marks) -> str | None:
    """As many as a hundred services of thirty ports have."""
    await marks.replace(_MANY)
    return await _differs(marks, MarkTable(rules=frozenset(_MANY)))


async def no_rules(marks: Marks) -> str | None:
    """Then there is no table, also where there was none."""
    await marks.replace(())
    missing = await _differs(marks, None)
    await marks.replace([_WEB])
    await marks.replace(())
    return missing or await _differs(marks, None)


async def two_marks_for_the_same_packets(marks: Marks) -> str | None:
    """Refused, and everything stays as it was."""
    await marks.replace([_TLS])
    try:
        await marks.replace([_WEB, _WEB._replace(mark=0x2000)])
    except MarksError:
        return await _differs(marks, MarkTable(rules=frozenset({_TLS})))
    return "two marks for the same packets are taken"


async def the_generation_tells_of_changes(marks: Marks) -> str | None:
    """Reading changes nothing."""
    first = marks.generation()
    await marks.read()
    if marks.generation() != first:
        return "reading changes the generation"
    await marks.replace([_WEB])
    second = marks.generation()
    await marks.replace([_TLS])
    return None if len({first, second, marks.generation()}) == 3 else "a change goes unseen"  # noqa: PLR2004


Case = Callable[[Marks], Awaitable[str | None]]
CASES: tuple[Case, ...] = (
    rules_of_both_families_and_all_protocols,
    a_rule_of_one_family,
    other_rules,
    many_rules,
    no_rules,
    two_marks_for_the_same_packets,
    the_generation_tells_of_changes,
)


async def complaints(make: Callable[[], Marks]) -> dict[str, str | None]:
    """Run every case; what was not as it should be, by the case's name."""
    found: dict[str, str | None] = {}
    for case in CASES:
        marks = make()
        found[case.__name__] = await _differs(marks, None) or await case(marks)
        await marks.replace(())
    return found


async def _differs(marks: Marks, wanted: MarkTable | None) -> str | None:
    found = await marks.read()
    return None if found == wanted else f"the table is {found}, not {wanted}"
