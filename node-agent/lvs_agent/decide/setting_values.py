"""Numbers that a node has once, against whoever else sets them. Pure: values in, writes out.

What somebody else changed is put right at once. One who changes it again is not fought more than once in
`FIGHT_SECONDS`: two programs that overwrite each other without end harm the node more than a wrong number does, and
only a person can tell which of them is wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from lvs_api.node_settings import SettingKey

FIGHT_SECONDS: Final = 60.0
Numbers = Mapping[SettingKey, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedNumber:
    """Any of `accepted` is left alone, else `value` is written; `why` is who wants it, for people."""

    value: int
    accepted: frozenset[int]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenure:
    """How a wanted number has fared since this agent started."""

    value: int
    """What was wanted."""
    is_settled: bool = False
    """It was found so, or was written: a difference is somebody else's doing."""
    tried: float | None = None
    """When it was last written in place of somebody else's, or refused."""
    contested: float | None = None
    """When it was last found changed again so shortly after; None once it has been left alone for as long."""
    theirs: int | None = None
    """What it was found to be then."""
    refused: str | None = None
    """What the kernel said to the last write."""

    def rests(self, now: float) -> bool:
        """Whether it is too early to write again."""
        return self.tried is not None and now - self.tried < FIGHT_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class NumbersVerdict:
    """What to write, and what to put back.

    `repairs` are those writes that are in place of somebody else's. `remember` is what the ledger has to hold before
    the first write. `missing` are wanted and not there.
    """

    writes: Numbers = field(default_factory=dict)
    repairs: frozenset[SettingKey] = frozenset()
    restores: Numbers = field(default_factory=dict)
    remember: Numbers = field(default_factory=dict)
    tenures: Mapping[SettingKey, Tenure] = field(default_factory=dict)
    missing: frozenset[SettingKey] = frozenset()


def judge_numbers(
    wanted: Mapping[SettingKey, WantedNumber],
    found: Numbers,
    remembered: Numbers,
    tenures: Mapping[SettingKey, Tenure],
    now: float,
) -> NumbersVerdict:
    """Compare. `remembered` are the values from before our first write; those that nobody wants any more go back."""
    after: dict[SettingKey, Tenure] = {}
    writes: dict[SettingKey, int] = {}
    repairs: set[SettingKey] = set()
    for key, want in wanted.items():
        if key not in found:
            continue
        before = tenures.get(key)
        tenure = before if before is not None and before.value == want.value else Tenure(value=want.value)
        if found[key] in want.accepted:
            after[key] = _as_wanted(tenure, now)
        elif tenure.rests(now):
            after[key] = tenure if tenure.refused else _contested(tenure, found[key], now)
        else:
            writes[key] = want.value
            after[key] = replace(tenure, is_settled=True, refused=None)
            if tenure.is_settled and tenure.refused is None:
                repairs.add(key)
                after[key] = replace(after[key], tried=now)
    gone = {key: value for key, value in remembered.items() if key not in wanted and key in found}
    return NumbersVerdict(
        writes=writes,
        repairs=frozenset(repairs),
        restores={key: value for key, value in gone.items() if found[key] != value},
        remember={key: found[key] for key in writes}
        | {key: value for key, value in remembered.items() if key in wanted},
        tenures=after,
        missing=frozenset(wanted.keys() - found.keys()),
    )


def _as_wanted(tenure: Tenure, now: float) -> Tenure:
    if tenure.contested is not None and now - tenure.contested < FIGHT_SECONDS:
        return replace(tenure, is_settled=True, refused=None)
    return Tenure(value=tenure.value, is_settled=True, tried=tenure.tried)


def _contested(tenure: Tenure, found: int, now: float) -> Tenure:
    return replace(tenure, contested=now, theirs=found if tenure.theirs is None else tenure.theirs)
