"""The Dockerfile, what docker may see of the checkout, and what the lab hashes: they must name the same files."""

import re
import tomllib

from lvs_lab.artifacts import CHECKOUT
from lvs_lab.image_build import CONTEXT

DOCKERFILE = (CHECKOUT / "Dockerfile").read_text()


def copied() -> set[str]:
    """What the Dockerfile copies from the checkout."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    return {source for line in lines for source in line.split()}


def test_everything_that_is_copied_is_hashed_and_visible_to_docker() -> None:
    visible = {line[1:] for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied()
    for source in copied():
        assert (CHECKOUT / source).exists()
        assert any(source == entry or source.startswith(f"{entry}/") for entry in CONTEXT), source
        parents = (source, source.rpartition("/")[0], f"{source.rpartition('/')[0]}/*.txt")
        assert visible & set(parents), f"{source} is hidden by .dockerignore"


def test_nothing_is_hashed_that_is_not_copied() -> None:
    for entry in set(CONTEXT) - {"Dockerfile", ".dockerignore"}:
        assert any(source == entry or source.startswith(f"{entry}/") for source in copied()), entry


def test_the_site_directory_is_that_of_the_base_images_python() -> None:
    versions = set(re.findall(r"python(3\.\d+)", DOCKERFILE))
    assert versions == {"3.13"}
    supported = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert supported == ">=3.11"
