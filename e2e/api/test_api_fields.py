"""Every field of every kind: a real API server and Python refuse the same wrong values and name the same field."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.api_case import ApiCase
from support.api_cases import python_says
from support.api_mutations import full_objects, full_statuses, paths_never_set, spoiled
from support.api_server import ApiServer

SPECS = [case for raw in full_objects() for case in spoiled(raw, "spec")]
STATUSES = [case for raw in full_statuses() for case in spoiled(raw, "status")]


def python_names(raw: dict[str, Any]) -> set[str]:
    return {violation.field for violation in python_says(raw)}


def test_every_field_is_set_in_some_object() -> None:
    assert paths_never_set(full_objects(), "spec") == set()
    assert paths_never_set(full_statuses(), "status") == set()


@pytest.mark.parametrize("raw", full_objects(), ids=lambda raw: raw["kind"])
def test_the_full_object_is_taken(api_server: ApiServer, raw: dict[str, Any]) -> None:
    api_server.create(raw, dry_run=True).raise_for_status()
    assert python_names(raw) == set()


@pytest.mark.parametrize("case", SPECS, ids=lambda case: case.name)
def test_a_wrong_spec_is_refused(api_server: ApiServer, case: ApiCase) -> None:
    answer = api_server.create(case.raw, dry_run=True)
    assert answer.status in {400, 422}, answer.body
    assert case.refused in answer.fields, answer.message
    assert case.refused in python_names(case.raw)


@pytest.fixture(scope="module")
def reported(api_server: ApiServer) -> Iterator[ApiServer]:
    """The API server with the objects whose status is going to be written."""
    for raw in full_statuses():
        api_server.create(raw).raise_for_status()
    yield api_server
    for raw in full_statuses():
        api_server.delete(raw).raise_for_status()


@pytest.mark.parametrize("raw", full_statuses(), ids=lambda raw: raw["kind"])
def test_the_full_status_is_taken(reported: ApiServer, raw: dict[str, Any]) -> None:
    stored = reported.replace(raw_with_version(reported, raw), subresource="/status", dry_run=True).raise_for_status()
    assert stored["status"] == raw["status"]
    assert python_names(raw) == set()


@pytest.mark.parametrize("case", STATUSES, ids=lambda case: case.name)
def test_a_wrong_status_is_refused(reported: ApiServer, case: ApiCase) -> None:
    answer = reported.replace(raw_with_version(reported, case.raw), subresource="/status", dry_run=True)
    assert answer.status in {400, 422}, answer.body
    assert case.refused in answer.fields, answer.message
    # An agent may be newer than what reads its report: an unknown field is left out there and not refused, and so is an
    # item of a list with an unknown word.
    is_newer = "unknown field" in answer.message or ("[" in str(case.refused) and "Unsupported value" in answer.message)
    assert case.refused in python_names(case.raw) or is_newer


def raw_with_version(server: ApiServer, raw: dict[str, Any]) -> dict[str, Any]:
    metadata = {**server.get(raw).raise_for_status()["metadata"]}
    return {**raw, "metadata": metadata}
