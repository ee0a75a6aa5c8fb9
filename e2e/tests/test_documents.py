"""What README and the pages show can be used: their manifests are valid, their links lead somewhere."""

import re
from pathlib import Path

import pytest
import yaml

from lvs_api.kinds import ALL_KINDS
from lvs_api.objects import find_violations, parse_object
from lvs_lab.artifacts import CHECKOUT

PAGES = sorted([CHECKOUT / "README.md", CHECKOUT / "examples/README.md", *(CHECKOUT / "docs").rglob("*.md")])
KINDS = {kind.name: kind for kind in ALL_KINDS}


def name(page: Path) -> str:
    return str(page.relative_to(CHECKOUT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([\w./-]+)(?:#[^)]*)?\)", prose)
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


def manifests(page: Path) -> list[dict[str, object]]:
    blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    documents = [
        document for block in blocks if "apiVersion: lvs-operator.io" in block for document in yaml.safe_load_all(block)
    ]
    return [document for document in documents if isinstance(document, dict) and document.get("kind") in KINDS]


@pytest.mark.parametrize("page", [page for page in PAGES if manifests(page)], ids=name)
def test_manifests_are_valid(page: Path) -> None:
    for raw in manifests(page):
        parsed = parse_object(KINDS[str(raw["kind"])], raw)
        assert find_violations(parsed) == ()


def test_readme_shows_manifests() -> None:
    assert {raw["kind"] for raw in manifests(CHECKOUT / "README.md")} == {"LvsVirtualService", "LvsRealServerPool"}
