"""What a client of a virtual address can be asked; it runs on the client's Python, from standard library alone.

`replies ADDRESS PORT COUNT`: that many requests one after another, each on a connection of its own; a line for each
reply. `stream ADDRESS PORT SECONDS`: requests at that interval until standard input ends; then one line of JSON.
`claimants ADDRESS`: three questions by ARP, and a line for each MAC address that answered. `https ADDRESS PATH`:
whether a server answers there, whoever it says it is.
"""

import http.client
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from ipaddress import IPv4Address

ANSWER_SECONDS = 5.0
QUESTIONS = 3
QUESTION_SECONDS = 1.0
ARP = 0x0806
HEAD = bytes.fromhex("0001 0800 06 04")
QUESTION, ANSWER = b"\x00\x01", b"\x00\x02"


def reply(address: str, port: int) -> str:
    """Who answers one request on a connection of its own. Raises OSError or HTTPException."""
    connection = http.client.HTTPConnection(address, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read().decode().strip()
        if answer.status != http.HTTPStatus.OK:
            raise http.client.HTTPException(f"status {answer.status}: {body}")
        return body
    finally:
        connection.close()


def replies(address: str, port: int, count: int) -> None:
    """Print who answered each request; the first that fails ends it."""
    for _ in range(count):
        print(reply(address, port))


def stream(address: str, port: int, interval: float) -> None:
    """Make requests until standard input ends, and print what became of them."""
    ended = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    who: Counter[str] = Counter()
    failures: list[str] = []
    began, slowest = time.monotonic(), 0.0
    while not ended.is_set():
        before = time.monotonic()
        try:
            who[reply(address, port)] += 1
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"after {before - began:.3f} s: {error!r}")
        slowest = max(slowest, time.monotonic() - before)
        ended.wait(interval)
    print(json.dumps({"replies": who, "failures": failures, "slowest_seconds": slowest}))


def question(mac: str, source: str, address: str) -> bytes:
    """An Ethernet frame to all with an ARP request (RFC 826)."""
    own = bytes.fromhex(mac.replace(":", ""))
    asked = own + IPv4Address(source).packed + bytes(6) + IPv4Address(address).packed
    return b"\xff" * 6 + own + ARP.to_bytes(2, "big") + HEAD + QUESTION + asked


def claimant(frame: bytes, address: str) -> str | None:
    """The MAC address that an ARP answer in a frame says an address to be at."""
    kind, said = frame[12:22], frame[22:32]
    if kind != ARP.to_bytes(2, "big") + HEAD + ANSWER or said[6:10] != IPv4Address(address).packed:
        return None
    return said[:6].hex(":")


def claimants(address: str) -> None:
    """Print who says to have an address of the client's own link."""
    (route,) = _ip("route", "get", address)
    (link,) = _ip("link", "show", "dev", route["dev"])
    found: set[str] = set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP)) as wire:
        wire.bind((route["dev"], ARP))
        for _ in range(QUESTIONS):
            wire.send(question(link["address"], route["prefsrc"], address))
            end = time.monotonic() + QUESTION_SECONDS
            while (left := end - time.monotonic()) > 0:
                wire.settimeout(left)
                try:
                    found.add(claimant(wire.recv(2048), address) or "")
                except TimeoutError:
                    break
    print("\n".join(sorted(found - {""})))


def https(address: str, path: str) -> None:
    """Print the status of an answer."""
    anybody = ssl.create_default_context()
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(address, timeout=ANSWER_SECONDS, context=anybody)
    connection.request("GET", path)
    print(connection.getresponse().status)


def _ip(*words: str) -> list[dict[str, str]]:
    shown = subprocess.run(["ip", "-json", *words], capture_output=True, text=True, check=True).stdout
    answer: list[dict[str, str]] = json.loads(shown)
    return answer


def main(verb: str, *words: str) -> None:
    """Run one verb."""
    try:
        if verb == "replies":
            replies(words[0], int(words[1]), int(words[2]))
        elif verb == "stream":
            stream(words[0], int(words[1]), float(words[2]))
        elif verb == "claimants":
            claimants(*words)
        elif verb == "https":
            https(*words)
        else:
            sys.exit(f"nobody can be asked {verb!r}")
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"{verb} {' '.join(words)}: {error!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
