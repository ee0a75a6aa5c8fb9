"""When a status is written that says nothing new but how many real servers a service has."""

from typing import Final

from lvs_core.cluster_view import ObjectKey

SETTLE_SECONDS: Final = 2.0
"""So long new counts wait for others: a real server that comes, or leaves without connections, changes them twice."""


class CountsPace:
    """Of each service. Belongs to the main loop; times are monotonic."""

    def __init__(self, least: float) -> None:
        """`least` seconds are between two writes of one service's counts."""
        self._least = least
        self._due: dict[ObjectKey, float] = {}

    def may_write(self, key: ObjectKey, now: float, *, only_counts: bool) -> bool:
        """Whether a service's status is to be written now; it is taken to be, then."""
        if only_counts and now < self._due.setdefault(key, now + min(SETTLE_SECONDS, self._least)):
            return False
        self._due[key] = now + self._least
        return True

    def next_due(self, now: float) -> float | None:
        """When something that has waited may be written; what may be written now is forgotten."""
        self._due = {key: due for key, due in self._due.items() if due > now}
        return min(self._due.values(), default=None)
