"""A minute of random events under steady requests, by a seed: real kernels lose nothing that no user took away.

The events are those of the simulated world that a lab can do. A watch looks at every kernel from outside all the time.
`LVS_RANDOM_SEED` chooses another minute.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Final

import pytest

from lvs_lab.errors import LabError
from lvs_lab.lab import for_all
from lvs_lab.waiting import wait_for
from support.deployment import Deployment
from support.quick_start import KEY, SERVERS, VIP, active_director, replies, restore
from support.tables import parse_table
from support.traffic import steady_requests

pytestmark = pytest.mark.lab
SEED: Final = int(os.environ.get("LVS_RANDOM_SEED", "20250601"))
RUN_SECONDS: Final = 70.0
DIRECTORS: Final = ("director-1", "director-2")
NODES: Final = (*DIRECTORS, *SERVERS)
REPAIR_SECONDS: Final = 20.0
"""What other hands took is back after a second or two; this leaves room for a busy machine."""
BACK_SECONDS: Final = 60.0
"""For an agent, an operator or a node that was started again."""
QUIET_ROUNDS: Final = 10
_LOOK: Final = "ipvsadm -Ln --exact 2>/dev/null; echo =; ip -json address show"


@dataclass(kw_only=True)
class Excuses:
    """What may be missing for now, since a user or somebody else took it away."""

    _until: dict[str, float] = field(default_factory=dict)

    def excuse(self, what: str, seconds: float = float("inf")) -> None:
        """From now on, for so long."""
        self._until[what] = time.monotonic() + seconds

    def excused(self, *what: str) -> bool:
        """Whether one of these may be missing."""
        now = time.monotonic()
        return any(self._until.get(one, 0.0) > now for one in what)


@dataclass(kw_only=True)
class Watch:
    """Looks at all kernels, one after the other, again and again."""

    web: Deployment
    active: str
    excuses: Excuses
    wrong: list[str] = field(default_factory=list)
    looks: int = 0

    def look(self) -> None:
        """Every node once; a node without power is not looked at."""
        carried = {name: self._addresses(name) for name in SERVERS}
        for director in DIRECTORS:
            text = self._out(director)
            if text is not None:
                self._judge(director, text, carried)
        self.looks += 1

    def _judge(self, director: str, text: str, carried: dict[str, set[str] | None]) -> None:
        table_text, _, links = text.partition("=\n")
        holds = f"{VIP} on eth0" in _host_addresses(links)
        if director == self.active and not holds and not self.excuses.excused("vip"):
            self._say(f"{director} has lost {VIP}")
        if director != self.active and holds:
            self._say(f"{director} carries {VIP} beside {self.active}")
        service = parse_table(table_text).get(KEY)
        if service is None:
            if not self.excuses.excused(f"table of {director}"):
                self._say(f"{director} has lost {KEY}")
            return
        for name, address in SERVERS.items():
            entry = service.destinations.get(f"{address}:80")
            if entry is None and not self.excuses.excused(f"table of {director}", f"member {name}"):
                self._say(f"{director} has lost {name}")
            bound = carried[name]
            # Looked at before the table: it had not the address, and a moment later it has weight.
            lacks = bound is not None and f"{VIP} on lo" not in bound
            if entry is not None and entry.weight and lacks and not self.excuses.excused(f"address of {name}"):
                self._say(f"{director} gives weight to {name}, which has not {VIP}")

    def _addresses(self, node: str) -> set[str] | None:
        text = self._out(node)
        return None if text is None else _host_addresses(text.partition("=\n")[2])

    def _out(self, node: str) -> str | None:
        guest = self.web.lab.guest(node)
        try:
            return guest.sh(_LOOK) if guest.running else None
        except LabError:
            if self.excuses.excused(f"power of {node}"):
                return None
            raise

    def _say(self, what: str) -> None:
        if not self.wrong or self.wrong[-1].partition(": ")[2] != what:
            self.wrong.append(f"{time.monotonic():.1f}: {what}")


def _host_addresses(links: str) -> set[str]:
    return {f"{info['local']} on {link['ifname']}" for link in json.loads(links) for info in link["addr_info"]}


@contextmanager
def watching(web: Deployment, active: str) -> Iterator[Watch]:
    """Look for as long as the context lasts."""
    watch, end, failures = Watch(web=web, active=active, excuses=Excuses()), threading.Event(), list[LabError]()

    def run() -> None:
        while not end.wait(0.1):
            try:
                watch.look()
            except LabError as error:
                failures.append(error)
                return

    thread = threading.Thread(target=run, name="watch", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        end.set()
        thread.join(60)
    assert not thread.is_alive(), "the looks do not end"
    assert failures == []
    assert watch.looks >= 20


class Events:
    """What happens; each leaves behind what the next can begin with."""

    def __init__(self, web: Deployment, rng: Random, excuses: Excuses, active: str) -> None:
        self._web = web
        self._rng = rng
        self._excuses = excuses
        self._active = active
        self._power = 1
        self.told: list[str] = []

    def one(self) -> None:
        """Any of them."""
        kinds: list[tuple[int, Callable[[], str]]] = [
            (4, self.agent_dies),
            (2, self.operator_dies),
            (2, self.api_server_is_away),
            (2, self.table_is_cleared),
            (2, self.address_is_taken),
            (3, self.server_fails),
            (3, self.member_leaves_and_returns),
            (3, self.user_edits),
            (3 * self._power, self.server_loses_power),
        ]
        event = self._rng.choices([event for _, event in kinds], [weight for weight, _ in kinds])[0]
        self.told.append(f"{time.monotonic():.1f}: {event.__name__}")
        self.told[-1] += f" {event()}"

    def agent_dies(self) -> str:
        """SIGKILL, and a new one."""
        node = self._rng.choice(NODES)
        self._web.lab.agent(node).kill("KILL")
        self._pause(self._rng.choice([0.0, 1.0, 3.0]))
        self._web.start_agent(node)
        return node

    def operator_dies(self) -> str:
        """SIGKILL, and a new one, which leads when the Lease of the dead one has run out."""
        self._web.operator.kill()
        self._pause(self._rng.choice([0.0, 2.0]))
        self._web.restart_operator()
        return ""

    def api_server_is_away(self) -> str:
        """For some seconds, in which something else happens in a kernel."""
        self._web.lab.control_plane.stop()
        meanwhile = self._rng.choice([self.table_is_cleared, self.address_is_taken, self.server_fails])()
        self._web.lab.control_plane.start("kube-apiserver")
        self._web.lab.control_plane.wait_until_ready()
        return meanwhile

    def table_is_cleared(self) -> str:
        """`ipvsadm -C`."""
        director = self._rng.choice(DIRECTORS)
        self._excuses.excuse(f"table of {director}", REPAIR_SECONDS)
        self._web.lab.guest(director).out("ipvsadm", "-C")
        return director

    def address_is_taken(self) -> str:
        """`ip address del`, of the active director's or of a real server's."""
        node = self._rng.choice([self._active, *SERVERS])
        device = "eth0" if node == self._active else "lo"
        self._excuses.excuse("vip" if node == self._active else f"address of {node}", REPAIR_SECONDS)
        self._web.lab.guest(node).sh(f"ip address del {VIP}/32 dev {device}", check=False)
        return node

    def server_fails(self) -> str:
        """Its program ends, and starts again."""
        server = self._rng.choice(list(SERVERS))
        self._web.lab.machine(server).server(port=80).stop()
        self._pause(self._rng.choice([1.0, 5.0]))
        self._web.lab.machine(server).serve(port=80)
        return server

    def member_leaves_and_returns(self) -> str:
        """A user takes the label off a Node, and puts it back."""
        server = self._rng.choice(list(SERVERS))
        self._excuses.excuse(f"member {server}")
        self._excuses.excuse(f"address of {server}")
        self._web.lab.kubectl("label", "node", server, "app-")
        self._pause(self._rng.choice([0.5, 4.0]))
        self._web.lab.kubectl("label", "node", server, "app=web")
        self._excuses.excuse(f"member {server}", BACK_SECONDS)
        self._excuses.excuse(f"address of {server}", REPAIR_SECONDS)
        return server

    def user_edits(self) -> str:
        """Scheduler and weight."""
        scheduler, weight = self._rng.choice(["rr", "wrr", "wlc"]), self._rng.choice([1, 2, 5])
        self._web.patch("lvsvs", "web", {"scheduler": scheduler})
        self._web.patch("lvspool", "web", {"weight": weight})
        return f"{scheduler} {weight}"

    def server_loses_power(self) -> str:
        """Off, and on again, its program before its agent; once."""
        self._power = 0
        server = self._rng.choice(list(SERVERS))
        guest = self._web.lab.guest(server)
        self._excuses.excuse(f"power of {server}")
        self._excuses.excuse(f"address of {server}", REPAIR_SECONDS)
        guest.power_off()
        guest.power_on()
        self._web.lab.machine(server).serve(port=80)
        self._pause(5.0)
        self._web.start_agent(server)
        self._excuses.excuse(f"power of {server}", 0.0)
        return server

    def _pause(self, seconds: float) -> None:
        """The fault lasts so long."""
        threading.Event().wait(seconds)


def test_a_minute_of_random_events(web: Deployment) -> None:
    print(f"LVS_RANDOM_SEED={SEED}")
    active = active_director(web)
    with (
        steady_requests(web.client_namespace("client"), VIP, interval_seconds=0.05) as record,
        watching(web, active) as watch,
    ):
        events = Events(web, Random(SEED), watch.excuses, active)  # noqa: S311 (a game, not a secret)
        end = time.monotonic() + RUN_SECONDS
        while time.monotonic() < end and not watch.wrong:
            events.one()
    assert watch.wrong == [], "\n".join(events.told)
    assert len(events.told) >= 5
    assert record.replies.total() > len(record.failures), record.failures[:20]
    restore(web)
    assert active_director(web) == active
    assert set(replies(web, 30)) == set(SERVERS)
    look_at_rest(web)


def test_the_watch_sees_what_is_lost(web: Deployment) -> None:
    """Else the minute above would prove nothing."""
    active = active_director(web)
    (standby,) = set(DIRECTORS) - {active}
    web.lab.agent(standby).kill("KILL")
    with watching(web, active) as watch:
        wait_for(lambda: watch.looks >= 20, 60, "looks before the loss")
        assert watch.wrong == []
        web.lab.guest(standby).out("ipvsadm", "-C")
        wait_for(lambda: watch.wrong, 30, "the loss to be seen")
    assert f"{standby} has lost {KEY}" in watch.wrong[0]
    web.start_agent(standby)


def look_at_rest(web: Deployment) -> None:
    """Nothing is written any more, neither to a kernel nor to an object."""

    def written() -> tuple[list[float], list[str]]:
        kinds = ("lvsvs", "lvspool", "lvsdg", "lvsslice", "lvsnode")
        listed = json.loads(web.lab.kubectl("get", ",".join(kinds), "-A", "-o", "json").stdout)["items"]
        versions = sorted(
            f"{one['kind']} {one['metadata']['name']} {one['metadata']['resourceVersion']}" for one in listed
        )
        return [web.agent_metric(node, "lvs_agent_kernel_writes_total") for node in NODES], versions

    def still() -> bool:
        before = written()
        made = {node: web.agent_metric(node, "lvs_agent_rounds_total") for node in NODES}
        for_all(list(NODES), lambda node: wait_rounds(web, node, made[node] + QUIET_ROUNDS))
        assert written() == before
        return True

    wait_for(still, 120, "a time in which nothing is written", interval=0.5)


def wait_rounds(web: Deployment, node: str, wanted: float) -> None:
    wait_for(lambda: web.agent_metric(node, "lvs_agent_rounds_total") >= wanted, 60, f"rounds of {node}", interval=0.5)
