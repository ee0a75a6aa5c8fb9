"""What runs inside a guest to try the tap there, on links of its own; it arrives on Python's standard input."""

import asyncio
import json
import socket
import subprocess
import threading
from ipaddress import ip_address

from lvs_agent.decide.kernel_state import IPAddress, ServiceKey, TransportProtocol
from lvs_agent.kernel.packet_tap import KernelPacketTap
from lvs_agent.kernel.testing import NetworkNamespace


def arrivals() -> dict[str, list[str]]:
    """By which device the tap hears what comes untagged, which a filter of tc drops there, and what comes in VLAN 7."""
    node, clients = NetworkNamespace("tap"), NetworkNamespace("tap-clients")
    heard, away = ip_address("192.0.2.1"), "192.0.2.2"
    node.create()
    clients.create()
    try:
        node.ip("link", "add", "name", "e0", "type", "veth", "peer", "name", "e0p", "netns", clients.name)
        for namespace, device in ((node, "e0"), (clients, "e0p")):
            namespace.ip("link", "add", "link", device, "name", f"{device}.7", "type", "vlan", "id", "7")
            namespace.ip("link", "set", device, "up")
            namespace.ip("link", "set", f"{device}.7", "up")
        drop = ["filter", "add", "dev", "e0", "ingress", "protocol", "ip", "matchall", "action", "drop"]
        for words in (["qdisc", "add", "dev", "e0", "clsact"], drop):
            subprocess.run(["tc", "-n", node.name, *words], check=True)
        (link,) = json.loads(node.ip("-json", "link", "show", "dev", "e0"))
        found: dict[str, list[str]] = {}
        for device in ("e0p", "e0p.7"):
            clients.ip("address", "add", f"{away}/24", "dev", device)
            clients.ip("neighbour", "add", str(heard), "lladdr", link["address"], "dev", device)
            found[device] = sorted(_tapped(node, clients, heard))
            clients.ip("address", "del", f"{away}/24", "dev", device)
        return found
    finally:
        node.delete()
        clients.delete()


def _tapped(node: NetworkNamespace, clients: NetworkNamespace, address: IPAddress) -> set[str]:
    """The devices by which datagrams of the clients are heard to come."""
    stop = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
            while not stop.wait(0.05):
                opened.sendto(b"", (str(address), 53))

    thread = threading.Thread(target=lambda: clients.run(send))
    thread.start()
    front = ServiceKey(protocol=TransportProtocol.UDP, address=address, port=53)
    try:
        found = node.run(lambda: asyncio.run(KernelPacketTap().listen([front], 1.0)))
    finally:
        stop.set()
        thread.join()
    return {arrival.device for arrival in found.values()}


if __name__ == "__main__":
    print(json.dumps(arrivals()))
