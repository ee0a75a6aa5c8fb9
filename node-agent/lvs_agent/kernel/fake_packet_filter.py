"""The packet filter without a kernel, for unit tests; `packet_filter_contract` runs against both."""

from dataclasses import dataclass

from lvs_agent.decide.packet_table import PacketRules, PacketTable
from lvs_agent.errors import NftMissing, PacketFilterError


@dataclass(kw_only=True)
class FakePacketFilter:
    """`PacketFilter` in memory. `table` may be changed behind the agent's back by `change`, as `nft` would."""

    table: PacketTable | None = None
    number: int = 1
    is_there: bool = True
    """False: there is no program nft."""
    writes: int = 0
    reads: int = 0

    def generation(self) -> int:
        """How often anything was changed."""
        return self.number

    async def read(self) -> PacketTable | None:
        """What there is."""
        self._check()
        self.reads += 1
        return self.table

    async def replace(self, rules: PacketRules) -> None:
        """Refused as a whole where two rules are for the same packets."""
        self._check()
        clamped = {rule.address for rule in rules.clamps}
        if (
            len({rule[:3] for rule in rules.marks}) < len(rules.marks)
            or rules.source_nat & rules.kept_sources
            or len(clamped) < len(rules.clamps)
        ):
            raise PacketFilterError("writing the table: File exists")
        self.writes += 1
        self.change(PacketTable(rules=rules) if rules else None)

    def change(self, table: PacketTable | None) -> None:
        """By whomever."""
        self.table = table
        self.number += 1

    def _check(self) -> None:
        if not self.is_there:
            raise NftMissing("the program nft can not be run: install nftables on this node")
