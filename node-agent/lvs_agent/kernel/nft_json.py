"""Our nftables table as JSON, both ways (libnftables-json(5)).

Marks: a map of each family leads from address, protocol and port to the mark, and one chain looks packets up in both;
so a thousand ports cost a packet no more than one. The chain comes after those that mark by the name `mangle`, and
before destinations are rewritten: the kernel compares the whole mark, so ours is the last word.

What other directors hand on: sets of each family have the address with the sender's MAC address, or with the device
that unwraps. Looked up in the same chain, after those maps: this mark counts whatever else is marked.

Source NAT: nothing in a rule says that IPVS had a packet. But by postrouting IPVS has made the packet's destination the
real server, while the connection's original destination is still what the client wrote (ip_vs_update_conntrack in
ip_vs_nfct.c, with net.ipv4.vs.conntrack): both together are looked up. What is forwarded to a real server without IPVS
has it as its original destination, and a packet of DirectRouting or Tunnel has not got it as its present one.

Tunnels: packets of a tunnel's protocol, or to a port for GUE, that come from nobody who is named for it are dropped
before a tunnel device sees them, those of IPv4 with their fragments put together. Of connections' first packets from
a VIP, which name the size of the segments that may come, that size is lowered; the kernel never raises it here
(nft_exthdr.c).

Parts are there only where something needs them: a chain of type nat has the kernel track every connection.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final

from lvs_agent.decide.kernel_state import TransportProtocol
from lvs_agent.decide.packet_table import (
    HANDED_ON_MARK,
    ClampRule,
    HandedOnRule,
    MarkRule,
    PacketRules,
    PacketTable,
    SourceNatRule,
    UnwrapRule,
)

FAMILY: Final = "inet"
TABLE: Final = "lvs-operator"
_WHERE: Final = {"family": FAMILY, "table": TABLE}
_MARKING: Final = "prerouting"
_MARKING_HOOK: Final = {"type": "filter", "hook": "prerouting", "prio": -140, "policy": "accept"}
"""Priority mangle + 10."""
_SOURCE_NAT: Final = "postrouting"
_SOURCE_NAT_HOOK: Final = {"type": "nat", "hook": "postrouting", "prio": 90, "policy": "accept"}
"""Priority srcnat - 10: of several chains the first that rewrites a connection counts."""
_REWRITING: Final = "source-nat"
_MARK_MAPS: Final = {4: "ipv4", 6: "ipv6"}
_NAT_MAPS: Final = {4: "source-nat-ipv4", 6: "source-nat-ipv6"}
_EVERY_PORT_MAPS: Final = {4: "source-nat-ipv4-every-port", 6: "source-nat-ipv6-every-port"}
_ADDRESS_TYPES: Final = {4: "ipv4_addr", 6: "ipv6_addr"}
_PACKETS: Final = {4: "ip", 6: "ip6"}
_REWRITE: Final = {"jump": {"target": _REWRITING}}
_KEEP: Final = {"accept": None}
_PROTOCOL: Final = {"meta": {"key": "l4proto"}}
_UDP_PORT: Final = {"payload": {"protocol": "udp", "field": "dport"}}
_UNWRAPPING: Final = "unwrapping"
_UNWRAPPING_HOOK: Final = {"type": "filter", "hook": "input", "prio": -10, "policy": "accept"}
"""Priority filter - 10."""
_UNWRAP_SETS: Final = {4: "unwrapped-ipv4", 6: "unwrapped-ipv6"}
_PORT_SETS: Final = {4: "unwrapped-ports-ipv4", 6: "unwrapped-ports-ipv6"}
_CLAMPING: Final = "clamping"
_CLAMPING_HOOK: Final = {"type": "filter", "hook": "postrouting", "prio": 110, "policy": "accept"}
"""Priority srcnat + 10: an answer that a container gave has the VIP as its source by then."""
_CLAMP_MAPS: Final = {4: "clamped-ipv4", 6: "clamped-ipv6"}
_CLAMP_CHAIN: Final = "segments-"
_SYN: Final = 2
_FLAGS: Final = {"payload": {"protocol": "tcp", "field": "flags"}}
_BY_MAC_SETS: Final = {4: "handed-on-ipv4", 6: "handed-on-ipv6"}
_BY_DEVICE_SETS: Final = {4: "handed-on-by-device-ipv4", 6: "handed-on-by-device-ipv6"}
_HANDED_ON_SETS: Final = frozenset({*_BY_MAC_SETS.values(), *_BY_DEVICE_SETS.values()})
_SENDER: Final = {"payload": {"protocol": "ether", "field": "saddr"}}
_CAME_IN_BY: Final = {"meta": {"key": "iifname"}}
_METADATA: Final = frozenset({"handle", "family", "table", "name"})

Json = dict[str, Any]


def replacement(rules: PacketRules) -> Json:
    """One transaction after which the table is just so; without rules there is none."""
    table = {"table": {"family": FAMILY, "name": TABLE}}
    commands: list[Json] = [{"add": table}, {"delete": table}]  # `add` first: `delete` fails where there is none
    if rules:
        commands += [{"add": one} for one in (table, *_parts(rules))]
    return {"nftables": commands}


def read_table(listed: Json) -> PacketTable:
    """What a listing of the table, with numbers for protocols, says. Raises ValueError, KeyError or TypeError."""
    marks: set[MarkRule] = set()
    rewritten: set[SourceNatRule] = set()
    kept: set[SourceNatRule] = set()
    found = [one for one in listed["nftables"] if not one.keys() & {"metainfo", "table"}]
    unwraps: set[UnwrapRule] = set()
    clamps: set[ClampRule] = set()
    handed_on: set[HandedOnRule] = set()
    for one in found:
        part = one.get("map", {})
        for key, value in part.get("elem", ()):
            if part.get("map") == "mark":
                marks.add(_mark_rule(key["concat"], value))
            elif part["name"] in _CLAMP_MAPS.values():
                clamps |= _clamp_rule(key, value)
            else:
                (rewritten if value == _REWRITE else kept).add(_source_nat_rule(key["concat"]))
        for element in one.get("set", {}).get("elem", ()):
            number, source = element["concat"]
            if one["set"]["name"] in _HANDED_ON_SETS:
                kind = "mac" if one["set"]["name"] in _BY_MAC_SETS.values() else "device"
                handed_on.add(HandedOnRule(ip_address(number), **{kind: str(source)}))
            elif one["set"]["name"] in _PORT_SETS.values():
                unwraps.add(UnwrapRule(TransportProtocol.UDP, ip_address(source), int(number)))
            else:
                unwraps.add(UnwrapRule(int(number), ip_address(source)))
    rules = PacketRules(
        marks=frozenset(marks),
        source_nat=frozenset(rewritten),
        kept_sources=frozenset(kept - rewritten),
        unwraps=frozenset(unwraps),
        clamps=frozenset(clamps),
        handed_on=frozenset(handed_on),
    )
    return PacketTable(rules=rules, is_whole=_essences(found) == _essences(_parts(rules)))


def _parts(rules: PacketRules) -> Iterator[Json]:
    if rules.marks or rules.handed_on:
        yield {"chain": {**_WHERE, "name": _MARKING, **_MARKING_HOOK}}
    if rules.marks:
        yield from _mark_parts(rules.marks)
    if rules.handed_on:
        yield from _handed_on_parts(rules.handed_on)
    if rules.source_nat or rules.kept_sources:
        yield from _source_nat_parts(rules)
    if rules.unwraps:
        yield from _unwrap_parts(rules.unwraps)
    if rules.clamps:
        yield from _clamp_parts(rules.clamps)


def _unwrap_parts(rules: frozenset[UnwrapRule]) -> Iterator[Json]:
    yield {"chain": {**_WHERE, "name": _UNWRAPPING, **_UNWRAPPING_HOOK}}
    for version, name in _UNWRAP_SETS.items():
        here = sorted((rule for rule in rules if rule.source.version == version), key=str)
        by_protocol = [(rule.protocol, str(rule.source)) for rule in here if not rule.port]
        by_port = [(rule.port, str(rule.source)) for rule in here if rule.port]
        yield from _unwrap_set(version, name, "inet_proto", _PROTOCOL, by_protocol)
        yield from _unwrap_set(version, _PORT_SETS[version], "inet_service", _UDP_PORT, by_port)


def _unwrap_set(
    version: int, name: str, kind: str, looked_up: Json, elements: Sequence[tuple[int, str]]
) -> Iterator[Json]:
    """Who may send what; what is named for anybody is dropped from all others."""
    if not elements:
        return
    listed = [{"concat": [number, source]} for number, source in elements]
    yield {"set": {**_WHERE, "name": name, "type": [kind, _ADDRESS_TYPES[version]], "elem": listed}}
    sender = {"concat": [looked_up, {"payload": {"protocol": _PACKETS[version], "field": "saddr"}}]}
    for number in sorted({number for number, _ in elements}):
        is_it, is_named = _match("==", looked_up, number), _match("!=", sender, f"@{name}")
        yield _rule(_UNWRAPPING, is_it, is_named, {"drop": None})


def _clamp_parts(rules: frozenset[ClampRule]) -> Iterator[Json]:
    for size in sorted({rule.size for rule in rules}):
        yield {"chain": {**_WHERE, "name": f"{_CLAMP_CHAIN}{size}"}}
        option = {"tcp option": {"name": "maxseg", "field": "size"}}
        yield _rule(f"{_CLAMP_CHAIN}{size}", {"mangle": {"key": option, "value": size}})
    yield {"chain": {**_WHERE, "name": _CLAMPING, **_CLAMPING_HOOK}}
    for version, name in _CLAMP_MAPS.items():
        here = sorted((rule for rule in rules if rule.address.version == version), key=str)
        elements = [[str(rule.address), {"jump": {"target": f"{_CLAMP_CHAIN}{rule.size}"}}] for rule in here]
        if elements:
            yield _map(name, _ADDRESS_TYPES[version], "verdict", elements)
            opens = _match("==", {"&": [_FLAGS, _SYN]}, _SYN)
            source = {"payload": {"protocol": _PACKETS[version], "field": "saddr"}}
            yield _rule(_CLAMPING, opens, {"vmap": {"key": source, "data": f"@{name}"}})


def _mark_parts(rules: Iterable[MarkRule]) -> Iterator[Json]:
    for version, name in _MARK_MAPS.items():
        elements = [_mark_element(rule) for rule in sorted(rules, key=str) if rule.address.version == version]
        yield _map(name, [_ADDRESS_TYPES[version], "inet_proto", "inet_service"], "mark", elements)
    for version, name in _MARK_MAPS.items():
        found = {"map": {"key": {"concat": [_payload(version), _PROTOCOL, _port()]}, "data": f"@{name}"}}
        yield _rule(_MARKING, {"mangle": {"key": {"meta": {"key": "mark"}}, "value": found}})


def _handed_on_parts(rules: Iterable[HandedOnRule]) -> Iterator[Json]:
    ordered = sorted(rules, key=str)
    for names, kind, sender in ((_BY_MAC_SETS, "ether_addr", _SENDER), (_BY_DEVICE_SETS, "ifname", _CAME_IN_BY)):
        for version, name in names.items():
            here = [rule for rule in ordered if rule.address.version == version]
            chosen = [(str(rule.address), rule.mac if kind == "ether_addr" else rule.device) for rule in here]
            elements = [{"concat": list(one)} for one in chosen if one[1]]
            if elements:
                yield {"set": {**_WHERE, "name": name, "type": [_ADDRESS_TYPES[version], kind], "elem": elements}}
                is_it = _match("==", {"concat": [_payload(version), sender]}, f"@{name}")
                yield _rule(_MARKING, is_it, {"mangle": {"key": {"meta": {"key": "mark"}}, "value": HANDED_ON_MARK}})


def _source_nat_parts(rules: PacketRules) -> Iterator[Json]:
    """Rules of one port are looked up before those of every port."""
    yield {"chain": {**_WHERE, "name": _REWRITING}}
    yield _rule(_REWRITING, {"masquerade": None})
    yield {"chain": {**_WHERE, "name": _SOURCE_NAT, **_SOURCE_NAT_HOOK}}
    elements = [(rule, _REWRITE) for rule in rules.source_nat] + [(rule, _KEEP) for rule in rules.kept_sources]
    elements.sort(key=lambda one: (str(one[0]), str(one[1])))
    for names, has_ports in ((_NAT_MAPS, True), (_EVERY_PORT_MAPS, False)):
        for version, name in names.items():
            address = _ADDRESS_TYPES[version]
            port = ["inet_service"] if has_ports else []
            here = [
                [_source_nat_key(rule), verdict]
                for rule, verdict in elements
                if rule.address.version == version and bool(rule.port) is has_ports
            ]
            yield _map(name, [address, "inet_proto", *port, address, *port], "verdict", here)
            yield _rule(_SOURCE_NAT, {"vmap": {"key": {"concat": _looked_up(version, has_ports)}, "data": f"@{name}"}})


def _looked_up(version: int, has_ports: bool) -> list[Json]:
    """`ct original ip daddr . meta l4proto . ct original proto-dst . ip daddr . th dport`, or without the ports."""
    address, port = ({"ct": {"key": key, "dir": "original"}} for key in (f"{_PACKETS[version]} daddr", "proto-dst"))
    if has_ports:
        return [address, _PROTOCOL, port, _payload(version), _port()]
    return [address, _PROTOCOL, _payload(version)]


def _payload(version: int) -> Json:
    return {"payload": {"protocol": _PACKETS[version], "field": "daddr"}}


def _port() -> Json:
    return {"payload": {"protocol": "th", "field": "dport"}}


def _map(name: str, key: list[str] | str, value: str, elements: list[Any]) -> Json:
    return {"map": {**_WHERE, "name": name, "type": key, "map": value, **({"elem": elements} if elements else {})}}


def _rule(chain: str, *statements: Json) -> Json:
    return {"rule": {**_WHERE, "chain": chain, "expr": list(statements)}}


def _match(operator: str, left: Json, right: object) -> Json:
    return {"match": {"op": operator, "left": left, "right": right}}


def _mark_element(rule: MarkRule) -> list[Any]:
    return [{"concat": [str(rule.address), int(rule.protocol), rule.port]}, rule.mark]


def _mark_rule(key: list[Any], mark: int) -> MarkRule:
    address, protocol, port = key
    return MarkRule(ip_address(address), TransportProtocol(protocol), int(port), int(mark))


def _clamp_rule(address: str, verdict: Json) -> set[ClampRule]:
    """Nothing of a verdict that is not ours: by those the table is not whole."""
    target = verdict.get("jump", {}).get("target", "")
    size = target.removeprefix(_CLAMP_CHAIN)
    return {ClampRule(ip_address(address), int(size))} if size != target and size.isdecimal() else set()


def _source_nat_key(rule: SourceNatRule) -> Json:
    address, server = str(rule.address), str(rule.server)
    if rule.port:
        return {"concat": [address, int(rule.protocol), rule.port, server, rule.server_port]}
    return {"concat": [address, int(rule.protocol), server]}


def _source_nat_rule(key: list[Any]) -> SourceNatRule:
    address, protocol, *port, server, server_port = key if len(key) == len(SourceNatRule._fields) else [*key, 0]
    return SourceNatRule(
        ip_address(address), TransportProtocol(protocol), int(*port), ip_address(server), int(server_port)
    )


def _essence(one: Mapping[str, Json]) -> Json:
    """A part without what differs from one making to the next; of elements, which are compared apart, the verdicts."""
    ((kind, body),) = one.items()
    verdicts = sorted({str(value) for _, value in body.get("elem", ())}) if body.get("map") == "verdict" else []
    return {"kind": kind, "name": body.get("name"), "verdicts": verdicts} | {
        key: value for key, value in body.items() if key not in _METADATA | {"elem"}
    }


def _essences(parts: Iterable[Json]) -> list[str]:
    return sorted(str(sorted(_essence(part).items())) for part in parts)
