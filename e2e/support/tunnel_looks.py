"""What machines with tunnel devices say of themselves: rules, ports for GUE, and what was seen on the way."""

import re

from lvs_lab.lab_machine import Capture
from support.deployment import Deployment


def rules(lab: Deployment, name: str) -> str:
    """The packet filter of a node; empty without any rule."""
    return lab.lab.guest(name).out("nft", "list", "ruleset")


def segment_sizes(capture: Capture) -> set[int]:
    return {int(found) for line in capture.lines() for found in re.findall(r"\bmss (\d+)", line)}


def replies(capture: Capture, source: str) -> list[str]:
    return [line for line in capture.lines() if f" {source} > " in line and "echo reply" in line]


def ports(lab: Deployment, name: str) -> set[tuple[int, int]]:
    """The ports at which a real server unwraps GUE, by family: one of IPv6 is listed with -6."""
    guest = lab.lab.guest(name)
    if not re.search(r"^fou ", guest.out("lsmod"), re.MULTILINE):
        return set()
    listed = re.findall(r"^port (\d+) gue(.*)$", guest.out("ip", "fou", "show"), re.MULTILINE)
    return {(6 if "-6" in rest else 4, int(number)) for number, rest in listed}


def closed_ports(lab: Deployment, name: str) -> dict[str, list[int]]:
    """Of a real server's VIPs the ports for GUE that it could not open."""
    said = lab.get("lvsnode", name)["status"].get("addresses", ())
    return {one["address"]: one["closedPorts"] for one in said if "closedPorts" in one}
