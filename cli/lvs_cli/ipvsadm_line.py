"""One line for ipvsadm(8), split into its options as ipvsadm itself splits it (popt(3)).

Options are told by their letter, those that have none by their long name.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

_LONG: Final[Mapping[str, str]] = {
    "add-service": "A",
    "edit-service": "E",
    "delete-service": "D",
    "add-server": "a",
    "edit-server": "e",
    "delete-server": "d",
    "clear": "C",
    "zero": "Z",
    "tcp-service": "t",
    "udp-service": "u",
    "fwmark-service": "f",
    "scheduler": "s",
    "sched-flags": "b",
    "persistent": "p",
    "netmask": "M",
    "real-server": "r",
    "gatewaying": "g",
    "ipip": "i",
    "masquerading": "m",
    "weight": "w",
    "u-threshold": "x",
    "l-threshold": "y",
    "ipv6": "6",
    "ops": "o",
}
_ALONE: Final = frozenset({"pe", "sctp-service", "tun-type", "tun-port", "tun-nocsum", "tun-csum", "tun-remcsum"})
_WITH_VALUE: Final = frozenset("tufsbMrwxy") | {"pe", "sctp-service", "tun-type", "tun-port"}
_FORMER: Final[Mapping[str, str]] = {"ops": "o", "pe": "pe"}
"""Words as ipvsadm 1.26 saved them, without the dashes that it wants itself."""
DAEMON_AND_TIMEOUTS: Final = frozenset({"--set", "--start-daemon", "--stop-daemon"})
"""Commands that say nothing of virtual services and real servers."""

Options = Mapping[str, str | None]


class LineFaultError(Exception):
    """What is wrong with a line, and what is expected."""


def words_of(line: str) -> list[str]:
    """A line's words, without a comment and without the program's name in front."""
    words = line.split()
    for position, word in enumerate(words):
        if word.startswith("#"):
            words = words[:position]
            break
    if words and words[0].rpartition("/")[2] == "ipvsadm":
        return words[1:]
    return words


def read_options(words: Sequence[str]) -> Options:
    """Each option with its value; None where it has none. Raises LineFaultError."""
    found: dict[str, str | None] = {}
    for name, value in _options(list(words)):
        if name in found:
            raise LineFaultError(f"{spelled(name)} stands there twice")
        found[name] = value
    return found


def spelled(option: str) -> str:
    """An option with its dashes."""
    return f"-{option}" if len(option) == 1 else f"--{option}"


def _options(words: list[str]) -> Iterator[tuple[str, str | None]]:
    """Takes words away from the front."""
    while words:
        word = words.pop(0)
        if word in _FORMER:
            name = _FORMER[word]
            yield name, _value(name, None, words)
        elif word.startswith("--"):
            long, equals, attached = word[2:].partition("=")
            name = long if long in _ALONE else _LONG.get(long, "")
            if not name:
                raise LineFaultError(f"{word} is no option of virtual services and real servers")
            yield name, _value(name, attached if equals else None, words)
        elif word.startswith("-") and len(word) > 1:
            yield from _letters(word, words)
        else:
            raise LineFaultError(f"{word} is not expected here")


def _letters(word: str, words: list[str]) -> Iterator[tuple[str, str | None]]:
    """Options in one word; the rest of it is the value of one that takes one."""
    for position, letter in enumerate(word[1:], 2):
        name = "o" if letter == "O" else letter
        if name not in _LONG.values():
            raise LineFaultError(f"-{letter} is no option of virtual services and real servers")
        rest = word[position:]
        if name in _WITH_VALUE or (name == "p" and rest):
            yield name, _value(name, rest or None, words)
            return
        yield name, _value(name, None, words) if name == "p" else None


def _value(name: str, attached: str | None, words: list[str]) -> str | None:
    """What an option is given; that of -p may be left out."""
    if name == "p":
        if attached is None and words and not words[0].startswith("-"):
            return words.pop(0)
        return attached
    if name not in _WITH_VALUE:
        if attached is not None:
            raise LineFaultError(f"{spelled(name)} takes no value")
        return None
    if attached is None and not words:
        raise LineFaultError(f"{spelled(name)} needs a value")
    return attached if attached is not None else words.pop(0)
