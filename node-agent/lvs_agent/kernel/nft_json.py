"""Our nftables table as JSON, both ways (libnftables-json(5)).

A map of each family leads from address, protocol and port to the mark, and one chain looks packets up in both; so a
thousand ports cost a packet no more than one. The chain comes after those that mark by the name `mangle`, and before
destinations are rewritten: the kernel compares the whole mark, so ours is the last word.
"""

from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_address
from typing import Any, Final

from lvs_agent.decide.kernel_state import MarkRule, MarkTable, TransportProtocol

FAMILY: Final = "inet"
TABLE: Final = "lvs-operator"
_CHAIN: Final = "prerouting"
_HOOK: Final = {"type": "filter", "hook": "prerouting", "prio": -140, "policy": "accept"}
"""Priority mangle + 10."""
_MAPS: Final = {4: "ipv4", 6: "ipv6"}
_ADDRESS_TYPES: Final = {4: "ipv4_addr", 6: "ipv6_addr"}
_PACKETS: Final = {4: "ip", 6: "ip6"}
_METADATA: Final = frozenset({"handle", "family", "table", "name"})

Json = dict[str, Any]


def replacement(rules: Collection[MarkRule]) -> Json:
    """One transaction after which the table is just so; without rules there is none."""
    table = {"table": {"family": FAMILY, "name": TABLE}}
    commands: list[Json] = [{"add": table}, {"delete": table}]  # `add` first: `delete` fails where there is none
    if rules:
        commands += [{"add": one} for one in (table, *_parts(rules))]
    return {"nftables": commands}


def read_table(listed: Json) -> MarkTable:
    """What a listing of the table, with numbers for protocols, says. Raises ValueError, KeyError or TypeError."""
    rules: set[MarkRule] = set()
    found = [one for one in listed["nftables"] if not one.keys() & {"metainfo", "table"}]
    for one in found:
        for element in one.get("map", {}).get("elem", ()):
            rules.add(_rule(element))
    wanted = [_essence(one) for one in _parts(())]
    return MarkTable(rules=frozenset(rules), is_whole=_sorted([_essence(one) for one in found]) == _sorted(wanted))


def _parts(rules: Collection[MarkRule]) -> Iterator[Json]:
    where = {"family": FAMILY, "table": TABLE}
    for version, name in _MAPS.items():
        elements = [_element(rule) for rule in sorted(rules, key=str) if rule.address.version == version]
        kind = [_ADDRESS_TYPES[version], "inet_proto", "inet_service"]
        yield {"map": {**where, "name": name, "type": kind, "map": "mark", **({"elem": elements} if elements else {})}}
    yield {"chain": {**where, "name": _CHAIN, **_HOOK}}
    for version, name in _MAPS.items():
        yield {"rule": {**where, "chain": _CHAIN, "expr": [_marking(version, name)]}}


def _marking(version: int, name: str) -> Json:
    """`meta mark set ip daddr . meta l4proto . th dport map @ipv4`."""
    looked_up = [
        {"payload": {"protocol": _PACKETS[version], "field": "daddr"}},
        {"meta": {"key": "l4proto"}},
        {"payload": {"protocol": "th", "field": "dport"}},
    ]
    found = {"map": {"key": {"concat": looked_up}, "data": f"@{name}"}}
    return {"mangle": {"key": {"meta": {"key": "mark"}}, "value": found}}


def _element(rule: MarkRule) -> list[Any]:
    return [{"concat": [str(rule.address), int(rule.protocol), rule.port]}, rule.mark]


def _rule(element: list[Any]) -> MarkRule:
    key, mark = element
    address, protocol, port = key["concat"]
    return MarkRule(ip_address(address), TransportProtocol(protocol), int(port), int(mark))


def _essence(one: Mapping[str, Json]) -> Json:
    """A part without elements, which are compared apart, and without what differs from one making to the next."""
    ((kind, body),) = one.items()
    return {"kind": kind, "name": body.get("name")} | {
        key: value for key, value in body.items() if key not in _METADATA | {"elem"}
    }


def _sorted(parts: list[Json]) -> list[str]:
    return sorted(str(sorted(part.items())) for part in parts)
