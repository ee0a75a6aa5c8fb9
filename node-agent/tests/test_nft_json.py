"""Our table of the packet filter as JSON: what is written, and what a listing of nft 1.1.3 is read as."""

import copy
import json
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, strategies

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
from lvs_agent.kernel.nft_json import read_table, replacement

WEB = MarkRule(ip_address("192.168.8.17"), TransportProtocol.TCP, 80, 4097)
SCTP = MarkRule(ip_address("192.168.8.17"), TransportProtocol.SCTP, 443, 4097)
MARKS = PacketRules(marks=frozenset({WEB, SCTP}))
# nft --json --numeric list table inet lvs-operator, after `replacement(PacketRules(marks={WEB, SCTP}))`
LISTED = json.loads("""
{"nftables": [{"metainfo": {"version": "1.1.3", "release_name": "Commodore Bullmoose #4", "json_schema_version": 1}},
{"table": {"family": "inet", "name": "lvs-operator", "handle": 2}},
{"chain": {"family": "inet", "table": "lvs-operator", "name": "prerouting", "handle": 3, "type": "filter",
 "hook": "prerouting", "prio": -140, "policy": "accept"}},
{"map": {"family": "inet", "name": "ipv4", "table": "lvs-operator", "type": ["ipv4_addr", "inet_proto", "inet_service"],
 "handle": 1, "map": "mark", "elem": [[{"concat": ["192.168.8.17", 6, 80]}, 4097],
 [{"concat": ["192.168.8.17", 132, 443]}, 4097]]}},
{"map": {"family": "inet", "name": "ipv6", "table": "lvs-operator", "type": ["ipv6_addr", "inet_proto", "inet_service"],
 "handle": 2, "map": "mark"}},
{"rule": {"family": "inet", "table": "lvs-operator", "chain": "prerouting", "handle": 4, "expr": [{"mangle": {"key":
 {"meta": {"key": "mark"}}, "value": {"map": {"key": {"concat": [{"payload": {"protocol": "ip", "field": "daddr"}},
 {"meta": {"key": "l4proto"}}, {"payload": {"protocol": "th", "field": "dport"}}]}, "data": "@ipv4"}}}}]}},
{"rule": {"family": "inet", "table": "lvs-operator", "chain": "prerouting", "handle": 5, "expr": [{"mangle": {"key":
 {"meta": {"key": "mark"}}, "value": {"map": {"key": {"concat": [{"payload": {"protocol": "ip6", "field": "daddr"}},
 {"meta": {"key": "l4proto"}}, {"payload": {"protocol": "th", "field": "dport"}}]}, "data": "@ipv6"}}}}]}}]}
""")

Listed = dict[str, Any]


def parts(listed: Listed, kind: str) -> list[Any]:
    return [one[kind] for one in listed["nftables"] if kind in one]


def test_a_listing_is_read_whole() -> None:
    assert read_table(LISTED) == PacketTable(rules=MARKS)


def test_what_is_written_is_one_transaction_that_begins_with_nothing() -> None:
    commands = replacement(MARKS)["nftables"]
    assert [next(iter(one)) for one in commands[:3]] == ["add", "delete", "add"]
    assert read_table({"nftables": [one["add"] for one in commands[2:]]}) == read_table(LISTED)


def test_without_rules_there_is_no_table() -> None:
    assert [next(iter(one)) for one in replacement(NO_RULES)["nftables"]] == ["add", "delete"]


SPOILS: list[Callable[[Listed], object]] = [
    lambda listed: parts(listed, "chain")[0].update(prio=0),
    lambda listed: parts(listed, "chain")[0].update(policy="drop"),
    lambda listed: parts(listed, "rule")[0]["expr"].append({"drop": None}),
    lambda listed: parts(listed, "rule")[0].update(expr=[{"accept": None}]),
    lambda listed: listed["nftables"].pop(),
    lambda listed: listed["nftables"].append(listed["nftables"][-1]),
    lambda listed: listed["nftables"].append({"chain": {"family": "inet", "table": "lvs-operator", "name": "other"}}),
    lambda listed: listed["nftables"].append({"set": {"family": "inet", "table": "lvs-operator", "name": "other"}}),
    lambda listed: parts(listed, "map")[1].update(name="ipv7"),
]


@pytest.mark.parametrize("spoil", SPOILS)
def test_what_somebody_else_changed_is_seen(spoil: Callable[[Listed], object]) -> None:
    listed = copy.deepcopy(LISTED)
    spoil(listed)
    assert read_table(listed) == PacketTable(rules=MARKS, is_whole=False)


@pytest.mark.parametrize("element", [["192.168.8.17", 4097], [{"concat": ["192.168.8.17", 6]}, 4097], 5])
def test_an_element_of_another_form_is_not_understood(element: object) -> None:
    listed = copy.deepcopy(LISTED)
    parts(listed, "map")[0]["elem"] = [element]
    with pytest.raises((ValueError, KeyError, TypeError)):
        read_table(listed)


NAT = SourceNatRule(ip_address("192.168.4.5"), TransportProtocol.TCP, 80, ip_address("192.168.2.100"), 8080)
KEPT = NAT._replace(port=81, server_port=81)
EVERY = SourceNatRule(ip_address("2001:db8::5"), TransportProtocol.UDP, 0, ip_address("2001:db8::100"), 0)
SOURCE_NAT = PacketRules(source_nat=frozenset({NAT, EVERY}), kept_sources=frozenset({KEPT}))


def written(rules: PacketRules) -> Listed:
    return {"nftables": [one["add"] for one in replacement(rules)["nftables"][2:]]}


def test_source_nat_is_one_chain_of_type_nat_and_nothing_of_marks() -> None:
    listed = written(SOURCE_NAT)
    assert [(one["name"], one.get("hook")) for one in parts(listed, "chain")] == [
        ("source-nat", None),
        ("postrouting", "postrouting"),
    ]
    assert read_table(listed) == PacketTable(rules=SOURCE_NAT)


DROP = {"drop": None}
NAT_SPOILS: list[Callable[[Listed], object]] = [
    lambda listed: parts(listed, "chain")[1].update(type="filter"),
    lambda listed: parts(listed, "rule")[0].update(expr=[{"masquerade": {"flags": "random"}}]),
    lambda listed: parts(listed, "map")[0]["elem"].append([{"concat": ["10.0.0.1", 6, 1, "10.0.0.2", 1]}, DROP]),
    lambda listed: listed["nftables"].append(written(MARKS)["nftables"][-1]),
]


@pytest.mark.parametrize("spoil", NAT_SPOILS)
def test_what_somebody_else_changed_of_source_nat_is_seen(spoil: Callable[[Listed], object]) -> None:
    listed = written(SOURCE_NAT)
    spoil(listed)
    assert not read_table(listed).is_whole


TUNNELS = PacketRules(
    unwraps=frozenset({UnwrapRule(4, ip_address("192.168.4.5")), UnwrapRule(41, ip_address("2001:db8::5"))}),
    clamps=frozenset({ClampRule(ip_address("192.168.4.15"), 1440), ClampRule(ip_address("192.168.4.16"), 1300)}),
)
# nft --json --numeric list table inet lvs-operator, after `replacement(TUNNELS)`
TUNNELS_LISTED = json.loads("""
{"nftables": [{"metainfo": {"version": "1.1.3", "release_name": "Commodore Bullmoose #4", "json_schema_version": 1}},
{"table": {"family": "inet", "name": "lvs-operator", "handle": 2}},
{"chain": {"family": "inet", "table": "lvs-operator", "name": "unwrapping", "handle": 1, "type": "filter", "hook":
 "input", "prio": -10, "policy": "accept"}},
{"chain": {"family": "inet", "table": "lvs-operator", "name": "segments-1300", "handle": 6}},
{"chain": {"family": "inet", "table": "lvs-operator", "name": "segments-1440", "handle": 8}},
{"chain": {"family": "inet", "table": "lvs-operator", "name": "clamping", "handle": 10, "type": "filter", "hook":
 "postrouting", "prio": 110, "policy": "accept"}},
{"set": {"family": "inet", "name": "unwrapped-ipv4", "table": "lvs-operator", "type": ["inet_proto", "ipv4_addr"],
 "handle": 2, "elem": [{"concat": [4, "192.168.4.5"]}]}},
{"set": {"family": "inet", "name": "unwrapped-ipv6", "table": "lvs-operator", "type": ["inet_proto", "ipv6_addr"],
 "handle": 4, "elem": [{"concat": [41, "2001:db8::5"]}]}},
{"map": {"family": "inet", "name": "clamped-ipv4", "table": "lvs-operator", "type": "ipv4_addr", "handle": 11, "map":
 "verdict", "elem": [["192.168.4.15", {"jump": {"target": "segments-1440"}}], ["192.168.4.16", {"jump": {"target":
 "segments-1300"}}]]}},
{"rule": {"family": "inet", "table": "lvs-operator", "chain": "unwrapping", "handle": 3, "expr": [{"match": {"op":
 "==", "left": {"meta": {"key": "l4proto"}}, "right": 4}}, {"match": {"op": "!=", "left": {"concat": [{"meta": {"key":
 "l4proto"}}, {"payload": {"protocol": "ip", "field": "saddr"}}]}, "right": "@unwrapped-ipv4"}}, {"drop": null}]}},
{"rule": {"family": "inet", "table": "lvs-operator", "chain": "unwrapping", "handle": 5, "expr": [{"match": {"op":
 "==", "left": {"meta": {"key": "l4proto"}}, "right": 41}}, {"match": {"op": "!=", "left": {"concat": [{"meta":
 {"key": "l4proto"}}, {"payload": {"protocol": "ip6", "field": "saddr"}}]}, "right": "@unwrapped-ipv6"}}, {"drop":
 null}]}},
{"rule": {"family": "inet", "table": "lvs-operator", "chain": "segments-1300", "handle": 7, "expr": [{"mangle":
 {"key": {"tcp option": {"name": "maxseg", "field": "size"}}, "value": 1300}}]}},
{"rule": {"family": "inet", "table": "lvs-operator", "chain": "segments-1440", "handle": 9, "expr": [{"mangle":
 {"key": {"tcp option": {"name": "maxseg", "field": "size"}}, "value": 1440}}]}},
{"rule": {"family": "inet", "table": "lvs-operator", "chain": "clamping", "handle": 12, "expr": [{"match": {"op":
 "==", "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, 2]}, "right": 2}}, {"vmap": {"key":
 {"payload": {"protocol": "ip", "field": "saddr"}}, "data": "@clamped-ipv4"}}]}}]}
""")


def test_a_listing_of_tunnels_is_read_whole() -> None:
    assert read_table(TUNNELS_LISTED) == PacketTable(rules=TUNNELS)


TUNNEL_SPOILS: list[Callable[[Listed], object]] = [
    lambda listed: parts(listed, "chain")[0].update(hook="forward"),
    lambda listed: parts(listed, "rule")[0]["expr"].pop(),
    lambda listed: parts(listed, "rule")[0]["expr"][0]["match"].update(right=47),
    lambda listed: parts(listed, "rule")[-1].update(expr=[{"accept": None}]),
    lambda listed: parts(listed, "map")[0]["elem"].append(["192.168.4.17", {"jump": {"target": "segments-1300"}}]),
    lambda listed: parts(listed, "map")[0]["elem"].append(["192.168.4.17", {"drop": None}]),
    lambda listed: parts(listed, "map")[0]["elem"].append(["192.168.4.17", {"jump": {"target": "other"}}]),
    lambda listed: parts(listed, "set")[0]["elem"].append({"concat": [47, "192.168.4.5"]}),
]


@pytest.mark.parametrize("spoil", TUNNEL_SPOILS)
def test_what_somebody_else_changed_of_tunnels_is_seen(spoil: Callable[[Listed], object]) -> None:
    listed = copy.deepcopy(TUNNELS_LISTED)
    spoil(listed)
    assert read_table(listed) != PacketTable(rules=TUNNELS)


HANDED_ON = PacketRules(
    handed_on=frozenset(
        {
            HandedOnRule(ip_address("192.168.4.15"), mac="02:00:00:00:00:06"),
            HandedOnRule(ip_address("2001:db8:4::15"), device="ip6tnl0"),
        }
    )
)
# nft --json --numeric list table inet lvs-operator, after `replacement(HANDED_ON)`
HANDED_ON_LISTED = json.loads("""
{"nftables": [{"metainfo": {"version": "1.1.3", "release_name": "Commodore Bullmoose #4", "json_schema_version": 1}},
{"table": {"family": "inet", "name": "lvs-operator", "handle": 4}},
{"chain": {"family": "inet", "table": "lvs-operator", "name": "prerouting", "handle": 1, "type": "filter", "hook":
 "prerouting", "prio": -140, "policy": "accept"}},
{"set": {"family": "inet", "name": "handed-on-ipv4", "table": "lvs-operator", "type": ["ipv4_addr", "ether_addr"],
 "handle": 2, "elem": [{"concat": ["192.168.4.15", "02:00:00:00:00:06"]}]}},
{"set": {"family": "inet", "name": "handed-on-by-device-ipv6", "table": "lvs-operator", "type": ["ipv6_addr",
 "ifname"], "handle": 4, "elem": [{"concat": ["2001:db8:4::15", "ip6tnl0"]}]}},
{"rule": {"family": "inet", "table": "lvs-operator", "chain": "prerouting", "handle": 3, "expr": [{"match": {"op":
 "==", "left": {"concat": [{"payload": {"protocol": "ip", "field": "daddr"}}, {"payload": {"protocol": "ether",
 "field": "saddr"}}]}, "right": "@handed-on-ipv4"}}, {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 4095}}]}},
{"rule": {"family": "inet", "table": "lvs-operator", "chain": "prerouting", "handle": 5, "expr": [{"match": {"op":
 "==", "left": {"concat": [{"payload": {"protocol": "ip6", "field": "daddr"}}, {"meta": {"key": "iifname"}}]},
 "right": "@handed-on-by-device-ipv6"}}, {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 4095}}]}}]}
""")


def test_a_listing_of_what_is_handed_on_is_read_whole() -> None:
    assert read_table(HANDED_ON_LISTED) == PacketTable(rules=HANDED_ON)


HANDED_ON_SPOILS: list[Callable[[Listed], object]] = [
    lambda listed: parts(listed, "rule")[0]["expr"][1]["mangle"].update(value=4096),
    lambda listed: parts(listed, "rule")[0]["expr"].pop(0),
    lambda listed: parts(listed, "set")[0]["elem"].append({"concat": ["192.168.4.15", "02:00:00:00:00:07"]}),
    lambda listed: parts(listed, "set")[1]["elem"].clear(),
]


@pytest.mark.parametrize("spoil", HANDED_ON_SPOILS)
def test_what_somebody_else_changed_of_what_is_handed_on_is_seen(spoil: Callable[[Listed], object]) -> None:
    listed = copy.deepcopy(HANDED_ON_LISTED)
    spoil(listed)
    assert read_table(listed) != PacketTable(rules=HANDED_ON)


def test_what_is_handed_on_has_the_last_word_over_marks() -> None:
    both = PacketRules(marks=MARKS.marks, handed_on=HANDED_ON.handed_on)
    rules = parts({"nftables": [one["add"] for one in replacement(both)["nftables"][2:]]}, "rule")
    assert [str(rule["expr"][-1]["mangle"]["value"])[:4] for rule in rules] == ["{'ma", "{'ma", "4095", "4095"]


def test_a_mark_table_without_marks_is_not_whole() -> None:
    listed = copy.deepcopy(LISTED)
    del parts(listed, "map")[0]["elem"]
    assert read_table(listed) == PacketTable(rules=NO_RULES, is_whole=False)


PROTOCOLS = strategies.sampled_from(TransportProtocol)
MARK_RULES = strategies.builds(
    MarkRule, strategies.ip_addresses(), PROTOCOLS, strategies.integers(1, 65535), strategies.integers(1, 2**32 - 1)
)


@strategies.composite
def source_nat_rules(draw: strategies.DrawFn) -> SourceNatRule:
    version = draw(strategies.sampled_from((4, 6)))
    address, server = (draw(strategies.ip_addresses(v=version)) for _ in range(2))
    port, server_port = draw(
        strategies.just((0, 0)) | strategies.tuples(strategies.integers(1, 65535), strategies.integers(1, 65535))
    )
    return SourceNatRule(address, draw(PROTOCOLS), port, server, server_port)


UNWRAP_RULES = strategies.builds(
    UnwrapRule, strategies.sampled_from((4, 41, 47)), strategies.ip_addresses(), strategies.just(0)
) | strategies.builds(UnwrapRule, strategies.just(17), strategies.ip_addresses(), strategies.integers(1, 65535))
MACS = strategies.binary(min_size=6, max_size=6).map(lambda mac: mac.hex(":"))
HANDED_ON_RULES = strategies.builds(
    HandedOnRule, strategies.ip_addresses(), MACS, strategies.just("")
) | strategies.builds(
    HandedOnRule, strategies.ip_addresses(), strategies.just(""), strategies.sampled_from(("tunl0", "gre0"))
)
SIZES = strategies.dictionaries(strategies.ip_addresses(), strategies.integers(1, 65535), max_size=20)


@given(
    strategies.frozensets(MARK_RULES, max_size=20),
    strategies.frozensets(source_nat_rules(), max_size=20),
    strategies.frozensets(source_nat_rules(), max_size=20),
    strategies.frozensets(UNWRAP_RULES, max_size=20),
    SIZES.map(lambda sizes: frozenset(ClampRule(*one) for one in sizes.items())),
    strategies.frozensets(HANDED_ON_RULES, max_size=20),
)
def test_any_rules_are_read_as_they_were_written(  # noqa: PLR0917 -- one for each kind of rule
    marks: frozenset[MarkRule],
    source_nat: frozenset[SourceNatRule],
    kept: frozenset[SourceNatRule],
    unwraps: frozenset[UnwrapRule],
    clamps: frozenset[ClampRule],
    handed_on: frozenset[HandedOnRule],
) -> None:
    rules = PacketRules(
        marks=marks,
        source_nat=source_nat,
        kept_sources=kept - source_nat,
        unwraps=unwraps,
        clamps=clamps,
        handed_on=handed_on,
    )
    assert read_table(written(rules)) == PacketTable(rules=rules)
