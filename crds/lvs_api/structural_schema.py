"""From a type of the API to the structural OpenAPI v3 schema of a CRD.

Whatever such a schema, or a careful API, cannot say is refused with SchemaError rather than left out: unions, null,
recursion, lists and strings without a bound, numbers without bounds, and words that YAML reads as something else.

Below an array no `default:` is written (it would change the meaning of a user's list items when defaults change, and
an item cannot be taken back to "unset"); there the description says what absence means.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from lvs_api.base import LIST_KEY, LIST_SET, RULES, ApiModel
from lvs_api.network_types import (
    FIRST_NOT_USABLE,
    NOT_A_CANONICAL_RANGE,
    NOT_A_RANGE,
    NOT_AN_ADDRESS,
    NOT_CANONICAL,
    NOT_IN_ORDER,
    NOT_MULTICAST,
    NOT_USABLE,
)
from lvs_api.patterns import WORDS

Schema = dict[str, Any]

IP: Final = "x-lvs-ip"
WRITTEN_BY_PROGRAMS: Final = "x-lvs-written-by-programs"
"""On a field whose values people do not type, so that YAML's reading of them harms nobody."""

INT32_MAX: Final = 2**31 - 1
EXACT_MAX: Final = 2**53 - 1
"""Bounds are floats in a CRD: beyond this the API server refuses every object."""
YAML_WORDS: Final = frozenset({"", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n"})
YAML_NUMBER: Final = re.compile(r"[-+]?(0[xob])?[0-9][0-9a-f_.:e+-]*|[-+]?\.(inf|nan|[0-9]+)", re.IGNORECASE)

SCALAR_KEYWORDS: Final = {
    "string": ("enum", "minLength", "maxLength", "pattern", "format"),
    "integer": ("minimum", "maximum"),
    "boolean": (),
}
OWN_KEYWORDS: Final = frozenset({"$defs", "type", "title", "description", "default", WRITTEN_BY_PROGRAMS})


class SchemaError(Exception):
    """A type of the API that a structural schema cannot express; names the field."""


def structural_schema(model: type[ApiModel], *, in_words: bool = False) -> Schema:
    """The schema of a type and everything within it. Raises SchemaError.

    `in_words` has what breaks a pattern told in words, too, at the cost of a rule for each.
    """
    source = model.model_json_schema(by_alias=True, mode="validation")
    converter = _Converter(source.get("$defs", {}), in_words=in_words)
    return converter.convert(source, "", below_array=False, within=())


def is_read_as_something_else(word: str) -> bool:
    """Whether YAML 1.1, which kubectl reads, takes the bare word for a boolean, null or a number."""
    return word.lower() in YAML_WORDS or YAML_NUMBER.fullmatch(word) is not None


def address_rules(which: str) -> list[Schema]:
    """The API server's side of IpAddress ("any"), UsableIpAddress ("usable") and MulticastAddress ("multicast").

    CEL's IP library, Kubernetes 1.31.

    A messageExpression that tells the right spelling is not affordable: string(ip) has no bound the estimator knows.
    """
    rules: list[Schema] = [
        {"rule": "isIP(self)", "message": NOT_AN_ADDRESS},
        {"rule": "!isIP(self) || ip.isCanonical(self)", "message": NOT_CANONICAL},
    ]
    if which == "usable":
        rules.append({"rule": "!isIP(self) || ip(self).isGlobalUnicast()", "message": NOT_USABLE})
    if which == "multicast":
        groups = ("224.0.0.0/4", "ff00::/8")
        within = " || ".join(f"cidr('{group}').containsIP(ip(self))" for group in groups)
        rules.append({"rule": f"!isIP(self) || {within}", "message": NOT_MULTICAST})
    return rules


def range_rules(which: str) -> list[Schema]:
    """The API server's side of AddressRange ("range") and UsableAddressRange ("usable-range").

    CEL has no order of addresses: of IPv4 the octets are added up; IPv6 groups cannot be, for a `::` stands for a
    number of them, so only the last one may differ, and is compared as text filled up with zeros. No macro runs over
    the parts: the estimator takes a string for a list of as many parts as it may have characters.
    """
    first, last = "self.split('-')[0]", "self.split('-')[1]"
    is_range = f"self.split('-').size() == 2 && isIP({first}) && isIP({last})"

    def number(address: str) -> str:
        octets = [f"int({address}.split('.')[{index}])" for index in range(4)]
        return f"(({octets[0]} * 256 + {octets[1]}) * 256 + {octets[2]}) * 256 + {octets[3]}"

    def head(address: str) -> str:
        return f"{address}.substring(0, {address}.lastIndexOf(':'))"

    def tail(address: str) -> str:
        group = f"{address}.substring({address}.lastIndexOf(':') + 1)"
        return f"('0000' + {group}).substring(size({group}))"

    ipv4 = f"ip({first}).family() == 4 ? {number(first)} <= {number(last)}"
    ipv6 = f"{head(first)} == {head(last)} && {tail(first)} <= {tail(last)}"
    in_order = f"ip({first}).family() == ip({last}).family() && ({ipv4} : {ipv6})"
    rules: list[Schema] = [
        {"rule": f"isCIDR(self) || ({is_range})", "message": NOT_A_RANGE},
        {
            "rule": "isCIDR(self) ? cidr(self) == cidr(self).masked() && ip.isCanonical(self.split('/')[0]) : "
            f"!({is_range}) || (ip.isCanonical({first}) && ip.isCanonical({last}))",
            "message": NOT_A_CANONICAL_RANGE,
        },
        {"rule": f"isCIDR(self) || !({is_range}) || ({in_order})", "message": NOT_IN_ORDER},
    ]
    if which == "usable-range":
        rules.append(
            {
                "rule": "isCIDR(self) ? cidr(self).ip().isGlobalUnicast() : "
                f"!({is_range}) || (ip({first}).isGlobalUnicast() && ip({last}).isGlobalUnicast())",
                "message": FIRST_NOT_USABLE,
            }
        )
    return rules


class _Converter:
    def __init__(self, definitions: Mapping[str, Schema], *, in_words: bool) -> None:
        self._definitions = definitions
        self._in_words = in_words

    def convert(self, source: Schema, path: str, *, below_array: bool, within: tuple[str, ...]) -> Schema:
        """One node; `path` is for messages, `within` are the types around it."""
        node, within = self._resolve(source, path, within)
        kind = node.get("type")
        match kind:
            case "object" if "properties" in node or node.get("additionalProperties") is False:
                result = self._object(node, path, below_array=below_array, within=within)
            case "object":
                result = self._map(node, path, within=within)
            case "array":
                result = self._array(node, path, within=within)
            case "string" | "integer" | "boolean":
                result = _scalar(node, path)
                if self._in_words and (words := WORDS.get(node.get("pattern", ""))) is not None:
                    result[RULES] = [{"rule": f"self.matches(r'{node['pattern']}')", "message": words}]
            case _:
                raise SchemaError(f"{path}: a {kind or 'value of any type'} cannot be said")
        return _described(node, result, below_array=below_array)

    def _resolve(self, source: Schema, path: str, within: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """Replace a reference, and a choice between something and nothing, by what they stand for."""
        node = source
        if "anyOf" in node:
            options = [option for option in node["anyOf"] if option != {"type": "null"}]
            if len(options) != 1:
                raise SchemaError(f"{path}: a union cannot be said")
            if node.get("default", ...) is not None:
                raise SchemaError(f"{path}: null cannot be said; absent must mean unset (default None)")
            node = options[0] | {key: value for key, value in node.items() if key not in {"anyOf", "default"}}
        if "$ref" in node:
            name = node["$ref"].removeprefix("#/$defs/")
            if name in within:
                raise SchemaError(f"{path}: {name} within {name} cannot be said")
            node = self._definitions[name] | {key: value for key, value in node.items() if key != "$ref"}
            within = (*within, name)
        for keyword in ("anyOf", "oneOf", "allOf", "not"):
            if keyword in node:
                raise SchemaError(f"{path}: {keyword} cannot be said")
        return node, within

    def _object(self, node: Schema, path: str, *, below_array: bool, within: tuple[str, ...]) -> Schema:
        _refuse_unknown(node, path, {"properties", "required", "additionalProperties", RULES})
        result: Schema = {
            "type": "object",
            "properties": {
                name: self.convert(child, f"{path}.{name}", below_array=below_array, within=within)
                for name, child in node.get("properties", {}).items()
            },
        }
        if not result["properties"]:
            del result["properties"]
        if node.get("required"):
            result["required"] = sorted(node["required"])
        if RULES in node:
            result[RULES] = node[RULES]
        return result

    def _map(self, node: Schema, path: str, *, within: tuple[str, ...]) -> Schema:
        _refuse_unknown(node, path, {"additionalProperties", "patternProperties", "propertyNames", "maxProperties"})
        if "maxProperties" not in node:
            raise SchemaError(f"{path}: a map without a bound")
        patterns: Schema = node.get("patternProperties", {})
        values = [*patterns.values(), *filter(None, [node.get("additionalProperties")])]
        if len(values) != 1:
            raise SchemaError(f"{path}: a map with several types of values cannot be said")
        result: Schema = {
            "type": "object",
            "additionalProperties": self.convert(values[0], f"{path}.*", below_array=True, within=within),
            "maxProperties": node["maxProperties"],
        }
        if patterns:
            result[RULES] = [
                {
                    "rule": f"self.all(name, name.matches(r'{pattern}'))",
                    "message": f"keys: {WORDS.get(pattern, pattern)}",
                }
                for pattern in patterns
            ]
        return result

    def _array(self, node: Schema, path: str, *, within: tuple[str, ...]) -> Schema:
        _refuse_unknown(node, path, {"items", "minItems", "maxItems", LIST_KEY, LIST_SET})
        if "maxItems" not in node:
            raise SchemaError(f"{path}: a list without a bound")
        items = self.convert(node["items"], f"{path}[]", below_array=True, within=within)
        result = {"type": "array", "items": items}
        result |= {key: node[key] for key in ("minItems", "maxItems") if key in node}
        keys = node[LIST_KEY].split(",") if LIST_KEY in node else []
        if missing := set(keys) - set(items.get("required", ())):
            raise SchemaError(f"{path}: list keys {sorted(missing)} are not required fields of the items")
        if node.get(LIST_SET) and items["type"] == "object":
            raise SchemaError(f"{path}: a set of objects cannot be said")
        if keys:
            return result | {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys}
        return result | {"x-kubernetes-list-type": "set" if node.get(LIST_SET) else "atomic"}


def _scalar(node: Schema, path: str) -> Schema:
    kind = node["type"]
    _refuse_unknown(node, path, {*SCALAR_KEYWORDS[kind], IP})
    result = {"type": kind} | {key: node[key] for key in SCALAR_KEYWORDS[kind] if key in node}
    if kind == "integer":
        if "minimum" not in node or "maximum" not in node:
            raise SchemaError(f"{path}: a number without bounds")
        if max(-node["minimum"], node["maximum"]) > EXACT_MAX:
            raise SchemaError(f"{path}: a bound that a float cannot hold")
        result["format"] = "int32" if node["maximum"] <= INT32_MAX else "int64"
    if kind == "string" and "enum" not in node and "maxLength" not in node:
        raise SchemaError(f"{path}: a string without a bound")
    for word in node.get("enum", ()):
        if is_read_as_something_else(word) and not node.get(WRITTEN_BY_PROGRAMS):
            raise SchemaError(f"{path}: YAML reads {word} as something other than a string")
    if IP in node:
        result[RULES] = range_rules(node[IP]) if node[IP].endswith("range") else address_rules(node[IP])
    return result


def _described(node: Schema, result: Schema, *, below_array: bool) -> Schema:
    description = " ".join(node.get("description", "").split())
    default = _without_null(node.get("default"))
    if default is not None and below_array and result["type"] != "object":
        description = f"{description} {_as_words(default)} when absent.".strip()
        default = None
    described: Schema = {"description": description} if description else {}
    described |= result
    if default is not None and not below_array:
        described["default"] = default
    return described


def _as_words(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _without_null(value: object) -> Any:  # noqa: ANN401 -- any JSON value
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    return value


def _refuse_unknown(node: Schema, path: str, known: set[str]) -> None:
    if unknown := set(node) - known - OWN_KEYWORDS:
        raise SchemaError(f"{path}: {sorted(unknown)} cannot be said")
