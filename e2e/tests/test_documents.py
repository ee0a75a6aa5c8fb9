"""What README and the pages show can be used: their manifests are valid, their links lead somewhere."""

import re
import shlex
from collections import Counter
from pathlib import Path

import pytest
import yaml

from lvs_api.kinds import ALL_KINDS
from lvs_api.objects import find_violations, parse_object
from lvs_cli.__main__ import command_parser
from lvs_lab.artifacts import CHECKOUT

PAGES = sorted([CHECKOUT / "README.md", CHECKOUT / "examples/README.md", *(CHECKOUT / "docs").rglob("*.md")])
KINDS = {kind.name: kind for kind in ALL_KINDS}


def name(page: Path) -> str:
    return str(page.relative_to(CHECKOUT))


def prose(page: Path) -> str:
    """The page without its code."""
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What its headings are linked by: small letters, dashes for blanks, no punctuation, a number at repetitions."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "]", heading).lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_what_is_there(page: Path) -> None:
    missing = []
    for path, anchor in re.findall(r"\]\(([\w./-]*)(?:#([^)]*))?\)", prose(page)):
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(f"{path}#{anchor}")
    assert missing == []


def test_every_page_is_found_from_the_index() -> None:
    links = re.findall(r"\]\(([\w./-]+)", (CHECKOUT / "docs/README.md").read_text())
    listed = {(CHECKOUT / "docs" / link).resolve() for link in links}
    themselves = {CHECKOUT / "README.md", CHECKOUT / "docs/README.md"}
    assert [name(page) for page in PAGES if page not in listed | themselves] == []


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


def calls(page: Path) -> list[str]:
    """What a page has `kubectl lvs` called with, in blocks and in the text, without what the shell does with it."""
    text = page.read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    lines = [line for block in blocks for line in block.splitlines()]
    lines += [line for line in text.splitlines() if line.startswith("    ")]
    found = (call for line in (*lines, *spans) for call in re.findall(r"\bkubectl lvs (\w.*)", line))
    # What is in brackets or an ellipsis stands for what else there may be.
    return [re.split(r"[|>#;…[]", call)[0].strip() for call in found]


@pytest.mark.parametrize("page", [page for page in PAGES if calls(page)], ids=name)
def test_the_plug_in_takes_what_pages_call_it_with(page: Path) -> None:
    refused = []
    for call in calls(page):
        words = shlex.split(call)
        try:
            # A name alone, in a sentence, is that of a command.
            command_parser().parse_args(words if words[1:] else [*words, "--help"])
        except SystemExit as error:
            if error.code:
                refused.append(call)
    assert refused == []
