"""What the groups of one node want of its kernel as a whole, and which of their wishes cannot be met.

IPVS has one set of time-outs and sysctls in a network namespace, however many groups a node is a director of. What the
oldest group says counts; a younger one that wants something else of the same node is told so, and the rest of what it
says counts.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from lvs_api.director_group import LvsDirectorGroupSpec
from lvs_api.node_settings import SettingKey
from lvs_core.cluster_view import DirectorGroup


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupNumber:
    """A number that a node has once, and who wants it."""

    value: int
    group: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingConflict:
    """A wish of a group that cannot be met, since an older one of the same node wants something else."""

    group: str
    setting: str
    """The field, below LvsDirectorGroup.spec."""
    wanted: str
    holder: str
    """The older group."""
    held: str
    """What that one wants."""

    def __str__(self) -> str:
        return f"spec.{self.setting} {self.wanted}: LvsDirectorGroup {self.holder} is older and wants {self.held} there"


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeSettings:
    """Everything that groups want of one node as a whole."""

    numbers: Mapping[SettingKey, GroupNumber] = field(default_factory=lambda: MappingProxyType({}))
    """Sorted."""
    conflicts: tuple[SettingConflict, ...] = ()
    is_complete: bool = True
    """False: some group cannot be read. What was set stays then, though nobody is known to want it."""


NO_SETTINGS = NodeSettings()


def settings_of(groups: Iterable[DirectorGroup | None]) -> NodeSettings:
    """The settings of a node that is a director of these groups; None stands for one that is not known."""
    asked = list(groups)
    known = sorted((group for group in asked if group is not None), key=_age)
    numbers: dict[SettingKey, GroupNumber] = {}
    conflicts: list[SettingConflict] = []
    for group in known:
        for key, value in numbers_of(group.spec) if group.spec is not None else ():
            holder = numbers.setdefault(key, GroupNumber(value=value, group=group.meta.name))
            if holder.value != value:
                conflicts.append(
                    SettingConflict(
                        group=group.meta.name,
                        setting=str(key),
                        wanted=str(value),
                        holder=holder.group,
                        held=str(holder.value),
                    )
                )
    if not asked:
        return NO_SETTINGS
    return NodeSettings(
        numbers=MappingProxyType(dict(sorted(numbers.items()))),
        conflicts=tuple(conflicts),
        is_complete=all(group is not None and group.spec is not None for group in asked),
    )


def numbers_of(spec: LvsDirectorGroupSpec) -> Iterator[tuple[SettingKey, int]]:
    """Every number that a group wants of its directors."""
    if spec.timeouts is not None:
        yield from spec.timeouts.numbers("timeouts")
    if spec.sysctls is not None:
        yield from spec.sysctls.numbers("sysctls")


def wanted_fields(spec: LvsDirectorGroupSpec) -> frozenset[str]:
    """The names in LvsNode.status.settings of all that a group wants of its directors as a whole."""
    return frozenset(str(key) for key, _ in numbers_of(spec))


def _age(group: DirectorGroup) -> tuple[str, str]:
    """The oldest first; of two of one second the smaller uid."""
    return group.meta.creation_timestamp or "", group.meta.uid
