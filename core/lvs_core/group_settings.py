"""What the groups of one node want of its kernel as a whole, and which of their wishes cannot be met.

IPVS has one set of time-outs, sysctls and sync daemons in a network namespace, however many groups a node is a director
of. What the oldest group says counts; a younger one that wants something else of the same node is told so, and the rest
of what it says counts.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from lvs_api.director_group import LvsDirectorGroupSpec
from lvs_api.node_settings import ConnectionSync, SettingKey
from lvs_core.cluster_view import DirectorGroup
from lvs_core.virtual_routers import speaks_vrrp

CONNECTION_SYNC: Final = "connectionSync"
"""The field, and the name of its row in LvsNode.status.settings."""


class SyncRole(StrEnum):
    """What a director does in a group whose directors tell one another of their connections."""

    MASTER = "Master"
    """It holds the addresses, and tells the others."""
    BACKUP = "Backup"
    """It is told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupNumber:
    """A number that a node has once, and who wants it."""

    value: int
    group: str


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSync:
    """How a node takes part in telling of connections."""

    settings: ConnectionSync
    group: str
    """The oldest that wants it."""
    roles: frozenset[SyncRole]
    """Both where it holds the addresses of one group and not those of another. Without those of `vrrp_groups`."""
    vrrp_groups: frozenset[str] = frozenset()
    """Groups that want it whose directors settle by VRRP who holds the addresses: only the node itself knows at once.
    It tells the others where it is Master of a virtual router of them, and is told where it is not Master of one."""


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
    sync: GroupSync | None = None
    conflicts: tuple[SettingConflict, ...] = ()
    is_complete: bool = True
    """False: some group cannot be read. What was set stays then, though nobody is known to want it."""
    has_roles: bool = True
    """False: some group names nobody that holds its addresses, or cannot be read. Sync daemons stay as they are."""


NO_SETTINGS = NodeSettings()


def settings_of(node: str, groups: Iterable[DirectorGroup | None]) -> NodeSettings:
    """The settings of a node that is a director of these groups; None stands for one that is not known."""
    asked = list(groups)
    if not asked:
        return NO_SETTINGS
    known = sorted((group for group in asked if group is not None), key=_age)
    numbers: dict[SettingKey, GroupNumber] = {}
    conflicts: list[SettingConflict] = []
    sync: GroupSync | None = None
    for group in known:
        if group.spec is None:
            continue
        name = group.meta.name
        for key, value in numbers_of(group.spec):
            holder = numbers.setdefault(key, GroupNumber(value=value, group=name))
            if holder.value != value:
                conflicts.append(_conflict(name, str(key), (str(value), holder.group, str(holder.value))))
        wish = group.spec.connection_sync
        if wish is None:
            continue
        if sync is None or sync.settings == wish:
            before = sync or GroupSync(settings=wish, group=name, roles=frozenset())
            if speaks_vrrp(group):
                sync = replace(before, vrrp_groups=before.vrrp_groups | {name})
            else:
                sync = replace(before, roles=before.roles | _roles(node, group))
        else:
            said = (sync_text(wish), sync.group, sync_text(sync.settings))
            conflicts.append(_conflict(name, CONNECTION_SYNC, said))
    return NodeSettings(
        numbers=MappingProxyType(dict(sorted(numbers.items()))),
        sync=sync,
        conflicts=tuple(conflicts),
        is_complete=all(group is not None and group.spec is not None for group in asked),
        has_roles=all(group is not None and group.spec is not None and _says_who(group) for group in asked),
    )


def sync_text(settings: ConnectionSync) -> str:
    """In a few words, all that tells one from another."""
    length = f", maxLength {settings.max_length}" if settings.max_length is not None else ""
    return (
        f"on {settings.interface}, syncId {settings.sync_id}, {settings.multicast_group} port {settings.port}, "
        f"ttl {settings.ttl}{length}"
    )


def numbers_of(spec: LvsDirectorGroupSpec) -> Iterator[tuple[SettingKey, int]]:
    """Every number that a group wants of its directors."""
    if spec.timeouts is not None:
        yield from spec.timeouts.numbers("timeouts")
    if spec.sysctls is not None:
        yield from spec.sysctls.numbers("sysctls")


def wanted_fields(spec: LvsDirectorGroupSpec) -> frozenset[str]:
    """The names in LvsNode.status.settings of all that a group wants of its directors as a whole."""
    sync = {CONNECTION_SYNC} if spec.connection_sync is not None else set()
    return frozenset(str(key) for key, _ in numbers_of(spec)) | sync


def _conflict(group: str, setting: str, said: tuple[str, str, str]) -> SettingConflict:
    wanted, holder, held = said
    return SettingConflict(group=group, setting=setting, wanted=wanted, holder=holder, held=held)


def _roles(node: str, group: DirectorGroup) -> frozenset[SyncRole]:
    if group.status is None or group.status.active is None:
        return frozenset()
    return frozenset({SyncRole.MASTER if group.status.active == node else SyncRole.BACKUP})


def _says_who(group: DirectorGroup) -> bool:
    """Whether a group that tells of connections says who of its directors does; with VRRP they know by themselves."""
    told = speaks_vrrp(group) or (group.status is not None and group.status.active is not None)
    return told or group.spec is None or group.spec.connection_sync is None


def _age(group: DirectorGroup) -> tuple[str, str]:
    """The oldest first; of two of one second the smaller uid."""
    return group.meta.creation_timestamp or "", group.meta.uid
