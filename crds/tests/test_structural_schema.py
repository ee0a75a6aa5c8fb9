"""What a type may say, what it may not, and how it is said."""

from enum import StrEnum
from typing import Annotated, Any

import pytest
from pydantic import Field, JsonValue, create_model

from lvs_api.base import ApiModel, Rule
from lvs_api.network_types import IpAddress, UsableIpAddress
from lvs_api.structural_schema import SchemaError, is_read_as_something_else, structural_schema

Text = Annotated[str, Field(max_length=5)]


class Inner(ApiModel):
    """An inner thing."""

    word: Text = "a"
    """A word."""


class Switch(StrEnum):
    ON = "On"


class Recursive(ApiModel):
    again: "Recursive | None" = None


def annotated_list(keyword: str, value: JsonValue) -> object:
    return Annotated[list[Inner], Field(max_length=3, json_schema_extra={keyword: value})]


def schema_of(annotation: Any, default: object = ...) -> dict[str, Any]:
    model = create_model("Sample", __base__=ApiModel, field=(annotation, default))
    schema: dict[str, Any] = structural_schema(model)["properties"]["field"]
    return schema


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Text, {"type": "string", "maxLength": 5}),
        (Annotated[int, Field(ge=0, le=9)], {"type": "integer", "minimum": 0, "maximum": 9, "format": "int32"}),
        (
            Annotated[int, Field(ge=0, le=2**32 - 1)],
            {"type": "integer", "minimum": 0, "maximum": 4294967295, "format": "int64"},
        ),
        (bool, {"type": "boolean"}),
        (
            Annotated[list[Text], Field(max_length=3)],
            {
                "type": "array",
                "items": {"type": "string", "maxLength": 5},
                "maxItems": 3,
                "x-kubernetes-list-type": "atomic",
            },
        ),
        (
            Annotated[dict[Text, Text], Field(max_length=3)],
            {"type": "object", "additionalProperties": {"type": "string", "maxLength": 5}, "maxProperties": 3},
        ),
    ],
    ids=str,
)
def test_what_can_be_said(annotation: object, expected: dict[str, Any]) -> None:
    assert schema_of(annotation) == expected


@pytest.mark.parametrize(
    ("annotation", "default", "saying"),
    [
        (str, ..., "a string without a bound"),
        (int, ..., "a number without bounds"),
        (Annotated[int, Field(ge=0)], ..., "a number without bounds"),
        (Annotated[int, Field(ge=0, le=2**53)], ..., "a float cannot hold"),
        (list[Text], ..., "a list without a bound"),
        (dict[str, Text], ..., "a map without a bound"),
        (Text | bool, ..., "a union"),
        (Text | None, ..., "null cannot be said"),
        (Text | None, "a", "null cannot be said"),
        (float, ..., "a number cannot be said"),
        (Any, ..., "a value of any type cannot be said"),
        (Recursive, ..., "Recursive within Recursive"),
        (Switch, ..., "YAML reads On"),
        (Annotated[list[Inner], Field(max_length=3, json_schema_extra={"x-lvs-list-key": "word"})], ..., "list keys"),
        (
            Annotated[list[Inner], Field(max_length=3, json_schema_extra={"x-lvs-list-set": True})],
            ...,
            "a set of objects",
        ),
        (Annotated[str, Field(max_length=3, json_schema_extra={"x-other": 1})], ..., "x-other"),
        (Annotated[int, Field(gt=0, lt=9)], ..., "exclusiveM"),
    ],
    ids=str,
)
def test_what_cannot_be_said(annotation: object, default: object, saying: str) -> None:
    with pytest.raises(SchemaError, match=saying) as refused:
        schema_of(annotation, default)
    assert str(refused.value).startswith(".field")


def test_optional_means_absent() -> None:
    assert schema_of(Text | None, None) == {"type": "string", "maxLength": 5}


def test_defaults_stand_above_arrays_only() -> None:
    assert schema_of(Inner, Inner())["default"] == {"word": "a"}
    assert schema_of(Inner, Inner())["properties"]["word"]["default"] == "a"
    below = schema_of(Annotated[list[Inner], Field(max_length=3)])["items"]["properties"]["word"]
    assert "default" not in below
    assert below["description"] == "A word. a when absent."


def test_addresses_carry_rules() -> None:
    every = [rule["rule"] for rule in schema_of(IpAddress)["x-kubernetes-validations"]]
    usable = [rule["rule"] for rule in schema_of(UsableIpAddress)["x-kubernetes-validations"]]
    assert every == ["isIP(self)", "!isIP(self) || ip.isCanonical(self)"]
    assert usable == [*every, "!isIP(self) || ip(self).isGlobalUnicast()"]


def test_rules_and_docstrings_of_types_are_carried() -> None:
    class Ruled(ApiModel):
        """Read this."""

        rules = (Rule(cel="self.a == 'a'", check=lambda self: self.a == "a", message="a is a", field="a"),)
        a: Text
        """The
        field."""

    schema = structural_schema(Ruled)
    assert schema["description"] == "Read this."
    assert schema["properties"]["a"]["description"] == "The field."
    assert schema["x-kubernetes-validations"] == [{"rule": "self.a == 'a'", "message": "a is a", "fieldPath": ".a"}]


@pytest.mark.parametrize(
    "word", ["On", "no", "Y", "null", "~", "1", "0x1f", "1e3", "1_000", ".5", ".inf", "12:30:00", ""]
)
def test_words_that_yaml_reads_otherwise(word: str) -> None:
    assert is_read_as_something_else(word)


@pytest.mark.parametrize("word", ["None", "TCP", "wlc", "nq", "Active", "lo", "tunl0", "sh-port", "IPv4"])
def test_words_that_yaml_reads_as_words(word: str) -> None:
    assert not is_read_as_something_else(word)
