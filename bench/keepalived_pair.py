"""keepalived alone on two directors, configured by hand as the agents configure it: the yardstick for failing over."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lvs_lab.lab_machine import GuestMachine
from lvs_lab.plain_agent import PlainProcess

_DIRECTORY: Final = "/run/bench-keepalived"


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerSetup:
    """What one of the two is configured with."""

    vip: str
    router_id: int
    priority: int
    interval_milliseconds: int
    servers: Sequence[str] = ()
    """Real servers by direct routing on port 80; without them it speaks VRRP only."""
    hashing: bool = False
    """The scheduler is mh with mh-port, and not rr."""
    preempt_delay_seconds: int | None = None
    """None: a director that comes back takes nothing."""

    @property
    def text(self) -> str:
        """keepalived.conf(5)."""
        return "\n".join([*self._globals(), *self._instance(), *self._virtual_server()]) + "\n"

    def _globals(self) -> Iterator[str]:
        yield "global_defs {"
        yield "    vrrp_garp_master_repeat 3"
        yield "    vrrp_garp_master_delay 1"
        yield "    vrrp_garp_master_refresh 60"
        yield "    vrrp_garp_lower_prio_repeat 3"
        yield "    vrrp_garp_lower_prio_delay 1"
        yield "    vrrp_lower_prio_no_advert true"
        yield "    vrrp_higher_prio_send_advert true"
        if self.servers:
            yield f"    lvs_sync_daemon eth0 peer id {self.router_id}"
        yield "}"

    def _instance(self) -> Iterator[str]:
        yield "vrrp_instance peer {"
        yield "    state BACKUP"
        yield "    version 3"
        yield "    interface eth0"
        yield f"    virtual_router_id {self.router_id}"
        yield f"    priority {self.priority}"
        yield f"    advert_int {self.interval_milliseconds / 1000:g}"
        delay = self.preempt_delay_seconds
        yield "    nopreempt" if delay is None else f"    preempt_delay {delay}"
        yield "    virtual_ipaddress {"
        yield f"        {self.vip}/32 dev eth0"
        yield "    }"
        yield "}"

    def _virtual_server(self) -> Iterator[str]:
        if not self.servers:
            return
        yield f"virtual_server {self.vip} 80 {{"
        yield "    delay_loop 1"
        yield from ("    lvs_sched mh", "    mh-port") if self.hashing else ("    lvs_sched rr",)
        yield "    lvs_method DR"
        yield "    protocol TCP"
        for server in self.servers:
            yield f"    real_server {server} 80 {{"
            yield "        weight 1"
            yield "        TCP_CHECK {"
            yield "            connect_timeout 1"
            yield "        }"
            yield "    }"
        yield "}"


class PeerDirector:
    """One of the two."""

    def __init__(self, guest: GuestMachine) -> None:
        self._guest = guest
        self._process = PlainProcess(guest, "bench-keepalived.", "keepalived")

    def start(self, setup: PeerSetup) -> None:
        """Start it; it must not run yet."""
        self._guest.sh(f"mkdir -p {_DIRECTORY}")
        self._guest.exec(["sh", "-c", f"cat > {_DIRECTORY}/conf"], stdin=setup.text, check=True)
        files = [f"--{name}={_DIRECTORY}/{name}" for name in ("pid", "vrrp_pid", "checkers_pid")]
        alone = [] if setup.servers else ["--vrrp", "--no_bfd"]
        command = ["keepalived", "--dont-fork", "--log-console", "--no-syslog", f"--use-file={_DIRECTORY}/conf"]
        self._process.start([*command, *files, *alone])

    def stop(self) -> None:
        """Have it hand over and end."""
        self._process.kill("TERM")

    def log(self) -> str:
        """All that it has written since the guest booted."""
        return self._process.log()

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process.running
