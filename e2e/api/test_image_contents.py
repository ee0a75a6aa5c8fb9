"""Both images as they were built: what is in them by the list that comes with them, their sizes and labels."""

import json
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from lvs_lab.image_build import Image, build_images
from lvs_lab.sbom import describe

Json = dict[str, Any]
LARGEST = {"operator": 125.0, "node_agent": 140.0}
"""Megabytes, unpacked."""
BOTH = {"libc6", "python3-minimal", "pydantic", "lightkube", "lvs-operator"}
ONLY = {"operator": {"kopf"}, "node_agent": {"keepalived", "nftables", "ipvsadm", "iproute2", "pyroute2"}}
UNWANTED = {"kubernetes", "gcc", "pip", "apt", "perl", "perl-base", "make", "python3-pip"}
each_image = pytest.mark.parametrize("which", LARGEST)


def built(which: str) -> Image:
    image: Image = getattr(build_images(), which)
    return image


def sbom(which: str) -> Json:
    document: Json = json.loads(built(which).sbom.read_text())
    return document


@each_image
def test_the_list_names_what_is_in_the_image(which: str, record_property: Callable[[str, object], None]) -> None:
    image, document = built(which), sbom(which)
    record_property("printed", str(image))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    named = {part["name"]: part for part in document["components"]}
    assert named.keys() >= BOTH | ONLY[which]
    for other in ONLY.keys() - {which}:
        assert not named.keys() & ONLY[other]
    assert not named.keys() & UNWANTED
    assert named["libc6"]["purl"].startswith("pkg:deb/debian/libc6@")
    assert "distro=debian-13" in named["libc6"]["purl"]
    assert named["pydantic"]["purl"] == f"pkg:pypi/pydantic@{named['pydantic']['version']}"
    assert named["pydantic"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert "purl" not in named["lvs-operator"]
    assert all(part["version"] for part in document["components"])
    assert document["metadata"]["component"]["name"] == image.repository
    assert document["metadata"]["component"]["version"] == image.tag


@each_image
def test_the_same_image_has_the_same_list(which: str) -> None:
    image = built(which)
    assert describe(image.archive) == image.sbom.read_text()


@each_image
def test_an_image_is_no_larger_than_it_was_meant_to_be(which: str) -> None:
    assert 50 < built(which).megabytes < LARGEST[which]


@each_image
def test_an_image_says_what_it_is(which: str) -> None:
    with tarfile.open(built(which).archive) as archive:
        manifest = json.load(_opened(archive, "manifest.json"))
        config = json.load(_opened(archive, manifest[0]["Config"]))["config"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.title"].startswith("lvs-operator")
    assert config.get("User", "") == {"operator": "65532:65532", "node_agent": ""}[which]
    assert len(manifest[0]["Layers"]) == 2


def _opened(archive: tarfile.TarFile, name: str) -> Any:  # noqa: ANN401 -- a file of a tar archive
    file = archive.extractfile(name)
    assert file is not None
    return file
