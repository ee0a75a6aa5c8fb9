"""docs/reference/chart.md, values.yaml and values.schema.json speak of the same values."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from lvs_lab.artifacts import CHECKOUT

CHART = CHECKOUT / "charts" / "lvs-operator"
OF_PODS = {"resources", "nodeSelector", "tolerations", "affinity", "podAnnotations", "annotations", "labels"}
WHOLE = OF_PODS | {"selector", "vrrp", "timeouts", "sysctls", "connectionSync"}


def values(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The paths of all values; maps that users fill in count as one."""
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and name not in WHOLE:
            yield from values(value, f"{path}.")
        else:
            yield path


def in_schema(schema: dict[str, Any], definitions: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The paths that the schema describes one by one."""
    for name, entry in schema["properties"].items():
        part = definitions[entry["$ref"].rpartition("/")[2]] if "$ref" in entry else entry
        if "properties" in part and name not in WHOLE:
            assert part["additionalProperties"] is False, f"{prefix}{name} is open: a misspelt value would pass"
            yield from in_schema(part, definitions, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_value_is_documented_and_in_the_schema() -> None:
    there = set(values(yaml.safe_load((CHART / "values.yaml").read_text())))
    documented = set(re.findall(r"^\| `([\w.]+)` \|", (CHECKOUT / "docs/reference/chart.md").read_text(), re.MULTILINE))
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert there == documented
    assert schema["additionalProperties"] is False
    assert set(in_schema(schema, schema["$defs"])) - {"global"} == there
