"""Numbers that a node has once, against whoever else sets them. Pure: values in, writes out."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lvs_agent.decide.tenure import Tenure, tenure_of
from lvs_api.node_settings import SettingKey

Numbers = Mapping[SettingKey, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedNumber:
    """Any of `accepted` is left alone, else `value` is written; `why` is who wants it, for people."""

    value: int
    accepted: frozenset[int]
    why: str


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
    tenures: Mapping[SettingKey, Tenure[int]] = field(default_factory=dict)
    missing: frozenset[SettingKey] = frozenset()


def judge_numbers(
    wanted: Mapping[SettingKey, WantedNumber],
    found: Numbers,
    remembered: Numbers,
    tenures: Mapping[SettingKey, Tenure[int]],
    now: float,
) -> NumbersVerdict:
    """Compare. `remembered` are the values from before our first write; those that nobody wants any more go back."""
    after: dict[SettingKey, Tenure[int]] = {}
    writes: dict[SettingKey, int] = {}
    repairs: set[SettingKey] = set()
    for key, want in wanted.items():
        if key not in found:
            continue
        tenure = tenure_of(tenures, key, want.value)
        if found[key] in want.accepted:
            after[key] = tenure.as_wanted(now)
        elif tenure.rests(now):
            after[key] = tenure.left_so(str(found[key]), now)
        else:
            writes[key] = want.value
            after[key] = tenure.written(now)
            if tenure.is_repair:
                repairs.add(key)
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
