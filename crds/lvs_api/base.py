"""What every type of the API has in common."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

RULES: Final = "x-kubernetes-validations"
LIST_KEY: Final = "x-lvs-list-key"
"""On a list of objects: the fields, joined by commas, by which its items are told apart."""
LIST_SET: Final = "x-lvs-list-set"
"""On a list of words or numbers: each may stand only once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A statement about one object alone, said once for the API server (CEL) and once for Python.

    Both sides must agree; the API server's side is proved against a real one, Python's side serves manifests that
    are read without an API server.
    """

    cel: str
    """True for a good value; `self` is the value of the model (x-kubernetes-validations)."""
    check: Callable[[Any], bool] | None
    """The same in Python, given the parsed model; None for a transition rule (`oldSelf`): one object cannot say it."""
    message: str
    """What is wrong and what is expected, as the user reads it."""
    field: str
    """The field to blame, relative to the model, in camelCase; "" for the model itself (fieldPath without the dot)."""


def _carry_rules(schema: dict[str, Any], model: type[BaseModel]) -> None:
    if issubclass(model, ApiModel) and model.rules:
        schema[RULES] = [
            {"rule": rule.cel, "message": rule.message} | ({"fieldPath": f".{rule.field}"} if rule.field else {})
            for rule in model.rules
        ]


class ApiModel(BaseModel):
    """A frozen API type: camelCase outside, snake_case inside, unknown fields refused."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        ser_json_inf_nan="null",
        json_schema_extra=_carry_rules,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """Rules over several fields of this type; bounds of one field stand in its annotation."""
    sysctl_directory: ClassVar[str | None] = None
    """Where every field is a sysctl, called as in Python, the directory of all of them, with dots."""
