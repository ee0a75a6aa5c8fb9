"""Traffic from a client of the lab: requests counted by curl, connections held open, a steady stream."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import BinaryIO, Self

from lvs_lab.exec_channel import socket_in
from lvs_lab.lab_machine import LabMachine

_REQUEST = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"
_ANSWER_SECONDS = 5.0
_DATAGRAM_SECONDS = 0.2
_SCTP_REQUESTS = """
import socket, sys
address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
for _ in range(count):
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as one:
        one.settimeout(10)
        one.connect((address, port))
        one.sendall(b"GET / HTTP/1.1\\r\\nHost: lab\\r\\nConnection: close\\r\\n\\r\\n")
        answer = b""
        while part := one.recv(4096):
            answer += part
    print(answer.rpartition(b"\\r\\n\\r\\n")[2].decode().strip())
"""


_CALLS = """
import socket, sys
address, calls, requests = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for call in range(calls):
    for number in range(requests):
        text = (
            f"OPTIONS sip:lab@{address} SIP/2.0\\r\\nVia: SIP/2.0/UDP lab\\r\\nMax-Forwards: 70\\r\\n"
            f"From: <sip:a@lab>;tag={call}\\r\\nTo: <sip:b@lab>\\r\\nCall-ID: call-{call}-of-this-client@lab\\r\\n"
            f"CSeq: {number + 1} OPTIONS\\r\\nContent-Length: 0\\r\\n\\r\\n"
        )
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.settimeout(10)
            one.connect((address, 5060))
            one.send(text.encode())
            print(call, one.recv(4096).decode().strip())
"""


def url(address: str, port: int = 80, path: str = "/") -> str:
    """The URL of an address of either family."""
    return f"http://{host_port(address, port)}{path}"


def host_port(address: str, port: int) -> str:
    """An address of either family with a port, as URLs and programs write it (RFC 3986, 3.2.2)."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def count_replies(
    client: LabMachine, address: str, count: int, *, port: int = 80, source: str | None = None
) -> Counter[str]:
    """Send requests one after another, each on a connection of its own, and count who answered.

    Raises AssertionError when a request fails.
    """
    bound = ["--interface", source] if source else []
    command = ["curl", "--silent", "--show-error", "--fail", "--max-time", "10", "--fail-early", *bound]
    # curl makes the requests out of the range; the brackets of an IPv6 address must not look like one.
    target = f"http://{_glob_host(address)}:{port}/[1-{count}]"
    done = client.exec([*command, "--header", "Connection: close", target], timeout=120)
    replies = Counter(done.stdout.split())
    assert done.returncode == 0, f"{replies.total()} of {count} requests to {target} answered, then: {done.stderr}"
    assert replies.total() == count
    return replies


def count_sctp_replies(client: LabMachine, address: str, count: int, *, port: int) -> Counter[str]:
    """The same over SCTP, an association for each request; the client must be a guest.

    Raises AssertionError when a request fails.
    """
    done = client.exec(["python3", "-c", _SCTP_REQUESTS, address, str(port), str(count)], timeout=120)
    replies = Counter(done.stdout.split())
    assert done.returncode == 0, f"{replies.total()} of {count} requests to {address} answered, then: {done.stderr}"
    assert replies.total() == count
    return replies


def count_calls(client: LabMachine, address: str, *, calls: int, requests: int) -> dict[int, Counter[str]]:
    """Send SIP requests over UDP, each from a port of its own, and say who answered those of each call.

    Raises AssertionError when one is not answered.
    """
    done = client.exec(["python3", "-c", _CALLS, address, str(calls), str(requests)], timeout=120)
    assert done.returncode == 0, f"a SIP request to {address} was not answered: {done.stderr}"
    answered: dict[int, Counter[str]] = {}
    for line in done.stdout.splitlines():
        call, who = line.split()
        answered.setdefault(int(call), Counter())[who] += 1
    assert {who.total() for who in answered.values()} == {requests}
    return answered


def answers(client: LabMachine, address: str, *, port: int = 80) -> bool:
    """Whether one request is answered; for waiting."""
    command = ["curl", "--silent", "--fail", "--max-time", "2", "--output", "/dev/null", url(address, port)]
    return client.exec(command).ok


def _glob_host(address: str) -> str:
    return f"\\[{address}\\]" if ":" in address else address


class HeldConnection:
    """A TCP connection of a client that stays open; each `ask` is one request on it."""

    def __init__(self, client_namespace: str, address: str, port: int = 80) -> None:
        family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
        self._socket = socket_in(client_namespace, family)
        self._socket.settimeout(_ANSWER_SECONDS)
        try:
            self._socket.connect((address, port))
        except OSError:
            self._socket.close()
            raise
        self._stream = self._socket.makefile("rb")

    def ask(self) -> str:
        """Who answers on this connection. Raises OSError or EOFError when it is broken."""
        self._socket.sendall(_REQUEST)
        return read_answer(self._stream)

    @property
    def source(self) -> str:
        """The client's end, as `ipvsadm -Lnc` writes it."""
        address, port = self._socket.getsockname()[:2]
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    def close(self) -> None:
        """End it as a client does."""
        self._stream.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SendingClient:
    """A client of UDP that goes on sending from one port, which to IPVS is one connection; each `ask` is a datagram."""

    def __init__(self, client_namespace: str, address: str, port: int) -> None:
        self._socket = socket_in(client_namespace, socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(_DATAGRAM_SECONDS)
        self._socket.connect((address, port))

    def ask(self) -> str | None:
        """Who answers; None where nobody does soon, or the answer is that nobody listens."""
        try:
            self._socket.send(b"hello")
            return self._socket.recv(100).decode().strip()
        except (TimeoutError, ConnectionRefusedError):
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def read_answer(stream: BinaryIO) -> str:
    """The body of one HTTP answer with a Content-Length.

    Raises EOFError where the answer ends before its end, AssertionError where it is no answer of status 200.
    """
    status = _line(stream)
    length: int | None = None
    while line := _line(stream):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    if b" 200 " not in status or length is None:
        raise AssertionError(f"answered {status!r}, Content-Length {length}")
    body = stream.read(length)
    if len(body) < length:
        raise EOFError(f"the connection was closed after {len(body)} of {length} bytes of the answer's body")
    return body.decode().strip()


def _line(stream: BinaryIO) -> bytes:
    """A line of an answer's head without its end."""
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise EOFError(f"the connection was closed in the head of an answer, after {line!r}")
    return line.removesuffix(b"\r\n")


@dataclass(kw_only=True)
class StreamRecord:
    """What became of a steady stream of requests."""

    replies: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0

    @property
    def requests(self) -> int:
        """How many were made."""
        return self.replies.total() + len(self.failures)


def cut_or_refused(failure: str) -> bool:
    """Whether a request failed because somebody said so at once: refused, reset, or closed before the answer's end."""
    return any(cause in failure for cause in ("ConnectionRefused", "ConnectionReset", "BrokenPipe", "EOFError"))


@contextmanager
def steady_requests(
    client_namespace: str, address: str, port: int = 80, *, interval_seconds: float = 0.02
) -> Iterator[StreamRecord]:
    """Make requests, each on a connection of its own, for as long as the context lasts."""
    record = StreamRecord()
    end = threading.Event()

    def run() -> None:
        started = time.monotonic()
        while not end.is_set():
            before = time.monotonic()
            try:
                with HeldConnection(client_namespace, address, port) as connection:
                    record.replies[connection.ask()] += 1
            except (OSError, EOFError, AssertionError) as error:
                record.failures.append(f"after {before - started:.3f} s: {error!r}")
            record.slowest_seconds = max(record.slowest_seconds, time.monotonic() - before)
            end.wait(interval_seconds)

    thread = threading.Thread(target=run, name=f"requests to {address}", daemon=True)
    thread.start()
    try:
        yield record
    finally:
        end.set()
        thread.join(2 * _ANSWER_SECONDS)
        assert not thread.is_alive(), "the stream of requests does not end"
    assert record.requests > 0, "no request was made in all that time"
