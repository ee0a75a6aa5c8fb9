"""What the agent does with a table: read, judge, diff, encode, send; and to verify, all of it again.

Where it knows the table and only weights change, it makes sure of that by a glance instead of reading.
"""

from dataclasses import dataclass, field

from bench.large_table import Table
from bench.repetitions import clock
from lvs_agent.decide.kernel_diff import diff_ipvs, only_weighed
from lvs_agent.decide.kernel_state import KernelIpvs
from lvs_agent.decide.ownership import OwnedIpvs, judge_ipvs
from lvs_agent.kernel.ipvs import KernelIpvsTable


@dataclass(kw_only=True)
class AgentPath:
    """The way of the agent to one kernel's table, with what it remembers from round to round."""

    table: KernelIpvsTable
    owned: OwnedIpvs
    read: list[float] = field(default_factory=list)
    """Milliseconds that the reading, or the glance, took in each round."""
    _known: KernelIpvs | None = None
    _glance: bytes | None = None
    """What a glance shows while the table is as it is known."""

    @classmethod
    def opened(cls) -> "AgentPath":
        """With a socket, and IPVS known to be there, as in every round but an agent's first."""
        table = KernelIpvsTable()
        table.info()
        return cls(table=table, owned={})

    def reconcile(self, wanted: Table) -> int:
        """One round that reads all; how many changes were written. Raises SystemExit where the kernel refuses one."""
        with clock(self.read):
            snapshot = self.table.read()
        return self._write(wanted, snapshot)

    def look_around(self) -> None:
        """Read all, and what a glance shows meanwhile."""
        self._glance, self._known = self.table.glance(), self.table.read()

    def weigh(self, wanted: Table) -> int:
        """A round of an agent that has looked around and hears of other weights; how many were written.

        Raises SystemExit where the table is no longer as it was, more than weights changes, or the kernel refuses one.
        """
        with clock(self.read):
            is_known = self.table.glance() == self._glance
        if self._known is None or not is_known:
            raise SystemExit("the table is not as it is known")
        return self._write(wanted, self._known, weights=True)

    def _write(self, wanted: Table, snapshot: KernelIpvs, *, weights: bool = False) -> int:
        changes = diff_ipvs(snapshot, wanted, judge_ipvs(snapshot, wanted, self.owned))
        if weights and only_weighed(changes, snapshot) != wanted.keys():
            raise SystemExit("more than weights would change")
        applied = self.table.apply(changes)
        if applied.failures or not applied.certain:
            raise SystemExit(f"the kernel refused entries: {applied.failures[:3]}")
        return applied.written

    def remember(self, wanted: Table) -> None:
        """All of this is ours: what the agent's ledger says once a table is made."""
        self.owned = {key: frozenset(wish.destinations) for key, wish in wanted.items()}


def loaded(table: Table) -> AgentPath:
    """The agent's way to a table that it has made. Raises SystemExit where it did not come to be."""
    path = AgentPath.opened()
    path.reconcile(table)
    path.remember(table)
    if path.reconcile(table):
        raise SystemExit("the table is not as it was written")
    return path


def must_hold(table: Table) -> None:
    """See that a tool's work was done. Raises SystemExit."""
    services = KernelIpvsTable().read().services
    found = {key: {one: state.settings for one, state in has.destinations.items()} for key, has in services.items()}
    if found != {key: dict(wish.destinations) for key, wish in table.items()}:
        entries = len(found) + sum(len(destinations) for destinations in found.values())
        raise SystemExit(f"the kernel holds another table: {entries} entries")
