"""Conditions as Kubernetes has them, and every reason that this project gives."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from lvs_api.base import ApiModel
from lvs_api.network_types import Generation

EPOCH: Final = "1970-01-01T00:00:00Z"
"""Transition time of the conditions that a CRD's default status carries."""


class ConditionStatus(StrEnum):
    """True, False or Unknown."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class ConditionType(StrEnum):
    """Types of conditions."""

    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"
    PROGRAMMED = "Programmed"
    READY = "Ready"
    CRD_OUTDATED = "CRDOutdated"
    REMOVAL_HELD = "RemovalHeld"
    CLUSTER_CHANGED = "ClusterChanged"
    STATE_NOT_STORED = "StateNotStored"
    CHECKS_BLIND = "ChecksBlind"
    SETTINGS_DIFFER = "SettingsDiffer"
    TABLE_CONTESTED = "TableContested"
    TRAFFIC_BLOCKED = "TrafficBlocked"
    TUNNELS_UNGUARDED = "TunnelsUnguarded"
    FAILOVER_IMPAIRED = "FailoverImpaired"
    SETTINGS_APPLIED = "SettingsApplied"


class Reason(StrEnum):
    """Every reason; each has an anchor in docs/reference/conditions.md."""

    PENDING = "Pending"
    ACCEPTED = "Accepted"
    INVALID = "Invalid"
    CONFLICT = "Conflict"
    RESOLVED = "ResolvedRefs"
    POOL_NOT_FOUND = "PoolNotFound"
    SERVICE_NOT_FOUND = "ServiceNotFound"
    PORT_NOT_FOUND = "PortNotFound"
    ENDPOINTS_UNKNOWN = "EndpointsUnknown"
    DIRECTOR_GROUP_NOT_FOUND = "DirectorGroupNotFound"
    NO_DIRECTORS = "NoDirectors"
    NO_MEMBERS = "NoMembers"
    PROGRAMMED = "Programmed"
    NOT_PROGRAMMED = "NotProgrammed"
    READY = "Ready"
    MEMBERS_NOT_READY = "MembersNotReady"
    NO_MEMBER_READY = "NoMemberReady"
    BELOW_QUORUM = "BelowQuorum"
    UNVERIFIED = "Unverified"
    NOT_CONFIRMED = "NotConfirmed"
    DIRECTOR_IS_REAL_SERVER = "DirectorIsRealServer"
    NOT_ON_LINK = "NotOnLink"
    NODE_FULL = "NodeFull"
    NODE_ADDRESS = "NodeAddress"
    PORT_MISMATCH = "PortMismatch"
    NEEDS_MASQUERADE = "NeedsMasquerade"
    FAMILY_MISMATCH = "FamilyMismatch"
    OTHER_FAMILY_WITH_SYNC = "OtherFamilyWithSync"
    SCHEDULER_UNAVAILABLE = "SchedulerUnavailable"
    IPVS_UNAVAILABLE = "IPVSUnavailable"
    FOREIGN_ENTRY = "ForeignEntry"
    FOREIGN_WRITER = "ForeignWriter"
    PACKETS_NOT_SEEN = "PacketsNotSeen"
    KERNEL_REFUSED = "KernelRefused"
    MARKS_NOT_SET = "MarksNotSet"
    SOURCE_NAT_NOT_SET = "SourceNatNotSet"
    HELPER_UNAVAILABLE = "HelperUnavailable"
    NOT_DELIVERED = "NotDelivered"
    TUNNEL_RULES_NOT_SET = "TunnelRulesNotSet"
    TUNNEL_SHARED = "TunnelShared"
    DIRECTORS_UNKNOWN = "DirectorsUnknown"
    ADDRESS_CONFLICT = "AddressConflict"
    ADDRESS_REFUSED = "AddressRefused"
    PAUSED = "Paused"
    CRD_OUTDATED = "CRDOutdated"
    REMOVAL_HELD = "RemovalHeld"
    CRD_MISSING = "CRDMissing"
    SERVICE_EXISTS = "ServiceExists"
    MADE_ANEW = "MadeAnew"
    LOOK_UP_FAILED = "LookUpFailed"
    LVS_NODE_MISSING = "LvsNodeMissing"
    CLUSTER_CHANGED = "ClusterChanged"
    OBJECT_UNREADABLE = "ObjectUnreadable"
    STATE_NOT_WRITTEN = "StateNotWritten"
    STATE_DAMAGED = "StateDamaged"
    CHECKS_UNANSWERED = "ChecksUnanswered"
    CHECKS_NOT_MADE = "ChecksNotMade"
    SETTINGS_APPLIED = "SettingsApplied"
    CHANGED_BY_OTHERS = "ChangedByOthers"
    SETTING_UNAVAILABLE = "SettingUnavailable"
    IPV6_NEEDS_VRRP3 = "IPv6NeedsVRRP3"
    NOT_PERMITTED = "NotPermitted"
    ADDRESS_POOL_NOT_FOUND = "AddressPoolNotFound"
    ADDRESS_POOL_EXHAUSTED = "AddressPoolExhausted"
    NAME_TAKEN = "NameTaken"
    WRITE_REFUSED = "WriteRefused"
    NO_VIRTUAL_ROUTER_ID = "NoVirtualRouterId"
    NO_ACTIVE_DIRECTOR = "NoActiveDirector"
    SPLIT_BRAIN = "SplitBrain"
    FOREIGN_VRRP = "ForeignVrrp"
    VRRP_CONFIG_REJECTED = "VrrpConfigRejected"
    VRRP_DOWN = "VrrpDown"
    UNICAST_OFF_LINK = "UnicastOffLink"


class Condition(ApiModel):
    """One condition (KEP-1623)."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """What it is about."""
    status: Annotated[ConditionStatus, Field(json_schema_extra={"x-lvs-written-by-programs": True})]
    """True, False or Unknown."""
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """A word for programs."""
    message: Annotated[str, Field(max_length=32768)]
    """A sentence for people."""
    last_transition_time: Annotated[str, Field(min_length=20, max_length=32, json_schema_extra={"format": "date-time"})]
    """When `status` last changed (RFC 3339, UTC, whole seconds)."""
    observed_generation: Generation | None = None
    """The generation of the object that it speaks of."""


def timestamp(moment: datetime) -> str:
    """A moment as Kubernetes writes it: RFC 3339, UTC, whole seconds. Raises ValueError for one without a zone."""
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def find_condition(conditions: Sequence[Condition] | None, wanted: ConditionType) -> Condition | None:
    """The condition of a type, if there is one."""
    return next((condition for condition in conditions or () if condition.type == wanted), None)


def is_true(conditions: Sequence[Condition] | None, wanted: ConditionType) -> bool:
    """Whether the condition is there and True."""
    found = find_condition(conditions, wanted)
    return found is not None and found.status is ConditionStatus.TRUE


def set_condition(conditions: Sequence[Condition] | None, new: Condition) -> list[Condition]:
    """The conditions with `new` in the place of the one of its type, or at the end.

    `new.last_transition_time` is the present time; it counts only where `status` differs from what was said before, so
    saying the same again changes nothing.
    """
    result = list(conditions or ())
    for position, old in enumerate(result):
        if old.type == new.type:
            kept = old.last_transition_time if old.status is new.status else new.last_transition_time
            result[position] = new.model_copy(update={"last_transition_time": kept})
            return result
    return [*result, new]


def drop_condition(conditions: Sequence[Condition] | None, unwanted: ConditionType) -> list[Condition]:
    """The conditions without the one of a type."""
    return [condition for condition in conditions or () if condition.type != unwanted]
