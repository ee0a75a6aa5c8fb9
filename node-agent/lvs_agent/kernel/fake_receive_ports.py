"""Ports for GUE without a kernel, for unit tests; `receive_ports_contract` runs against both."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lvs_agent.decide.kernel_state import ReceivePort
from lvs_agent.decide.receive_ports import in_use
from lvs_agent.errors import ReceivePortError


@dataclass(kw_only=True)
class FakeReceivePorts:
    """`ReceivePorts` in memory. `present` may be changed behind the agent's back, as `ip fou` would."""

    present: set[ReceivePort] = field(default_factory=set)
    taken: set[ReceivePort] = field(default_factory=set)
    """By sockets of programs."""
    module: bool = True
    """False: the module fou is not there."""
    reads: int = 0
    writes: int = 0

    def read(self) -> frozenset[ReceivePort]:
        """What there is."""
        self.reads += 1
        return frozenset(self.present)

    def is_free(self, port: ReceivePort) -> bool:
        """Whether nobody has it."""
        return port not in self.present | self.taken

    def open(self, port: ReceivePort) -> None:
        """Refused where the number is taken."""
        if not self.module:
            raise ReceivePortError(f"{port}: the kernel can not unwrap GUE: load the module fou on this node")
        if port in self.present | self.taken:
            raise ReceivePortError(in_use(port))
        self.writes += 1
        self.present.add(port)

    def close_port(self, port: ReceivePort) -> None:
        """One that is gone is a success."""
        self.writes += 1
        self.present.discard(port)

    @contextmanager
    def occupied(self, port: ReceivePort) -> Iterator[None]:
        """A program has it while this lasts."""
        self.taken.add(port)
        yield
        self.taken.discard(port)

    def close(self) -> None:
        """Nothing to release."""
