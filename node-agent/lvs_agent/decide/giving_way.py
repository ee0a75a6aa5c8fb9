"""For how long a director that is to give way lets go of what it carries by VRRP. Pure.

Who is ready takes the addresses after its skew, well under an advert's interval. After that this director is a Backup
as any other, so that where nobody took them it is Master again; it does not let go a second time unless told anew.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from lvs_core.plan import DirectorPlan

LET_GO_SECONDS: Final = 3.0
"""All that are to let go for one director hear of it within this."""
_INTERVALS: Final = 2


def follow_giving_way(before: Mapping[str, float], directors: Iterable[DirectorPlan], now: float) -> dict[str, float]:
    """Since when each director group has been told to give way, by a monotonic clock."""
    return {one.group: before.get(one.group, now) for one in directors if one.gives_way}


def let_go(since: Mapping[str, float], directors: Iterable[DirectorPlan], now: float) -> frozenset[str]:
    """The director groups whose addresses are not to be carried at this moment."""
    return frozenset(
        one.group
        for one in directors
        if one.group in since and one.vrrp is not None and now - since[one.group] < _seconds(one)
    )


def _seconds(director: DirectorPlan) -> float:
    interval = director.vrrp.advert_interval_milliseconds if director.vrrp is not None else 0
    return LET_GO_SECONDS + _INTERVALS * interval / 1000
