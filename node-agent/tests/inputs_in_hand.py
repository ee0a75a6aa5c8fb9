"""What an agent is told, in a test's hand: the plan, the verdicts of checks, and what is known of the cluster."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from ipaddress import ip_address

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.fresh_word import Answer, Words
from lvs_agent.decide.health_verdict import Check, CheckResult, Verdict
from lvs_agent.decide.kernel_state import IPAddress
from lvs_agent.decide.node_word import Carried
from lvs_agent.decide.refused_addresses import ClusterFacts
from lvs_agent.decide.withheld import NOTHING_WITHHELD, Withheld
from lvs_api.bind_device import BindDevice
from lvs_api.lvs_node import LvsNodeStatus
from lvs_core.plan import NodePlan


@dataclass
class PlanInHand:
    """A source that gives what it was given."""

    plan: NodePlan | None = None
    status: LvsNodeStatus | None = None
    withheld: Withheld = NOTHING_WITHHELD
    zero: str | None = None

    def reported_status(self) -> LvsNodeStatus | None:
        return self.status

    def asked_zero(self) -> str | None:
        return self.zero

    def state_faults(self) -> tuple[Fault, ...]:
        return ()


@dataclass
class HealthInHand:
    """A prober that finds what it is told; unknown to begin with, as a real one."""

    results: Mapping[Check, CheckResult] = field(default_factory=dict)
    wanted: Mapping[Check, Verdict] = field(default_factory=dict)
    heard: Words | None = field(default_factory=lambda: Words(port=9462))
    asked: AbstractSet[IPAddress] = frozenset()

    blind: Fault | None = None

    def verdicts(self) -> Mapping[Check, CheckResult]:
        return self.results

    def blindness(self) -> Fault | None:
        return self.blind

    def want(self, checks: Mapping[Check, Verdict]) -> None:
        if checks.keys() != self.results.keys():
            begun = {check: CheckResult(verdict=verdict) for check, verdict in checks.items()}
            self.results = begun | {check: r for check, r in self.results.items() if check in checks}
        self.wanted = checks

    def words(self) -> Words | None:
        return self.heard

    def ask(self, addresses: AbstractSet[IPAddress]) -> None:
        if addresses != self.asked and self.heard is not None:
            kept = {address: answer for address, answer in self.heard.answers.items() if address in addresses}
            self.heard = Words(port=self.heard.port, answers=kept)
        self.asked = addresses

    def answer(
        self, number: int, *vips: str, heard: float, device: BindDevice = BindDevice.LO, detail: str = ""
    ) -> None:
        """The agent of a real server, which must be asked, says that it carries these."""
        address = ip_address(f"192.168.4.{number}")
        assert address in self.asked, "it is not asked"
        assert self.heard is not None
        carried = frozenset(Carried(ip_address(vip), device) for vip in vips)
        answer = Answer(heard=heard, carried=carried, detail=detail)
        self.heard = Words(port=self.heard.port, answers={**self.heard.answers, address: answer})

    def find(self, number: int, verdict: Verdict, detail: str = "") -> None:
        """The checks of one real server lead to this verdict."""
        address = f"192.168.4.{number}"
        assert any(check.address == address for check in self.results), "it is not checked"
        self.results = {
            check: CheckResult(verdict=verdict, detail=detail) if check.address == address else result
            for check, result in self.results.items()
        }


class Known:
    """A cluster of which this is known."""

    def __init__(self, facts: ClusterFacts | Fault) -> None:
        self.facts = facts

    def facts_for(self, address: IPAddress, wanted: AbstractSet[IPAddress]) -> ClusterFacts | Fault:
        assert address in wanted
        return self.facts
