"""A place where the supervisor runs, with a program in keepalived's place that takes and says what keepalived does."""

import asyncio
import stat
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

from waiting_for import until

from lvs_agent.decide.kernel_state import AddressBinding, InterfaceAddress, KernelLinks
from lvs_agent.decide.virtual_routers import DaemonWord, RouterKey, WantedVrrp
from lvs_agent.errors import LinkError
from lvs_agent.kernel.fake_links import FakeLinks
from lvs_agent.kernel.fake_neighbours import FakeAdverts
from lvs_agent.vrrp.keepalived import Keepalived
from lvs_agent.vrrp.shared_directory import VrrpDirectory, digest_of
from lvs_agent.vrrp.supervisor import VrrpSupervisor
from lvs_api.lvs_node import VirtualRouterState
from lvs_api.network_types import Family

BOOT = "boot-1"
ROUTER = RouterKey("default", 55, Family.IPV4)
VIP = AddressBinding(address=ip_address("192.168.65.127"), device="eth0")
OTHER = AddressBinding(address=ip_address("192.168.65.128"), device="eth0")
STRANGER = AddressBinding(address=ip_address("192.168.65.129"), device="eth0")
PROGRAM = """#!{python}
import os, re, signal, sys
words = dict(word.partition("=")[::2] for word in sys.argv[1:])
if "--version" in words:
    print("Keepalived v2.3.3 (03/30,2025)", file=sys.stderr)
    sys.exit(0)
text = open(words["--use-file"]).read()
if "--config-test" in words:
    if "nonsense" in text or os.path.exists(sys.argv[0] + ".busy"):
        print("Unknown keyword 'nonsense'", file=sys.stderr)
        sys.exit(5)
    sys.exit(0)
assert {{"--vrrp", "--no_bfd", "--dont-fork", "--dont-respawn"}} <= words.keys()
fifo = os.open(re.search(r"vrrp_notify_fifo (\\S+)", text)[1], os.O_RDWR)
known = []
def say(name, state):
    os.write(fifo, f'INSTANCE "{{name}}" {{state}} 100\\n'.encode())
def read():
    global known
    text = open(words["--use-file"]).read()
    names = re.findall(r"vrrp_instance (\\S+)", text)
    for name in set(known) - set(names):
        say(name, "DELETED")
    for name in names:
        say(name, "BACKUP")
        say(name, "MASTER")
    known = names
def end():
    for name in known:
        say(name, "STOP")
    sys.exit(0)
heeded = signal.SIGHUP, signal.SIGTERM
signal.pthread_sigmask(signal.SIG_BLOCK, heeded)  # none is lost between two waits
with open(words["--pid"], "w") as file:
    file.write(str(os.getpid()))
read()
if "collapse" in text:
    sys.exit(3)
while signal.sigwait(heeded) == signal.SIGHUP:
    read()
end()
"""


class SilentLinks(FakeLinks):
    """A kernel that does not answer so many times."""

    silences = 0

    async def read(self, *, fresh: bool = False) -> KernelLinks:
        if self.silences:
            self.silences -= 1
            raise LinkError("no answer")
        return await super().read(fresh=fresh)


class Place:
    """A directory with everything in it."""

    def __init__(self, path: Path) -> None:
        self.directory = VrrpDirectory(path / "vrrp", BOOT)
        self.links = SilentLinks()
        self.links.add_device("eth0")
        self.adverts = FakeAdverts()
        self.ahead = 0.0
        self.program = path / "keepalived"
        self.program.write_text(PROGRAM.format(python=sys.executable))
        self.program.chmod(stat.S_IRWXU)

    def config(self, *names: str, extra: str = "", binds: frozenset[AddressBinding] = frozenset({VIP})) -> WantedVrrp:
        instances = "".join(f"vrrp_instance {name} {{ }}\n" for name in names)
        text = f"vrrp_notify_fifo {self.directory.places.notify_fifo}\n{extra}\n{instances}"
        return WantedVrrp(text=text, binds=binds)

    def bind(self, binding: AddressBinding) -> None:
        prefix = {4: 32, 6: 128}[binding.address.version]
        self.links.addresses.add(InterfaceAddress(device=binding.device, address=binding.address, prefix_length=prefix))

    def tell(self, line: str) -> None:
        """As keepalived does."""
        Path(self.directory.places.notify_fifo).write_text(line, encoding="ascii")

    def bound(self) -> set[str]:
        return {str(one.address) for one in self.links.addresses}

    def keepalived(self, program: str | None = None) -> Keepalived:
        return Keepalived(self.directory.path, (program or str(self.program),))

    def later(self, seconds: float) -> None:
        """The supervisor's clock goes forward."""
        self.ahead += seconds

    @asynccontextmanager
    async def supervised(self, program: str | None = None) -> AsyncIterator[None]:
        stopping = asyncio.Event()
        supervisor = VrrpSupervisor(
            self.directory,
            self.keepalived(program),
            self.links,
            self.adverts,
            monotonic=lambda: time.monotonic() + self.ahead,
        )
        task = asyncio.create_task(supervisor.run(stopping))
        try:
            yield
        finally:
            stopping.set()
            await task
            self.directory.release()

    async def wait(self, condition: Callable[[DaemonWord], bool]) -> DaemonWord:
        def is_so() -> bool:
            word = self.directory.read_word()
            return word is not None and condition(word)

        await until(is_so)
        word = self.directory.read_word()
        assert word is not None
        return word

    async def wait_master(self, wanted: WantedVrrp, key: RouterKey = ROUTER) -> DaemonWord:
        return await self.wait(
            lambda word: (
                word.accepted == digest_of(wanted)
                and key in word.routers
                and word.routers[key].state is VirtualRouterState.MASTER
            )
        )
