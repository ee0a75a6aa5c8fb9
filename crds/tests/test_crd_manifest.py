"""The CustomResourceDefinitions as a whole, and the files made from them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from lvs_api.crd_manifest import crd_manifest
from lvs_api.generate import generated_files, main
from lvs_api.kinds import ALL_KINDS, SERVICE_SLICE, USER_KINDS, Kind

MAX_BYTES = 256 * 1024


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


def schema_of(kind: Kind[Any, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = crd_manifest(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


@pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.name)
def test_every_crd(kind: Kind[Any, Any]) -> None:
    manifest = crd_manifest(kind)
    assert len(json.dumps(manifest)) < MAX_BYTES
    assert schema_of(kind)["required"] == ["spec"]
    assert ("status" in schema_of(kind)["properties"]) == (kind is not SERVICE_SLICE)
    assert "preserve-unknown-fields" not in json.dumps(manifest)
    for path, node in nodes(schema_of(kind)):
        assert "nullable" not in node, path
        assert not ("[]" in path and "default" in node), path


@pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("part", ["spec", "status"])
def test_every_field_says_what_it_is(kind: Kind[Any, Any], part: str) -> None:
    schema = schema_of(kind)["properties"].get(part, {})
    silent = [path for path, node in nodes(schema) if not path.endswith("[]") and path and not node.get("description")]
    assert silent == []


@pytest.mark.parametrize("kind", USER_KINDS, ids=lambda kind: kind.name)
def test_what_people_write_is_told_in_words_where_it_breaks_a_pattern(kind: Kind[Any, Any]) -> None:
    patterns = [node for _, node in nodes(schema_of(kind)["properties"]["spec"]) if "pattern" in node]
    assert patterns
    assert [node for node in patterns if "must be" not in str(node.get("x-kubernetes-validations"))] == []


def test_printer_columns_speak_of_fields_that_exist() -> None:
    for kind in ALL_KINDS:
        known = {path.replace("[]", "") for path, _ in nodes(schema_of(kind))}
        for column in crd_manifest(kind)["spec"]["versions"][0]["additionalPrinterColumns"]:
            path = column["jsonPath"]
            if "[?" in path:
                before, _, after = path.partition("[?")
                path = before + after.partition("]")[2]
            assert path in known or path.startswith(".metadata."), (kind.name, column)


@pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.name)
def test_no_column_has_the_priority_that_the_api_server_drops(kind: Kind[Any, Any]) -> None:
    (version,) = crd_manifest(kind)["spec"]["versions"]
    assert {column.get("priority") for column in version["additionalPrinterColumns"]} <= {None, 1}


def test_committed_files_are_those_of_the_types(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_files_hold_the_manifests() -> None:
    files = {path.as_posix(): text for path, text in generated_files()}
    for kind in ALL_KINDS:
        assert yaml.safe_load(files[f"crds/lvs-operator.io_{kind.plural}.yaml"]) == crd_manifest(kind)
        template = files[f"charts/lvs-operator/templates/crds/lvs-operator.io_{kind.plural}.yaml"]
        plain = "\n".join(line for line in template.splitlines() if "{{" not in line)
        kept = yaml.safe_load(plain)
        assert kept["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert kept == crd_manifest(kind)
