"""What a failed scenario says of itself: the state of the lab at the moment of the failure."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.chosen_agents import Agents, choose, chosen
from support.cluster_looks import ClusterLooks
from support.deployment import Deployment
from support.lab_fixtures import take_down_orphans
from support.quick_start import quick_start_lab, restore


def pytest_configure(config: pytest.Config) -> None:
    """`--agents` says what operator and agents are."""
    choose(Agents(config.getoption("agents")))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What has no meaning with pods says why."""
    marker = item.get_closest_marker("processes")
    if marker is not None and chosen() is Agents.PODS:
        pytest.skip(f"not with agents as pods: {marker.args[0]}")


@pytest.fixture(scope="session", autouse=True)
def no_orphans() -> None:
    """Labs of test sessions that were killed take memory and processor time from this one."""
    take_down_orphans()


@pytest.fixture(scope="session")
def quick_start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The one lab of the standard topology with the quick start in it that the tests of several modules share."""
    with quick_start_lab("shared", tmp_path_factory.mktemp("quick-start")) as deployment:
        yield deployment


@pytest.fixture
def web(quick_start: Deployment) -> Iterator[Deployment]:
    """The quick start, Ready; whatever a test does to it is put right afterwards."""
    yield quick_start
    restore(quick_start)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a module that share a parametrized lab stand together, so that each lab comes up once.

    Modules that share the quick start's lab come last, so that it is up for no longer than they run.
    """

    def lab(item: pytest.Item) -> tuple[Path, object]:
        callspec = getattr(item, "callspec", None)
        return item.path, None if callspec is None else callspec.params.get("lab")

    modules: dict[Path, int] = {}
    labs: dict[tuple[Path, object], int] = {}
    for index, item in enumerate(items):
        modules.setdefault(item.path, index)
        labs.setdefault(lab(item), index)
    sharing = {item.path for item in items if "quick_start" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: (item.path in sharing, modules[item.path], labs[lab(item)]))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]  # pluggy's outcome
    if report.failed and isinstance(item, pytest.Function):
        for value in item.funcargs.values():
            parts = value if isinstance(value, tuple) else (value,)
            for part in parts:
                deployment = getattr(part, "deployment", part)
                if isinstance(deployment, ClusterLooks):
                    report.sections.append(("the cluster at that moment", deployment.describe()))
