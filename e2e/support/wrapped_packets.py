"""An ICMP echo request that anybody wraps for a tunnel device of a real server: the packet brings its own header."""

from lvs_lab.lab_machine import LabMachine

_SEND = """
import socket, struct, sys
from ipaddress import ip_address
sender, receiver, source, target = (ip_address(word) for word in sys.argv[2:])
six = sender.version == 6

def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff

def header(source, target, protocol, payload):
    if six:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + source.packed + target.packed
    start = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
    made = start + source.packed + target.packed
    return made[:10] + struct.pack("!H", checksum(made)) + made[12:]

echo = struct.pack("!BBHHH", 128 if six else 8, 0, 0, 4711, 1) + b"lvs-operator"
pseudo = source.packed + target.packed + struct.pack("!II", len(echo), 58) if six else b""
echo = echo[:2] + struct.pack("!H", checksum(pseudo + echo)) + echo[4:]
inner = header(source, target, 58 if six else 1, echo) + echo
protocol = 41 if six else 4
if sys.argv[1] == "gre":
    protocol, inner = 47, struct.pack("!HH", 0, 0x86DD if six else 0x0800) + inner
elif sys.argv[1].startswith("gue:"):
    to = int(sys.argv[1].removeprefix("gue:"))
    inner = struct.pack("!HHHH", 49152, to, 12 + len(inner), 0) + struct.pack("!BBH", 0, protocol, 0) + inner
    protocol = 17
packet = header(sender, receiver, protocol, inner) + inner
family = socket.AF_INET6 if six else socket.AF_INET
with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:  # the packet brings its own header
    raw.sendto(packet, (str(receiver), 0))
"""


def send_wrapped(machine: LabMachine, kind: str, *, sender: str, receiver: str, source: str, target: str) -> None:
    """Send an echo request from `source` to `target`, in a packet that says to come from `sender`, to `receiver`.

    All of one family, whatever the machine's own address is. `kind` is ipip, gre, or gue: and a port.
    """
    machine.exec(["python3", "-c", _SEND, kind, sender, receiver, source, target], check=True)
