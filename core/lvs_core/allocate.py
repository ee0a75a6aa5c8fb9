"""Firewall marks that the operator chooses, for services whose ports are grouped.

Marks are bits that others use too: the range stays below those of kube-proxy (0x4000 and 0x8000) and of Calico's and
Cilium's defaults in the upper half.
"""

import hashlib
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Final

from lvs_core.cluster_view import ObjectKey

FIRST_MARK: Final = 0x1000
LAST_MARK: Final = 0x3FFF
MARKS: Final = range(FIRST_MARK, LAST_MARK + 1)


def first_choice(key: ObjectKey) -> int:
    """The mark that a service gets where it is free: always the same, so that a restored backup finds it again."""
    digest = hashlib.sha256(str(key).encode()).digest()
    return MARKS[int.from_bytes(digest[:8], "big") % len(MARKS)]


def choose_mark(key: ObjectKey, taken: AbstractSet[int], preferred: Iterable[int] = ()) -> int | None:
    """A mark that nobody has: a preferred one, the first choice, or the next above it; None where all are taken."""
    start = first_choice(key) - FIRST_MARK
    candidates = (MARKS[(start + step) % len(MARKS)] for step in range(len(MARKS)))
    liked = next((mark for mark in preferred if mark in MARKS and mark not in taken), None)
    return liked if liked is not None else next((mark for mark in candidates if mark not in taken), None)
