"""What the agent does with a table: read, judge, diff, encode, send; and to verify, all of it again."""

from dataclasses import dataclass, field

from bench.large_table import Table
from bench.repetitions import clock
from lvs_agent.decide.kernel_diff import diff_ipvs
from lvs_agent.decide.ownership import OwnedIpvs, judge_ipvs
from lvs_agent.kernel.ipvs import KernelIpvsTable


@dataclass(kw_only=True)
class AgentPath:
    """The way of the agent to one kernel's table, with what it remembers from round to round."""

    table: KernelIpvsTable
    owned: OwnedIpvs
    read: list[float] = field(default_factory=list)
    """Milliseconds that the reading took in each round."""

    @classmethod
    def opened(cls) -> "AgentPath":
        """With a socket, and IPVS known to be there, as in every round but an agent's first."""
        table = KernelIpvsTable()
        table.info()
        return cls(table=table, owned={})

    def reconcile(self, wanted: Table) -> int:
        """One round; how many changes were written. Raises SystemExit where the kernel refuses one."""
        with clock(self.read):
            snapshot = self.table.read()
        changes = diff_ipvs(snapshot, wanted, judge_ipvs(snapshot, wanted, self.owned))
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
