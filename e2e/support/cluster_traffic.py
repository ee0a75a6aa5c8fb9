"""Traffic from the client of a cluster, whatever the client is: a namespace, a node, a container."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from lvs_lab.clusters.cluster import Client
from support.traffic import StreamRecord

_END_SECONDS: Final = 30.0
_ANSWERED_SECONDS: Final = 30.0


def count_replies(client: Client, address: str, count: int, *, port: int = 80) -> Counter[str]:
    """Send requests one after another, each on a connection of its own, and count who answered.

    Raises AssertionError when a request fails.
    """
    done = client.ask("replies", address, str(port), str(count))
    replies = Counter(done.stdout.split())
    assert done.ok, f"{replies.total()} of {count} requests to {address} answered, then: {done.stderr}"
    assert replies.total() == count
    return replies


def answers(client: Client, address: str, *, port: int = 80) -> bool:
    """Whether one request is answered; for waiting."""
    return client.ask("replies", address, str(port), "1", timeout=_ANSWERED_SECONDS).ok


def claimants(client: Client, address: str) -> set[str]:
    """The MAC addresses of all that answer for an IPv4 address on the client's link, asked three times by ARP."""
    done = client.ask("claimants", address)
    assert done.ok, f"nobody was asked: {done.stderr}"
    return set(done.stdout.split())


@contextmanager
def steady_requests(
    client: Client, address: str, port: int = 80, *, interval_seconds: float = 0.02
) -> Iterator[StreamRecord]:
    """Make requests, each on a connection of its own, for as long as the context lasts; the record is filled then."""
    command = client.command(client.ask_command("stream", address, str(port), str(interval_seconds)))
    record = StreamRecord()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield record
        finally:
            try:
                said, complained = process.communicate(timeout=_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    assert process.returncode == 0, f"the stream of requests ended with {process.returncode}: {complained}"
    told = json.loads(said)
    record.replies.update(told["replies"])
    record.failures.extend(told["failures"])
    record.slowest_seconds = told["slowest_seconds"]
    assert record.requests > 0, "no request was made in all that time"
