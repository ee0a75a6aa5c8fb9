"""Our table of the packet filter as JSON: what is written, and what a listing of nft 1.1.3 is read as."""

import copy
import json
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, strategies

from lvs_agent.decide.kernel_state import MarkRule, MarkTable, TransportProtocol
from lvs_agent.kernel.nft_json import read_table, replacement

WEB = MarkRule(ip_address("192.168.8.17"), TransportProtocol.TCP, 80, 4097)
SCTP = MarkRule(ip_address("192.168.8.17"), TransportProtocol.SCTP, 443, 4097)
# nft --json --numeric list table inet lvs-operator, after `replacement([WEB, SCTP])`
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
    assert read_table(LISTED) == MarkTable(rules=frozenset({WEB, SCTP}))


def test_what_is_written_is_one_transaction_that_begins_with_nothing() -> None:
    commands = replacement([SCTP, WEB])["nftables"]
    assert [next(iter(one)) for one in commands[:3]] == ["add", "delete", "add"]
    assert read_table({"nftables": [one["add"] for one in commands[2:]]}) == read_table(LISTED)


def test_without_rules_there_is_no_table() -> None:
    assert [next(iter(one)) for one in replacement(())["nftables"]] == ["add", "delete"]


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
    assert read_table(listed) == MarkTable(rules=frozenset({WEB, SCTP}), is_whole=False)


@pytest.mark.parametrize("element", [["192.168.8.17", 4097], [{"concat": ["192.168.8.17", 6]}, 4097], 5])
def test_an_element_of_another_form_is_not_understood(element: object) -> None:
    listed = copy.deepcopy(LISTED)
    parts(listed, "map")[0]["elem"] = [element]
    with pytest.raises((ValueError, KeyError, TypeError)):
        read_table(listed)


RULES = strategies.builds(
    MarkRule,
    strategies.ip_addresses(),
    strategies.sampled_from(TransportProtocol),
    strategies.integers(1, 65535),
    strategies.integers(1, 2**32 - 1),
)


@given(strategies.sets(RULES, min_size=1, max_size=20))
def test_any_rules_are_read_as_they_were_written(rules: set[MarkRule]) -> None:
    commands = replacement(rules)["nftables"]
    assert read_table({"nftables": [one["add"] for one in commands[2:]]}) == MarkTable(rules=frozenset(rules))
