"""From the schemas to docs/reference/api.md."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from lvs_api.api_group import API_VERSION
from lvs_api.base import RULES
from lvs_api.ipvs_terms import ELSEWHERE, Ipvs, terms_of
from lvs_api.kinds import USER_KINDS, Kind
from lvs_api.structural_schema import Schema, structural_schema

_HEAD: Final = f"""# API reference: `{API_VERSION}`

Generated from the types in `crds/lvs_api` by `make generate`; `kubectl explain` shows the same texts.

Kubernetes 1.31 or later: the rules use CEL's functions for IP addresses. A field that is absent is unset; there is no
difference between absent and `null`. Unknown fields are refused by `kubectl` (strict validation) and dropped by the API
server. What the conditions and their reasons mean is told in [conditions.md](conditions.md).

The column "IPVS" has what a field stands for: the kernel's name (linux/ip_vs.h, attributes without their prefix
`IPVS_`; Documentation/networking/ipvs-sysctl.rst) and the options of ipvsadm(8). What ipvsadm has and no field says is
[at the end](#ipvsadm-options-without-a-field).
"""
_ELSEWHERE_HEAD: Final = """## ipvsadm options without a field

| option | instead |
|---|---|"""


def api_reference(kinds: Iterable[Kind[Any, Any]]) -> str:
    """The whole page."""
    rows = [f"| `{option}` | {instead} |" for option, instead in ELSEWHERE.items()]
    return "\n".join([_HEAD, *(_kind_section(kind) for kind in kinds), _ELSEWHERE_HEAD, *rows, ""])


def _kind_section(kind: Kind[Any, Any]) -> str:
    scope = "namespaced" if kind.namespaced else "cluster-scoped"
    lines = [f"## {kind.name}", "", f"{kind.description}", "", f"Short name `{kind.short_name}`, {scope}.", ""]
    parts: list[tuple[str, Schema, dict[str, Ipvs]]] = [
        ("spec", structural_schema(kind.spec), dict(terms_of(kind.spec)) if kind in USER_KINDS else {})
    ]
    if kind.has_status:
        parts.append(("status", structural_schema(kind.status), {}))
    for part, schema, terms in parts:
        lines += [f"### {kind.name}.{part}", "", *_table_head(with_terms=bool(terms))]
        lines += _rows(schema, "", terms)
        lines.append("")
        if rules := list(_rule_lines(schema, part)):
            lines += ["Rules:", "", *rules, ""]
    return "\n".join(lines)


def _table_head(*, with_terms: bool) -> tuple[str, str]:
    if with_terms:
        return "| field | type | default | IPVS | meaning |", "|---|---|---|---|---|"
    return "| field | type | default | meaning |", "|---|---|---|---|"


def _rows(schema: Schema, prefix: str, terms: Mapping[str, Ipvs]) -> Iterator[str]:
    required = schema.get("required", ())
    for name, node in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        default = "required" if name in required else _default(node)
        stands_for = f"{_term(terms.get(path))} | " if terms else ""
        yield f"| `{path}` | {_type(node)} | {default} | {stands_for}{_cell(node.get('description', ''))} |"
        inner = node.get("items", node)
        yield from _rows(inner, f"{path}[]." if "items" in node else f"{path}.", terms)


def _term(term: Ipvs | None) -> str:
    if term is None:
        return ""
    names = [f"`{name}`" for name in (*term.kernel.split(", "), *term.options)]
    return " ".join(names)


def _default(node: Schema) -> str:
    default = node.get("default")
    if default is None:
        return ""
    if isinstance(default, dict):
        return "see its fields"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _type(node: Schema) -> str:
    match node["type"]:
        case "array":
            return f"list of {_type(node['items'])}, {_range(node.get('minItems', 0), node['maxItems'])} items"
        case "object" if "additionalProperties" in node:
            return f"map to {_type(node['additionalProperties'])}, at most {node['maxProperties']}"
        case "integer":
            return f"integer, {_range(node['minimum'], node['maximum'])}"
        case "string":
            return _string_type(node)
        case other:
            return str(other)


def _string_type(node: Schema) -> str:
    if "enum" in node:
        return ", ".join(f"`{word}`" for word in node["enum"])
    if any("isCIDR" in rule["rule"] for rule in node.get(RULES, ())):
        return "CIDR or `FIRST-LAST`"
    if any("isIP" in rule["rule"] for rule in node.get(RULES, ())):
        return "IP address"
    return f"string, at most {node['maxLength']} characters"


def _range(low: int, high: int) -> str:
    return f"{low} to {high}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _rule_lines(schema: Schema, path: str) -> Iterator[str]:
    """Every rule below a node; those of addresses are said by the type."""
    for rule in schema.get(RULES, ()):
        if "isIP(self)" not in rule["rule"]:
            yield f"- `{path}{rule.get('fieldPath', '')}`: {rule['message']}"
    for name, node in schema.get("properties", {}).items():
        yield from _rule_lines(node, f"{path}.{name}")
    if "items" in schema:
        yield from _rule_lines(schema["items"], f"{path}[]")
