"""Who says it has an address: asked on the wire by arping, and by neighbour solicitation for IPv6."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from lvs_lab.exec_channel import socket_in
from lvs_lab.lab_machine import LabMachine
from lvs_lab.shell_machine import ShellMachine
from lvs_lab.waiting import wait_for

ASKED = (0, 1)
"""Exit codes of arping and ping after asking: answered, and not answered."""
_BROADCAST = b"\xff" * 6
_ETHERTYPE_ARP = 0x0806
_END_SECONDS = 10.0
_MAC = re.compile(r"\[((?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2})\]")


def claimants(client: LabMachine, address: str, *, device: str = "eth0") -> set[str]:
    """The MAC addresses of all that answer for an IPv4 address on the client's link, asked three times."""
    # -b: keep asking by broadcast, so that everybody hears each question; -w bounds it where nobody answers.
    done = client.exec(["arping", "-b", "-c", "3", "-w", "4", "-I", device, address])
    assert done.returncode in ASKED, f"arping did not ask: {done.stderr}"
    return {found.lower() for found in _MAC.findall(done.stdout)}


def claimants6(client: LabMachine, address: str, *, device: str = "eth0") -> set[str]:
    """The same for IPv6: who sends a neighbour advertisement for the address after a solicitation."""
    with client.capture("icmp6", "and", "ip6[40]", "==", "136", device=device) as capture:
        client.exec(["ip", "-6", "neigh", "flush", "to", address, "dev", device])
        asked = client.exec(["ping", "-6", "-c", "2", "-i", "0.3", "-W", "1", address])
        assert asked.returncode in ASKED, f"ping did not ask: {asked.stderr}"
        return {line.split()[1] for line in capture.lines() if f"tgt is {address}" in line}


def neighbour(client: LabMachine, address: str) -> str | None:
    """The MAC address that the client believes an address to have."""
    for line in client.out("ip", "neigh", "show", "to", address).splitlines():
        if found := re.search(r"lladdr (\S+)", line):
            return found[1]
    return None


def wait_for_neighbour(client: LabMachine, address: str, mac: str, *, deadline: float) -> None:
    """Wait until the client believes that an address is at a MAC address.

    One that believes nothing asks: gratuitous ARP corrects what is known, and teaches nobody who never wanted to know.
    """

    def believes() -> bool:
        believed = neighbour(client, address)
        if believed is None:
            asked = client.exec(["ping", "-c", "1", "-W", "1", address])
            assert asked.returncode in ASKED, f"ping did not ask: {asked.stderr}"
        return believed == mac

    wait_for(believes, deadline, f"{client.name} to believe {address} at {mac}")


def mac_of(machine: ShellMachine, device: str = "eth0") -> str:
    """A machine's own MAC address, as it says itself."""
    # Not from /sys, which in a namespace's programs is that of this machine.
    shown: list[dict[str, str]] = json.loads(machine.out("ip", "-json", "link", "show", "dev", device))
    return shown[0]["address"]


@contextmanager
def asking(client: LabMachine, address: str, *, device: str = "eth0", interval_seconds: float = 0.02) -> Iterator[None]:
    """Ask the link who has an IPv4 address, by broadcast, again and again; the answers are for a capture to see."""
    question = _question(mac_of(client, device), client.ip, address)
    end = threading.Event()
    with socket_in(client.namespace, socket.AF_PACKET, socket.SOCK_RAW) as link:
        # Protocol 0: nothing that comes in is kept for it.
        link.bind((device, 0))

        def run() -> None:
            while not end.wait(interval_seconds):
                link.send(question)

        thread = threading.Thread(target=run, name=f"questions about {address}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join(_END_SECONDS)
            assert not thread.is_alive(), "the questions do not end"


def _question(mac: str, source: str, address: str) -> bytes:
    """An Ethernet frame with an ARP request (RFC 826)."""
    own = bytes.fromhex(mac.replace(":", ""))
    head = _BROADCAST + own + _ETHERTYPE_ARP.to_bytes(2, "big")
    kind = bytes.fromhex("0001 0800 06 04 0001")
    return head + kind + own + IPv4Address(source).packed + bytes(6) + IPv4Address(address).packed
