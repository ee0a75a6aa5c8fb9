"""Both images as built: what is in them, by the list that comes with them; size, labels; no trace of the builder."""

import json
import tarfile
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from lvs_lab.image_build import Image, build_images, source_date
from lvs_lab.image_differences import read_contents
from lvs_lab.image_twice import built_twice
from lvs_lab.sbom import describe

Json = dict[str, Any]
LARGEST = {"operator": 125.0, "node_agent": 140.0}
"""Megabytes, unpacked."""
BOTH = {"libc6", "python3-minimal", "pydantic", "lightkube", "lvs-operator"}
ONLY = {"operator": {"kopf"}, "node_agent": {"keepalived", "nftables", "ipvsadm", "iproute2", "pyroute2"}}
UNWANTED = {"kubernetes", "gcc", "pip", "apt", "perl", "perl-base", "make", "python3-pip"}
FROM_WHO_RUNS_IT = ("etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/machine-id", "var/lib/dbus/machine-id")
"""Empty or not there: a container gets them from its runtime."""
UNCHECKED_HASH = 1
"""PEP 552: the source is known by its hash, and never looked at."""
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


def files(which: str) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Whatever is in its layers, with the contents of files."""
    with tarfile.open(built(which).archive) as archive:
        manifest = json.load(_opened(archive, "manifest.json"))
        for name in manifest[0]["Layers"]:
            with tarfile.open(fileobj=_opened(archive, name)) as layer:
                for entry in layer:
                    file = layer.extractfile(entry) if entry.isreg() else None
                    yield entry, file.read() if file else b""


@each_image
def test_nothing_in_it_tells_when_or_where_it_was_built(which: str) -> None:
    contents = dict(files(which))
    assert {entry.mtime for entry in contents} == {source_date()}
    by_name = {entry.name: content for entry, content in contents.items()}
    assert [name for name in FROM_WHO_RUNS_IT if by_name.get(name)] == []
    assert {name for name in by_name if name.startswith(("var/cache/", "var/log/", "tmp/", "root/.cache"))} == set()
    changed = {line.split(b":")[2] for line in by_name["etc/shadow"].splitlines()}
    assert changed == {str(source_date() // 86400).encode()}
    config = read_contents(built(which).archive).config
    assert datetime.fromisoformat(config["created"]).timestamp() == source_date()
    assert {entry["created"] for entry in config["history"]} == {config["created"]}
    assert set(config) == {"architecture", "config", "created", "history", "os", "rootfs"}


@each_image
def test_bytecode_is_there_and_asks_for_no_time_of_its_source(which: str) -> None:
    """Else each start would compile everything anew: the file system is read-only."""
    found = {entry.name: content for entry, content in files(which)}
    bytecode = {name: content for name, content in found.items() if name.endswith(".pyc")}
    flags = {int.from_bytes(content[4:8], "little") for content in bytecode.values()}
    assert flags == {UNCHECKED_HASH}
    for module in ("usr/lib/python3.13/asyncio/base_events", "usr/local/lib/python3.13/dist-packages/lvs_core/resolve"):
        assert f"{module}.py" in found
        directory, _, name = module.rpartition("/")
        assert f"{directory}/__pycache__/{name}.cpython-313.pyc" in bytecode


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_builds_from_nothing_are_the_same(record_property: Callable[[str, object], None]) -> None:
    with built_twice() as builds:
        record_property("printed", builds.describe())
        assert builds.differences() == []


def _opened(archive: tarfile.TarFile, name: str) -> Any:  # noqa: ANN401 -- a file of a tar archive
    file = archive.extractfile(name)
    assert file is not None
    return file
