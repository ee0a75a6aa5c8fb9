"""What a case of the API is: an object, and what becomes of it."""

import copy
from dataclasses import dataclass
from typing import Any

Raw = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiCase:
    """One object and what becomes of it."""

    name: str
    raw: Raw
    refused: str | None = None
    """The field that the refusal names; None: it is taken."""
    saying: str = ""
    """Part of the refusal."""


def taken(name: str, raw: Raw) -> ApiCase:
    return ApiCase(name=name, raw=raw)


def refused(name: str, field: str, raw: Raw, saying: str = "") -> ApiCase:
    return ApiCase(name=name, raw=raw, refused=field, saying=saying)


def port(name: str = "a", port: int = 80, **fields: object) -> Raw:
    return {"name": name, "port": port, **fields}


def changed(raw: Raw, path: tuple[str | int, ...], value: object) -> Raw:
    """A copy with one thing in it replaced."""
    result = copy.deepcopy(raw)
    node: Any = result
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return result
