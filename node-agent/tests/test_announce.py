"""Announcements, seen from the other end of a real link."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from lvs_agent.decide.internet_checksum import internet_checksum
from lvs_agent.decide.kernel_state import IPAddress
from lvs_agent.errors import AnnounceError, NamespaceInUse
from lvs_agent.kernel.announce import PacketAnnouncer, frames
from lvs_agent.kernel.namespace_lock import AbstractSocketLock
from lvs_agent.kernel.testing import NetworkNamespace

Pair = tuple[NetworkNamespace, NetworkNamespace]

VIP4, VIP6 = ip_address("192.168.4.15"), ip_address("2001:db8:4::15")


@pytest.fixture
def pair(namespace: NetworkNamespace) -> Iterator[Pair]:
    """e0 in the namespace; its other end, the neighbour's, in one beside it."""
    neighbour = NetworkNamespace(f"{namespace.name}-n")
    neighbour.create()
    namespace.ip("link", "add", "name", "e0", "type", "veth", "peer", "name", "e0p", "netns", neighbour.name)
    namespace.ip("link", "set", "e0", "up")
    neighbour.ip("link", "set", "e0p", "up")
    neighbour.ip("addr", "add", "192.168.4.1/24", "dev", "e0p")
    neighbour.ip("addr", "add", "2001:db8:4::1/64", "dev", "e0p", "nodad")
    yield namespace, neighbour
    neighbour.delete()


@pytest.mark.parametrize("address", [VIP4, VIP6])
def test_a_neighbour_learns_the_new_place_at_once(pair: Pair, address: IPAddress) -> None:
    node, neighbour = pair
    neighbour.ip("neigh", "add", str(address), "lladdr", "02:00:00:00:00:aa", "nud", "stale", "dev", "e0p")
    mine = json.loads(node.ip("-j", "link", "show", "e0"))[0]["address"]
    node.run(lambda: PacketAnnouncer().announce("e0", address))
    deadline = time.monotonic() + 5
    while True:
        entries = {e["dst"]: e.get("lladdr") for e in json.loads(neighbour.ip("-j", "neigh", "show", "dev", "e0p"))}
        if entries.get(str(address)) == mine:
            break
        assert time.monotonic() < deadline, entries


@pytest.mark.parametrize(("device", "message"), [("lo", "no Ethernet address"), ("nope", "No such device")])
def test_what_can_not_be_announced_is_an_error(namespace: NetworkNamespace, device: str, message: str) -> None:
    with pytest.raises(AnnounceError, match=message):
        namespace.run(lambda: PacketAnnouncer().announce(device, VIP4))


def test_the_frames_are_those_of_the_standards() -> None:
    mac = bytes.fromhex("020000000001")
    request, reply = frames(mac, VIP4)
    head = "ffffffffffff 020000000001 0806 0001 0800 06 04"
    assert request == bytes.fromhex(f"{head} 0001 020000000001 c0a8040f 000000000000 c0a8040f")
    assert reply == bytes.fromhex(f"{head} 0002 020000000001 c0a8040f ffffffffffff c0a8040f")
    (advertisement,) = frames(mac, VIP6)
    ethernet, ip, icmp = advertisement[:14], advertisement[14:54], advertisement[54:]
    assert ethernet == bytes.fromhex("333300000001 020000000001 86dd")
    assert ip[:8] == bytes.fromhex("60000000 0020 3a ff")
    assert ip[8:24] == VIP6.packed
    assert ip[24:] == ip_address("ff02::1").packed
    assert (icmp[0], icmp[1], icmp[4]) == (136, 0, 0x20)
    assert icmp[8:24] == VIP6.packed
    assert icmp[24:] == bytes.fromhex("0201 020000000001")
    # A checksum over data that includes its own checksum is 0.
    assert internet_checksum(ip[8:] + len(icmp).to_bytes(4, "big") + b"\0\0\0\x3a" + icmp) == 0


def test_one_agent_per_network_namespace(pair: Pair) -> None:
    node, neighbour = pair
    first, second, elsewhere = (AbstractSocketLock() for _ in range(3))
    node.run(first.acquire)
    holder = rf"Process {os.getpid()} \(.+\) of user {os.getuid()} has"
    with pytest.raises(NamespaceInUse, match=f"another lvs-agent .* {holder}"):
        node.run(second.acquire)
    neighbour.run(elsewhere.acquire)
    first.release()
    node.run(second.acquire)
    for lock in (second, elsewhere):
        lock.release()
        lock.release()


STRANGER = """
import os, socket, sys
os.setuid(65534)
taken = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
taken.bind(chr(0) + "lvs-operator.io/lvs-agent")
print("taken", flush=True)
sys.stdin.read()
"""


def test_a_stranger_who_took_the_agents_name_is_named(pair: Pair) -> None:
    """Any process of the network namespace may take it."""
    node, _ = pair
    command = ["ip", "netns", "exec", node.name, sys.executable, "-c", STRANGER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stranger:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == "taken\n"
        with pytest.raises(NamespaceInUse, match=rf"Process {stranger.pid} \(.+\) of user 65534 has the name @lvs"):
            node.run(AbstractSocketLock().acquire)
        stranger.communicate()
    lock = AbstractSocketLock()
    node.run(lock.acquire)
    lock.release()
