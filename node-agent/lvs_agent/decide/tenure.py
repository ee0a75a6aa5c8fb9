"""How something that a node has once has fared, and when it is fought for.

What somebody else changed is put right at once. One who changes it again is not fought more than once in
`FIGHT_SECONDS`: two programs that overwrite each other without end harm the node more than a wrong value does, and only
a person can tell which of them is wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

FIGHT_SECONDS: Final = 60.0
ValueT = TypeVar("ValueT")
KeyT = TypeVar("KeyT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenure(Generic[ValueT]):
    """How a wanted value has fared since this agent started."""

    value: ValueT
    """What was wanted."""
    is_settled: bool = False
    """It was found so, or was written: a difference is somebody else's doing."""
    tried: float | None = None
    """When it was last written in place of somebody else's, or refused."""
    contested: float | None = None
    """When it was last found changed again so shortly after; None once it has been left alone for as long."""
    theirs: str | None = None
    """What it was found to be then, in words."""
    refused: str | None = None
    """What the kernel said to the last write."""

    def rests(self, now: float) -> bool:
        """Whether it is too early to write again."""
        return self.tried is not None and now - self.tried < FIGHT_SECONDS

    def as_wanted(self, now: float) -> "Tenure[ValueT]":
        """It was found as it is to be."""
        if self.contested is not None and now - self.contested < FIGHT_SECONDS:
            return replace(self, is_settled=True, refused=None)
        return Tenure(value=self.value, is_settled=True, tried=self.tried)

    def left_so(self, theirs: str, now: float) -> "Tenure[ValueT]":
        """It was found otherwise, too early to write again. What is said of it stays the same while that lasts."""
        if self.refused is not None:
            return self
        return replace(self, contested=now, theirs=theirs if self.theirs is None else self.theirs)

    @property
    def is_repair(self) -> bool:
        """Whether a write now is one in place of somebody else's."""
        return self.is_settled and self.refused is None

    def written(self, now: float) -> "Tenure[ValueT]":
        """It is about to be written."""
        return replace(self, is_settled=True, refused=None, tried=now if self.is_repair else self.tried)

    def refused_with(self, message: str, now: float) -> "Tenure[ValueT]":
        """The kernel did not take it."""
        return replace(self, refused=message, tried=now)


def tenure_of(tenures: Mapping[KeyT, Tenure[ValueT]], key: KeyT, value: ValueT) -> Tenure[ValueT]:
    """The one that began with just this value, or a new one: a new wish is a person's, and is carried out at once."""
    before = tenures.get(key)
    return before if before is not None and before.value == value else Tenure(value=value)
