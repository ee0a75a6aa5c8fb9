"""docs/explanation/architecture.md agrees with the tree."""

import configparser
import re

import pytest

from lvs_lab.artifacts import CHECKOUT

PAGE = (CHECKOUT / "docs/explanation/architecture.md").read_text()
NAMED = set(re.findall(r"`([^`\n]+)`", PAGE))
PACKAGES = (
    "core/lvs_core",
    "operator/lvs_operator",
    "node-agent/lvs_agent",
    "node-agent/lvs_agent/kernel",
    "cli/lvs_cli",
)
SPEAK_FOR_THEMSELVES = {"__init__", "__main__", "errors", "metrics", "settings", "version", "testing"}
REFERENCE = {
    # In docs/reference/agent.md and operator.md rather than among the parts.
    "api_connection", "cleanup", "heartbeat", "plan_text", "status_server", "watched_kinds",
}  # fmt: skip


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_is_named(package: str) -> None:
    modules = {path.stem for path in (CHECKOUT / package).glob("*.py")} - SPEAK_FOR_THEMSELVES - REFERENCE
    words = NAMED | set(re.findall(r"\w+", " ".join(re.findall(r"^```.*?^```", PAGE, re.MULTILINE | re.DOTALL))))
    words |= {word.removesuffix(".py").rpartition("/")[2] for word in NAMED}
    assert modules - words == set()


def test_every_contract_is_listed() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(CHECKOUT / ".importlinter")
    sections = [contracts[name] for name in contracts.sections() if name.startswith("importlinter:contract:")]
    assert len(sections) >= 6
    for section in sections:
        (row,) = [line for line in PAGE.splitlines() if line.startswith("|") and section["name"] in line]
        for key in ("source_modules", "forbidden_modules"):
            for module in section.get(key, "").split():
                assert f"`{module}`" in row


def test_directories_of_the_table_are_there() -> None:
    parts = PAGE[PAGE.index("## The parts") : PAGE.index("### The core")]
    named = re.findall(r"`([\w./-]+/)`", parts)
    assert len(named) >= 9
    assert [path for path in named if not (CHECKOUT / path).is_dir() and path != "tests/"] == []
