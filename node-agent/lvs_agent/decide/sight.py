"""What is to be said while this director sees little of its real servers. Unknown is not down.

A real server that does not answer is down, unless nobody answers who was ever asked: a process that has heard nothing
since it began to check knows nothing of the real servers, but that its own checks may not get through (a filter, an
address, a cable of this node). Until the first answer, whoever gives it and whatever it says, a check that is not
answered counts neither way: who has weight in the kernel keeps it, who has none waits. Refusing a connection and
answering with an error are answers. One that has heard believes silence, also when all fall silent at once: its checks
did get through; and what was not answered before does not count afterwards.
"""

from dataclasses import dataclass

from lvs_agent.decide.faults import Fault
from lvs_api.conditions import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """How well this director sees."""

    is_running: bool = True
    """The process that checks has said something lately."""
    silent: bool = False
    """Some checks went unanswered often enough to have failed, while none was ever answered."""
    not_made: str = ""
    """Why some checks could not be made; empty when all could."""


def blindness(sight: Sight) -> Fault | None:
    """What is to be said of it; None while this director sees all that it looks at."""
    if not sight.is_running:
        return Fault(
            reason=Reason.CHECKS_NOT_MADE, message="the process that checks does not run: weights stay as they are"
        )
    if sight.not_made:
        return Fault(
            reason=Reason.CHECKS_NOT_MADE,
            message=f"some checks can not be made ({sight.not_made}): their real servers keep the weights they have",
        )
    if sight.silent:
        return Fault(
            reason=Reason.CHECKS_UNANSWERED,
            message="checks go unanswered, and none was answered since this agent began to check: real servers keep "
            "the weights that they have. Do this node's checks get through?",
        )
    return None
