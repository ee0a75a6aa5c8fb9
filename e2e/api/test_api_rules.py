"""Every rule of the API, by one object that is taken and one that is refused, at a real API server and in Python."""

from collections.abc import Iterator

import pytest

from lvs_api.base import RULES
from lvs_api.crd_manifest import crd_manifest
from lvs_api.kinds import ALL_KINDS
from support.api_case import ApiCase
from support.api_cases import all_cases, python_says
from support.api_server import ApiServer

CASES = all_cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_api_server_and_python_agree(api_server: ApiServer, case: ApiCase) -> None:
    answer = api_server.create(case.raw, dry_run=True)
    violations = python_says(case.raw)
    if case.refused is None:
        answer.raise_for_status()
        assert violations == ()
        return
    assert answer.status in {400, 422}, answer.body
    assert case.refused in answer.fields, answer.message
    assert case.saying in answer.message
    assert case.refused in {violation.field for violation in violations}
    if case.saying:
        assert any(case.saying in violation.message for violation in violations), violations


def test_no_rule_goes_without_a_refused_object(api_server: ApiServer) -> None:
    said = " ".join(api_server.create(case.raw, dry_run=True).message for case in CASES if case.refused)
    rules = {
        rule["message"] for kind in ALL_KINDS for rule in rules_in(crd_manifest(kind)) if "oldSelf" not in rule["rule"]
    }
    assert {message for message in rules if message not in said} == set()


def rules_in(node: object) -> Iterator[dict[str, str]]:
    if isinstance(node, dict):
        yield from node.get(RULES, ())
        for child in node.values():
            yield from rules_in(child)
    elif isinstance(node, list):
        for child in node:
            yield from rules_in(child)
