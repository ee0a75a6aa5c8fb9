"""What one object alone says wrong, with the field named as the API server names it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from lvs_api.base import LIST_KEY, LIST_SET, ApiModel, Rule
from lvs_api.patterns import WORDS


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Violation:
    """One mistake in one object."""

    field: str
    """Path from the object, such as `spec.ports[1].realServerPort`."""
    message: str
    """What is wrong and what is expected."""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class InvalidObject(Exception):  # noqa: N818 -- it is the object that is invalid, and the API server says "Invalid"
    """An object that cannot be read; names the object and every field at fault."""

    def __init__(self, *, kind: str, name: str, violations: Sequence[Violation]) -> None:
        self.kind = kind
        self.name = name
        self.violations = tuple(violations)
        super().__init__(f"{kind} {name}: " + "; ".join(str(violation) for violation in self.violations))


def field_path(root: str, location: Sequence[str | int]) -> str:
    """A location as the API server writes it: `spec` and ("ports", 1, "port") become `spec.ports[1].port`."""
    path = root
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path.removeprefix(".")


def schema_violations(error: ValidationError, root: str) -> tuple[Violation, ...]:
    """What pydantic found, with the API server's field paths."""
    return tuple(
        Violation(
            field=field_path(root, _location(item["loc"])),
            message=_schema_message(item),
        )
        for item in error.errors(include_url=False)
    )


def _location(location: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Blame a map for a bad key in it."""
    return location[:-2] if location[-1:] == ("[key]",) else location


def _schema_message(error: ErrorDetails) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "unknown field"
        case "missing":
            return "Required value"
        case "string_type" if isinstance(error["input"], Mapping | list | None):
            return "must be a string"
        case "string_type":
            # 52:54:00:12:34:56 is a number to base 60 for YAML 1.1, though not for kubectl.
            return "must be a string: in YAML put it in quotes"
        case "string_pattern_mismatch":
            return WORDS.get(error["ctx"]["pattern"], error["msg"])
        case _:
            return error["msg"].removeprefix("Value error, ")


def rule_violations(value: ApiModel, root: str) -> tuple[Violation, ...]:
    """What the rules and list keys of a parsed value and of everything within it say.

    Transition rules need two states of an object and are the API server's alone.
    """
    return tuple(_walk(value, root))


def _walk(value: object, path: str) -> Iterator[Violation]:
    if isinstance(value, ApiModel):
        yield from _broken_rules(type(value).rules, value, path)
        for name, field in type(value).model_fields.items():
            child = getattr(value, name)
            child_path = field_path(path, [field.alias or name])
            if isinstance(child, list):
                yield from _duplicates(field, child, child_path)
            yield from _walk(child, child_path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, f"{path}[{index}]")


def _broken_rules(rules: Sequence[Rule], value: object, path: str) -> Iterator[Violation]:
    """The rules that this very value breaks, not what is within it."""
    for rule in rules:
        if rule.check is not None and not rule.check(value):
            yield Violation(field=field_path(path, [rule.field] if rule.field else []), message=rule.message)


def _duplicates(field: FieldInfo, items: Sequence[Any], path: str) -> Iterator[Violation]:
    key = _list_key(field)
    if not key and not _list_extra(field).get(LIST_SET):
        return
    seen: set[object] = set()
    for index, item in enumerate(items):
        identity = tuple(getattr(item, _attribute(item, name)) for name in key) if key else item
        if identity in seen:
            said = ", ".join(map(str, identity)) if isinstance(identity, tuple) else str(identity)
            yield Violation(field=f"{path}[{index}]", message=f"Duplicate value: {said}")
        seen.add(identity)


def _attribute(item: ApiModel, alias: str) -> str:
    return next(name for name, field in type(item).model_fields.items() if (field.alias or name) == alias)


def _list_extra(field: FieldInfo) -> Mapping[str, Any]:
    """The annotations of a list that is a field, also of one that may be absent."""
    for source in (field, *_nested(field.annotation)):
        extra = getattr(source, "json_schema_extra", None)
        if isinstance(extra, dict):
            return extra
    return {}


def _nested(annotation: object) -> Iterator[object]:
    for argument in getattr(annotation, "__args__", ()):
        yield from getattr(argument, "__metadata__", ())


def _list_key(field: FieldInfo) -> tuple[str, ...]:
    """The names of the fields by which the items of a list are told apart; empty where there is none."""
    key = _list_extra(field).get(LIST_KEY, "")
    return tuple(key.split(",")) if key else ()
