"""What is known of real servers from outside, as the loop sees it."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Protocol

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.fresh_word import Words
from lvs_agent.decide.health_verdict import Check, CheckResult, Verdict
from lvs_agent.decide.kernel_state import IPAddress


class Prober(Protocol):
    """Runs checks, and asks the agents of real servers what these carry."""

    def verdicts(self) -> Mapping[Check, CheckResult]:
        """What is known of every wanted check."""

    def blindness(self) -> Fault | None:
        """Why checks say less than they should."""

    def want(self, checks: Mapping[Check, Verdict]) -> None:
        """Run exactly these."""

    def words(self) -> Words | None:
        """What agents were heard to say; None: they are not asked."""

    def ask(self, addresses: AbstractSet[IPAddress]) -> None:
        """Ask the agents of exactly these real servers."""
