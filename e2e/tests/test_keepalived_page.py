"""The page of keepalived's options speaks of all that is written for it, and names fields that are there."""

import re
from collections.abc import Iterator

from lvs_lab.artifacts import CHECKOUT

PAGE = (CHECKOUT / "docs/reference/keepalived.md").read_text()
WRITTEN = sorted((CHECKOUT / "node-agent/tests/data/vrrp").glob("*.conf"))
SECTIONS = {"global_defs", "vrrp_instance", "vrrp_sync_group", "group"}
"""What has a heading of its own, and the list of a sync group."""
LISTS = {"unicast_peer", "track_interface", "track_file", "virtual_ipaddress", "virtual_ipaddress_excluded", "group"}
"""Blocks whose lines are no options: names, addresses, and the path of a track file."""


def rows() -> Iterator[tuple[str, str]]:
    """Each table row's option column and what stands beside it."""
    for line in PAGE.splitlines():
        if line.startswith("| ") and not line.startswith(("| option", "| what for")):
            option, here = line.strip("| ").split(" | ", 1)
            yield option, here


def written_words(text: str) -> Iterator[str]:
    """The first word of each line of a configuration that is an option."""
    inside: list[str] = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if words == ["}"]:
            inside.pop()
            continue
        if words and (not inside or inside[-1] not in LISTS):
            yield words[0]
        if words[-1:] == ["{"]:
            inside.append(words[0])


def test_what_is_written_into_a_configuration_has_a_row() -> None:
    told = set(re.findall(r"`([a-z0-9_]+)", " ".join(option for option, _ in rows())))
    written = {word for path in WRITTEN for word in written_words(path.read_text())} - SECTIONS
    assert {"router_id", "nopreempt", "auth_pass", "track_file"} <= written
    assert written - told == set()


def test_the_fields_that_it_names_are_there() -> None:
    reference = (CHECKOUT / "docs/reference/api.md").read_text()
    section = reference.split("### LvsDirectorGroup.spec", 1)[1].split("### LvsDirectorGroup.status", 1)[0]
    fields = set(re.findall(r"^\| `([\w.\[\]]+)` \|", section, re.MULTILINE))
    named = set(re.findall(r"`((?:vrrp|connectionSync)\.\w+(?:\.\w+)*)", PAGE))
    assert named - fields == set()
    of_vrrp = {one for one in fields if re.fullmatch(r"vrrp\.\w+", one)}
    # How ids are chosen, and how many virtual routers there are, is no option of keepalived.
    assert of_vrrp - {".".join(one.split(".")[:2]) for one in named} == {
        "vrrp.spread",
        "vrrp.reservedVirtualRouterIds",
    }
