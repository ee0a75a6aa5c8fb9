"""Where what this node has to do comes from, as the loop sees it."""

from typing import Protocol

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.withheld import Withheld
from lvs_api.lvs_node import LvsNodeStatus
from lvs_core.plan import NodePlan


class PlanSource(Protocol):
    """Where the plan comes from: the API server, or files."""

    @property
    def plan(self) -> NodePlan | None:
        """What is to be done; None while nothing complete is known: then nothing is done."""

    @property
    def withheld(self) -> Withheld:
        """What is not carried out of what the source says."""

    def reported_status(self) -> LvsNodeStatus | None:
        """What the node's status says now; None where there is none, or it can not be read."""

    def asked_zero(self) -> str | None:
        """A person's request that counters begin at 0; None where there is none, or nobody can ask."""

    def state_faults(self) -> tuple[Fault, ...]:
        """What is the matter with the copy of it on disk."""
