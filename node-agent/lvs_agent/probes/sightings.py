"""Which outcomes of checks are news of real servers, and what there is to say of the others; see `decide.sight`."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from lvs_agent.probes.interface import Outcome, Result
from lvs_agent.probes.messages import Tally

_ANSWERS: Final = frozenset({Result.PASSED, Result.FAILED})


@dataclass(frozen=True, slots=True)
class _Run:
    """Outcomes of one check in a row that were no news."""

    length: int
    fall: int
    last: Outcome

    @property
    def is_long(self) -> bool:
        """So many failures would have changed a weight."""
        return self.length >= self.fall


class Sightings:
    """What this process has seen since it began to check."""

    def __init__(self) -> None:
        self._results: Counter[Result] = Counter()
        self._runs: dict[int, _Run] = {}
        self.has_heard = False
        """Some real server answered some check."""

    def is_news(self, number: int, outcome: Outcome, *, had_heard: bool, fall: int) -> bool:
        """Whether an outcome counts; `had_heard` is what `has_heard` was when the check began."""
        self._results[outcome.result] += 1
        self.has_heard = self.has_heard or outcome.result in _ANSWERS
        if outcome.result in _ANSWERS or (outcome.result is Result.UNANSWERED and had_heard):
            self._runs.pop(number, None)
            return True
        before = self._runs.get(number)
        self._runs[number] = _Run(before.length + 1 if before else 1, fall, outcome)
        return False

    def forget(self, number: int) -> None:
        """A check is made no more."""
        self._runs.pop(number, None)

    def take_tally(self) -> Tally:
        """How checks went since this was last asked."""
        results, self._results = self._results, Counter()
        long = [run.last for run in self._runs.values() if run.is_long]
        return Tally(
            results=dict(results),
            silent=not self.has_heard and any(last.result is Result.UNANSWERED for last in long),
            not_made=next((last.detail for last in long if last.result is Result.NOT_MADE), ""),
        )
