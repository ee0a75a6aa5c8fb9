"""No rule of the API is without a case that breaks it; a real API server judges the same cases (e2e/api)."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest

from lvs_api.base import ApiModel
from lvs_api.kinds import ALL_KINDS
from lvs_api.patterns import WORDS
from support.api_cases import all_cases, python_says


def models(annotation: Any) -> Iterator[type[ApiModel]]:
    """The types of the API in a field's type, and those in their fields."""
    for part in get_args(annotation):
        yield from models(part)
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models(field.annotation)


RULES = sorted(
    {rule.message for kind in ALL_KINDS for model in models(kind.spec) for rule in model.rules if rule.check}
)
"""What they say; those that compare with an older state are tried in e2e/api/test_api_life.py."""


@pytest.fixture(scope="module")
def told() -> set[str]:
    """What is said of the cases that are refused."""
    return {said.message for case in all_cases() if case.refused is not None for said in python_says(case.raw)}


@pytest.mark.parametrize("message", [*RULES, *WORDS.values()])
def test_each_is_broken_by_a_case(message: str, told: set[str]) -> None:
    assert message in told
