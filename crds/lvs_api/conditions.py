"""Conditions as Kubernetes has them, and every reason that this project gives."""

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


class Reason(StrEnum):
    """Every reason; each has an anchor in docs/reference/conditions.md."""

    PENDING = "Pending"
    ACCEPTED = "Accepted"
    INVALID = "Invalid"
    CONFLICT = "Conflict"
    RESOLVED = "ResolvedRefs"
    POOL_NOT_FOUND = "PoolNotFound"
    DIRECTOR_GROUP_NOT_FOUND = "DirectorGroupNotFound"
    NO_DIRECTORS = "NoDirectors"
    NO_MEMBERS = "NoMembers"
    PROGRAMMED = "Programmed"
    NOT_PROGRAMMED = "NotProgrammed"
    READY = "Ready"
    MEMBERS_NOT_READY = "MembersNotReady"
    NO_MEMBER_READY = "NoMemberReady"
    UNVERIFIED = "Unverified"
    DIRECTOR_IS_REAL_SERVER = "DirectorIsRealServer"
    NOT_ON_LINK = "NotOnLink"
    NODE_ADDRESS = "NodeAddress"
    PORT_MISMATCH = "PortMismatch"
    FAMILY_MISMATCH = "FamilyMismatch"
    SCHEDULER_UNAVAILABLE = "SchedulerUnavailable"
    IPVS_UNAVAILABLE = "IPVSUnavailable"
    FOREIGN_ENTRY = "ForeignEntry"
    KERNEL_REFUSED = "KernelRefused"
    ADDRESS_CONFLICT = "AddressConflict"
    PAUSED = "Paused"
    CRD_OUTDATED = "CRDOutdated"


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
