"""Modules of tests share one name space: two of the same name cannot be run together."""

from collections import Counter
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


def test_no_two_modules_have_the_same_name(pytestconfig: pytest.Config) -> None:
    places = pytestconfig.getini("testpaths")
    names = Counter(path.name for place in places for path in (CHECKOUT / place).glob("test_*.py"))
    assert len(names) > 100
    assert [name for name, times in names.items() if times > 1] == []
