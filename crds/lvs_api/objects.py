"""From a raw object, as the API server or a YAML file gives it, to typed values, and back."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from lvs_api.api_group import API_VERSION
from lvs_api.base import ApiModel
from lvs_api.kinds import Kind
from lvs_api.network_types import NamespaceName, ObjectName
from lvs_api.violations import InvalidObject, Violation, rule_violations, schema_violations

SpecT = TypeVar("SpecT", bound=ApiModel)
StatusT = TypeVar("StatusT", bound=ApiModel)
_ModelT = TypeVar("_ModelT", bound=BaseModel)
_T = TypeVar("_T")

_TOP_LEVEL = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})
_RAW = ConfigDict(alias_generator=to_camel, extra="ignore", strict=True, frozen=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnerReference:
    """An object without which this one is garbage."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    """It manages this one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectMeta:
    """The part of `metadata` that this project reads; what is not said is empty, 0 or None."""

    name: str
    namespace: str | None = None
    """None for cluster-scoped kinds."""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    creation_timestamp: str | None = None
    """RFC 3339, UTC, whole seconds: sorts as text."""
    deletion_timestamp: str | None = None
    owner_references: tuple[OwnerReference, ...] = ()

    @property
    def qualified_name(self) -> str:
        """`namespace/name`, or the name alone, for messages."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiObject(Generic[SpecT, StatusT]):
    """One object of one of our kinds."""

    kind: Kind[SpecT, StatusT]
    metadata: ObjectMeta
    spec: SpecT
    status: StatusT | None = None
    """None where nobody has written one yet."""


def parse_object(
    kind: Kind[SpecT, StatusT], raw: Mapping[str, Any], *, generated: bool = False
) -> ApiObject[SpecT, StatusT]:
    """Read an object; rules over several fields are not checked here, see `find_violations`.

    The spec is read strictly; that of a `generated` object, which a newer operator may have written, without the
    fields that this version does not know. In the status such fields are left out, too, and so are items of
    lists that hold a word it does not know, so that a newer agent can report to an older operator.

    Raises InvalidObject, which names every field at fault.
    """
    violations = [Violation(field=str(name), message="unknown field") for name in raw if name not in _TOP_LEVEL]
    if raw.get("apiVersion") != API_VERSION or raw.get("kind") != kind.name:
        said = f"{raw.get('apiVersion')} {raw.get('kind')}"
        violations.append(Violation(field="kind", message=f"is {said}, expected {API_VERSION} {kind.name}"))
    metadata = _collect(lambda: parse_metadata(raw, namespaced=kind.namespaced), violations)
    if metadata is not None and len(metadata.name) > kind.max_name_length:
        message = f"Too long: may not be more than {kind.max_name_length} characters"
        violations.append(Violation(field="metadata.name", message=message))
    spec = _collect(lambda: _parse_part(kind.spec, raw, "spec", ignore_unknown=generated), violations)
    status = None
    if raw.get("status") is not None:
        status = _collect(lambda: _parse_part(kind.status, raw, "status", ignore_unknown=True), violations)
    if violations or metadata is None or spec is None:
        raise InvalidObject(kind=kind.name, name=_said_name(raw), violations=violations)
    return ApiObject(kind=kind, metadata=metadata, spec=spec, status=status)


def find_violations(obj: ApiObject[SpecT, StatusT]) -> tuple[Violation, ...]:
    """Everything that a parsed object's rules say is wrong with it; empty when the API server would take it."""
    return rule_violations(obj.spec, "spec")


def parse_metadata(raw: Mapping[str, Any], *, namespaced: bool) -> ObjectMeta:
    """Read the metadata of an object of any kind, a Node's too.

    A namespaced object that names no namespace is in `default`, as kubectl has it. Raises InvalidObject.
    """
    try:
        read = _RawMetadata.model_validate(raw.get("metadata") or {}, by_alias=True, by_name=False)
    except ValidationError as error:
        violations = schema_violations(error, "metadata")
        raise InvalidObject(kind=str(raw.get("kind")), name=_said_name(raw), violations=violations) from error
    if not namespaced and read.namespace:
        violation = Violation(field="metadata.namespace", message=f"{raw.get('kind')} is cluster-scoped")
        raise InvalidObject(kind=str(raw.get("kind")), name=_said_name(raw), violations=[violation])
    return ObjectMeta(
        name=read.name,
        namespace=(read.namespace or "default") if namespaced else None,
        uid=read.uid or "",
        generation=read.generation or 0,
        resource_version=read.resource_version or "",
        labels=MappingProxyType(dict(read.labels or {})),
        creation_timestamp=read.creation_timestamp,
        deletion_timestamp=read.deletion_timestamp,
        owner_references=tuple(
            OwnerReference(
                api_version=owner.api_version,
                kind=owner.kind,
                name=owner.name,
                uid=owner.uid,
                controller=bool(owner.controller),
            )
            for owner in read.owner_references or ()
        ),
    )


def to_raw(value: ApiModel) -> dict[str, Any]:
    """A spec or status as it is written to the API server.

    Defaults are written out and absent fields left out, so what is stored equals what was sent and a second write of
    the same value changes nothing.
    """
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


class _RawOwner(BaseModel):
    model_config = _RAW
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None


class _RawMetadata(BaseModel):
    model_config = _RAW
    name: ObjectName
    namespace: NamespaceName | None = None
    uid: str | None = None
    generation: int | None = None
    resource_version: str | None = None
    labels: dict[str, str] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    owner_references: list[_RawOwner] | None = None


def _parse_part(model: type[_ModelT], raw: Mapping[str, Any], part: str, *, ignore_unknown: bool) -> _ModelT:
    """Spec or status: by JSON, for only there are enums and numbers read as strictly as the API server reads them."""
    kind, name = str(raw.get("kind")), _said_name(raw)
    if raw.get(part) is None:
        raise InvalidObject(kind=kind, name=name, violations=[Violation(field=part, message="Required value")])
    try:
        text = json.dumps(_without_nulls(raw[part]), allow_nan=False)
    except (TypeError, ValueError) as error:
        violation = Violation(field=part, message=f"holds something that JSON has no word for: {error}")
        raise InvalidObject(kind=kind, name=name, violations=[violation]) from error
    try:
        return model.model_validate_json(
            text, strict=True, by_alias=True, by_name=False, extra="ignore" if ignore_unknown else "forbid"
        )
    except ValidationError as error:
        known = _known_items(raw[part], error) if part == "status" else None
        if known is None:
            raise InvalidObject(kind=kind, name=name, violations=schema_violations(error, part)) from error
    return _parse_part(model, {**raw, part: known}, part, ignore_unknown=ignore_unknown)


def _known_items(status: Mapping[str, Any], error: ValidationError) -> Mapping[str, Any] | None:
    """The status without the items of its lists that hold a word of a newer version; None where more is at fault."""
    newer: set[tuple[str, int]] = set()
    for fault in error.errors(include_url=False):
        match fault["type"], fault["loc"], fault["input"]:
            case "enum", (str(name), int(position), *_), str() if isinstance(status.get(name), list):
                newer.add((name, position))
            case _:
                return None
    return {
        name: [item for position, item in enumerate(value) if (name, position) not in newer]
        if isinstance(value, list)
        else value
        for name, value in status.items()
    }


def _without_nulls(value: object) -> object:
    """Null means absent; the API server, too, drops it from every object, though not from lists."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _collect(read: Callable[[], _T], violations: list[Violation]) -> _T | None:
    try:
        return read()
    except InvalidObject as error:
        violations += error.violations
        return None


def _said_name(raw: Mapping[str, Any]) -> str:
    metadata = raw.get("metadata")
    if not isinstance(metadata, Mapping):
        return "(no name)"
    name, namespace = metadata.get("name"), metadata.get("namespace")
    return f"{namespace}/{name}" if namespace else str(name or "(no name)")
