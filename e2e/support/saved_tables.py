"""Tables as `ipvsadm -S -n` writes them, drawn by hypothesis: what our objects can say, and what they can not."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hypothesis import strategies as st

VIPS: Final = ("192.168.4.15", "192.168.4.16", "2001:db8:4::15", "2001:db8::")
SERVERS: Final = {4: [f"192.168.4.{last}" for last in range(100, 104)], 6: [f"2001:db8:4::{last}" for last in "1234"]}
OTHER_FAMILY: Final = {4: 6, 6: 4}
LONG: Final = {
    "-A": "--add-service",
    "-a": "--add-server",
    "-t": "--tcp-service",
    "-u": "--udp-service",
    "-f": "--fwmark-service",
    "-s": "--scheduler",
    "-p": "--persistent",
    "-M": "--netmask",
    "-b": "--sched-flags",
    "-o": "--ops",
    "-6": "--ipv6",
    "-r": "--real-server",
    "-g": "--gatewaying",
    "-i": "--ipip",
    "-m": "--masquerading",
    "-w": "--weight",
    "-x": "--u-threshold",
    "-y": "--l-threshold",
}
DEFAULTS: Final = ("-w 1", "-g", "-s wlc", "-p 300")
"""What may be left out, down to the option's value."""
GRE: Final = " --tun-type gre --tun-nocsum"
FLAGS: Final = {"fallback": "flag-1", "port": "flag-2"}

Block = list[str]
"""A line with -A, and those with -a that belong to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A real server, for whatever port."""

    last: int
    """Which one."""
    method: str
    mapped: int | None
    """Its port under NAT where it is not the service's."""
    words: str
    crosses: bool = False
    """It is of the other family than its service."""


def lines_of(blocks: Sequence[Block]) -> list[str]:
    return [line for block in blocks for line in block]


@st.composite
def servers(draw: st.DrawFn) -> Server:
    method = draw(st.sampled_from(["-g", "-i", "-i", "-m"]))
    upper = draw(st.sampled_from([0, 0, 100, 2**31 - 1]))
    lower = draw(st.integers(0, upper))
    words = f"{method} -w {draw(st.sampled_from([0, 1, 1, 3, 65535]))}"
    if upper:
        words += f" -x {upper}" + (f" -y {lower}" if lower else "")
    crosses = False
    if method == "-i":
        checksum = draw(st.sampled_from(["nocsum", "csum", "remcsum"]))
        gue = f" --tun-type gue --tun-port {draw(st.integers(1, 65535))} --tun-{checksum}"
        tunnel = draw(st.sampled_from(["", GRE, gue]))
        crosses = tunnel == GRE and draw(st.booleans())
        words += tunnel
    mapped = draw(st.sampled_from([None, None, 8080, 8443])) if method == "-m" else None
    return Server(last=draw(st.integers(0, 3)), method=method, mapped=mapped, words=words, crosses=crosses)


def server_sets() -> st.SearchStrategy[list[Server]]:
    mixed = st.lists(servers(), min_size=1, max_size=4, unique_by=lambda one: (one.last, one.mapped))
    one_port = st.lists(servers(), min_size=1, max_size=4, unique_by=lambda one: one.last).map(
        lambda found: [Server(last=one.last, method="-m", mapped=8080, words="-m -w 2") for one in found]
    )
    return st.one_of(mixed, one_port)


SETTINGS: Final = (
    "-s rr",
    "-s wlc",
    "-s sh -b sh-fallback",
    "-s sh -b sh-fallback,sh-port",
    "-s mh -b mh-fallback",
    "-s mh -b mh-fallback,mh-port",
    "-s wrr",
)
PERSISTENCE: Final = {
    4: ("", "", " -p 300", " -p 60 -M 255.255.255.0", " -p 2678400 -M 128.0.0.0"),
    6: ("", "", " -p 300", " -p 60 -M 64", " -p 2678400 -M 1"),
}


@st.composite
def blocks(draw: st.DrawFn, sets: Sequence[list[Server]], settings: Sequence[tuple[str, int]]) -> tuple[str, Block]:
    """A virtual service with what it is found by."""
    scheduler, sticky = draw(st.sampled_from(settings))
    if draw(st.integers(0, 5)) == 0:
        family = draw(st.sampled_from([4, 6]))
        place = f"-f {draw(st.sampled_from([1, 10, 4097, 2**31 - 1]))}{' -6' if family == 6 else ''}"
        port, udp = 0, True
    else:
        vip, name = draw(st.sampled_from(VIPS)), draw(st.sampled_from(["-t", "-u", "--sctp-service"]))
        family = 6 if ":" in vip else 4
        port, udp = draw(st.sampled_from([80, 443, 53, 65535, 0])), name == "-u"
        place = f"{name} {_endpoint(vip, port)}"
    persistence = PERSISTENCE[family][sticky]
    if port == 0 and not place.startswith("-f"):
        persistence = persistence or " -p 300"
    add = f"-A {place} {scheduler}"
    first, *flags = add.split(" -b ")
    if udp and persistence and draw(st.booleans()):
        persistence += " --pe sip"
    one_packet = " -o" if udp and draw(st.booleans()) else ""
    add = first + persistence + one_packet + "".join(f" -b {one}" for one in flags)
    members: dict[str, str] = {}
    for one in draw(st.sampled_from(sets)):
        number = one.mapped if port and one.mapped is not None else port
        theirs = OTHER_FAMILY[family] if one.crosses else family
        members.setdefault(_endpoint(SERVERS[theirs][one.last], number), one.words)
    return place, [add, *(f"-a {place} -r {there} {words}" for there, words in members.items())]


@st.composite
def tables(draw: st.DrawFn) -> list[Block]:
    """Tables whose services often have settings and real servers in common."""
    sets = draw(st.lists(server_sets(), min_size=1, max_size=3))
    settings = draw(
        st.lists(st.tuples(st.sampled_from(SETTINGS), st.integers(0, len(PERSISTENCE[4]) - 1)), min_size=1, max_size=2)
    )
    found = draw(st.lists(blocks(sets, settings), min_size=1, max_size=8, unique_by=lambda one: one[0]))
    return [block for _, block in found]


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@st.composite
def spelled_otherwise(draw: st.DrawFn, line: str) -> str:
    """The same line as a person may write it."""
    for default in DEFAULTS:
        if line.endswith(f" {default}") and draw(st.booleans()):
            line = line.removesuffix(f" {default}" if default != "-p 300" else " 300")
    if draw(st.booleans()):
        line = re.sub(r"\b[sm]h-(fallback|port)\b", lambda found: FLAGS[found[1]], line)
    words = []
    for word in line.split():
        long = LONG.get(word)
        words.append(long if long is not None and draw(st.booleans()) else word)
    text = draw(st.sampled_from([" ", "  ", "\t"])).join(words)
    return draw(st.sampled_from(["", "ipvsadm ", "/sbin/ipvsadm "])) + text + draw(st.sampled_from(["", " # why", " "]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """Lines of which our objects can not say all."""

    lines: tuple[str, ...]
    lost: frozenset[int]
    """Which of them are named, from 0."""
    kept: tuple[str, ...] = ()
    """What is left, as ipvsadm saves it."""


SERVICE: Final = "-t 192.168.9.1:80"
GOOD: Final = f"-a {SERVICE} -r 192.168.9.100:80 -g -w 1"
DAMAGES: Final = (
    Damage(lines=("--set 900 120 300",), lost=frozenset({0})),
    Damage(lines=("--start-daemon master --mcast-interface eth0 --syncid 7",), lost=frozenset({0})),
    Damage(lines=(f"-A {SERVICE} -s rr",), lost=frozenset({0})),
    Damage(lines=(f"-A {SERVICE} -s new", GOOD), lost=frozenset({0})),
    Damage(lines=(f"-A {SERVICE} -s rr -p 60 -M 255.0.255.0", GOOD), lost=frozenset({0})),
    Damage(lines=("-A -t 127.0.0.1:80 -s rr", "-a -t 127.0.0.1:80 -r 192.168.9.100:80 -m -w 1"), lost=frozenset({0})),
    Damage(
        lines=(f"-A {SERVICE} -s rr -M 255.255.255.0", GOOD),
        lost=frozenset({0}),
        kept=(f"-A {SERVICE} -s rr", GOOD),
    ),
    Damage(lines=(f"-A {SERVICE} -s rr -b flag-1", GOOD), lost=frozenset({0}), kept=(f"-A {SERVICE} -s rr", GOOD)),
    Damage(
        lines=(f"-A {SERVICE} -s rr -p 60 --pe sip", GOOD),
        lost=frozenset({0}),
        kept=(f"-A {SERVICE} -s rr -p 60", GOOD),
    ),
    *(
        Damage(
            lines=(f"-A {SERVICE} -s rr", GOOD, f"-a {SERVICE} -r {server}"),
            lost=frozenset({2}),
            kept=(f"-A {SERVICE} -s rr", GOOD),
        )
        for server in (
            "192.168.9.101:80 -i -w 1 --tun-type gue --tun-nocsum",
            "192.168.9.101:80 -i -w 1 --tun-type gue --tun-port 0 --tun-nocsum",
            "192.168.9.101:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum --tun-remcsum",
            "192.168.9.101:80 -i -w 1 --tun-type gre --tun-csum",
            "[2001:db8::9]:80 -i -w 1",
            "[2001:db8::9]:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum",
            "[2001:db8::9]:80 -g -w 1",
            "[2001:db8::9]:80 -m -w 1",
            "192.168.9.101:80 -i -w 1 --tun-type gue --tun-port 65536 --tun-nocsum",
            "192.168.9.1:80 -g -w 1",
            "127.0.0.1:80 -m -w 1",
        )
    ),
    Damage(
        lines=(f"-A {SERVICE} -s rr", f"-a {SERVICE} -r 192.168.9.100:0 -m -w 1"),
        lost=frozenset({1}),
        kept=(f"-A {SERVICE} -s rr", f"-a {SERVICE} -r 192.168.9.100:80 -m -w 1"),
    ),
    Damage(
        lines=("-A -f 99 -s rr", "-a -f 99 -r 192.168.9.100:80 -g -w 1", "-a -f 99 -r 192.168.9.101:80 -m -w 1"),
        lost=frozenset({1, 2}),
        kept=("-A -f 99 -s rr", "-a -f 99 -r 192.168.9.100:0 -g -w 1"),
    ),
    Damage(
        lines=(
            "-A -t 192.168.9.1:0 -s rr -p 60",
            "-a -t 192.168.9.1:0 -r 192.168.9.100:0 -m -w 1",
            "-a -t 192.168.9.1:0 -r 192.168.9.101:80 -m -w 1",
        ),
        lost=frozenset({2}),
        kept=("-A -t 192.168.9.1:0 -s rr -p 60", "-a -t 192.168.9.1:0 -r 192.168.9.100:0 -m -w 1"),
    ),
)
"""One address for all: a table has at most one of them, but for the first two."""
