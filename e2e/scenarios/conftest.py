"""What a failed scenario says of itself: the state of the lab at the moment of the failure."""

from collections.abc import Iterator

import pytest

from support.deployment import Deployment
from support.lab_fixtures import take_down_orphans


@pytest.fixture(scope="session", autouse=True)
def no_orphans() -> None:
    """Labs of test sessions that were killed take memory and processor time from this one."""
    take_down_orphans()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed and isinstance(item, pytest.Function):
        for value in item.funcargs.values():
            parts = value if isinstance(value, tuple) else (value,)
            for part in parts:
                deployment = getattr(part, "deployment", part)
                if isinstance(deployment, Deployment):
                    report.sections.append((f"lab {deployment.lab.name}", deployment.describe()))
