"""P18: whether an agent costs the traffic anything.

The same table by hand is the agent's own while it is stopped (SIGSTOP): the kernel's state is the same to the last bit,
and nobody is there to look at it. Both ways are tried in turn, the first of each pair by turns, too.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from bench.figure import Figure, Goal, Measured
from lvs_lab.host_commands import in_namespace
from lvs_lab.lab_machine import GuestMachine
from lvs_lab.waiting import wait_for
from support.deployment import Deployment
from support.traffic import answers

WITH: Final = "with the agent"
BY_HAND: Final = "the same table by hand"
RATIO: Final = "ratio of each pair"
VIP, PORT = "192.168.10.100", 80
WINDOW_SECONDS: Final = 2.0
_CLIENT: Final = """
import socket, struct, sys, time
address, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
for _ in sys.stdin:
    count, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        with socket.create_connection((address, port), 5) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no port is held afterwards
            one.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            if not one.recv(4096).startswith(b"HTTP/1.1 200"):
                raise SystemExit("not answered")
        count += 1
    print(count / (time.monotonic() - began), flush=True)
"""

FIGURE: Final = Figure(
    name="P18",
    title=f"requests a second, each on a connection of its own, one after another; pairs of {WINDOW_SECONDS:g} s",
    ways={},
    ours="",
    goals=(Goal(series=RATIO, at_least=0.99, at_most=1.01),),
    units={WITH: "requests/s", BY_HAND: "requests/s", RATIO: ""},
)


def measure(deployment: Deployment, director: GuestMachine, pairs: int) -> Measured:
    """So many pairs."""
    wait_for(lambda: answers(deployment.lab.machine("client"), VIP), 20, f"{VIP} to answer")
    agent = deployment.lab.agent(director.name)
    measured = Measured(series={WITH: [], BY_HAND: [], RATIO: []})
    with _client(deployment) as rate:
        rate()
        for number in range(pairs):
            found: dict[str, float] = {}
            for name in (WITH, BY_HAND) if number % 2 else (BY_HAND, WITH):
                if name == BY_HAND:
                    agent.pause()
                try:
                    found[name] = rate()
                finally:
                    agent.resume()
            for name, value in found.items():
                measured.series[name].append(value)
            measured.series[RATIO].append(found[WITH] / found[BY_HAND])
    return measured


@contextmanager
def _client(deployment: Deployment) -> Iterator[Callable[[], float]]:
    """A program on the client that measures when it is asked to."""
    command = [sys.executable, "-c", _CLIENT, VIP, str(PORT), str(WINDOW_SECONDS)]
    inside = in_namespace(deployment.client_namespace("client"), command)
    with subprocess.Popen(inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        question, answer = process.stdin, process.stdout
        if question is None or answer is None:
            raise TypeError("pipes were asked for")

        def rate() -> float:
            question.write("\n")
            question.flush()
            return float(answer.readline())

        try:
            yield rate
        finally:
            question.close()
            process.wait(2 * WINDOW_SECONDS + 5)
