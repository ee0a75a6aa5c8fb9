"""What is in an image, as a CycloneDX document: its Debian packages and its Python distributions.

It is read out of the image itself: dpkg's status, and the metadata that installed distributions have. Nothing in it
depends on when or where it is written.
"""

import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from email.parser import Parser
from pathlib import Path, PurePosixPath
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from lvs_lab.errors import LabError

_DPKG_STATUS: Final = "var/lib/dpkg/status"
_OS_RELEASE: Final = "usr/lib/os-release"
_INSTALLED: Final = "install ok installed"
_DISTRIBUTION: Final = re.compile(r"/dist-packages/[^/]+\.dist-info/METADATA$")
_OURS: Final = "lvs-operator"
_WHOLE_SECONDS: Final = len("2026-01-01T00:00:00")


def write_sbom(archive: Path, target: Path) -> None:
    """Describe a docker archive. Raises LabError where it does not list its packages."""
    target.write_text(describe(archive))


def describe(archive: Path) -> str:
    """The document, as JSON. Raises LabError."""
    with tarfile.open(archive) as image:
        (manifest,) = json.loads(_read(image, "manifest.json"))
        config = json.loads(_read(image, manifest["Config"]))
        files = _files(image, manifest["Layers"])
    missing = {_DPKG_STATUS, _OS_RELEASE} - files.keys()
    if missing:
        raise LabError(f"{archive}: not in the image: {', '.join(sorted(missing))}")
    name, _, tag = manifest["RepoTags"][0].rpartition(":")
    image_itself = Component(type=ComponentType.CONTAINER, name=name, version=tag, bom_ref="image")
    bom = Bom(
        components=[*_debian(files.pop(_DPKG_STATUS), files.pop(_OS_RELEASE)), *_python(files.values())],
        metadata=BomMetaData(
            component=image_itself, timestamp=datetime.fromisoformat(config["created"][:_WHOLE_SECONDS] + "+00:00")
        ),
        serial_number=uuid5(NAMESPACE_URL, ",".join(config["rootfs"]["diff_ids"])),
    )
    bom.register_dependency(image_itself, bom.components)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _read(image: tarfile.TarFile, name: str | tarfile.TarInfo) -> str:
    file = image.extractfile(name)
    if file is None:
        raise LabError(f"{name!r} in the image is no file")
    return file.read().decode()


def _files(image: tarfile.TarFile, layers: Sequence[str]) -> dict[str, str]:
    """The files that say what is installed, by path; those of a later layer count."""
    found = {}
    for name in layers:
        with tarfile.open(fileobj=image.extractfile(name)) as layer:
            for member in layer:
                path = str(PurePosixPath(member.name))
                if path in {_DPKG_STATUS, _OS_RELEASE} or _DISTRIBUTION.search(path):
                    found[path] = _read(layer, member)
    return found


def _debian(status: str, release: str) -> Iterator[Component]:
    version_id = dict(line.split("=", 1) for line in release.splitlines() if "=" in line)["VERSION_ID"].strip('"')
    for paragraph in status.strip().split("\n\n"):
        fields = Parser().parsestr(paragraph, headersonly=True)
        if fields["Status"] == _INSTALLED:
            name, version = fields["Package"], fields["Version"]
            qualifiers = {"arch": fields["Architecture"], "distro": f"debian-{version_id}"}
            purl = PackageURL("deb", "debian", name, version, qualifiers)
            yield Component(name=name, version=version, purl=purl, bom_ref=str(purl))


def _python(metadata: Iterable[str]) -> Iterator[Component]:
    for text in metadata:
        fields = Parser().parsestr(text, headersonly=True)
        name, version = fields["Name"], fields["Version"]
        if name == _OURS:
            yield Component(type=ComponentType.APPLICATION, name=name, version=version, bom_ref=name)
            continue
        purl = PackageURL("pypi", None, name.lower().replace("_", "-"), version)
        said = fields["License-Expression"] or fields["License"] or ""
        licenses = [LicenseFactory().make_from_string(said)] if said and "\n" not in said else []
        yield Component(name=name, version=version, purl=purl, bom_ref=str(purl), licenses=licenses)
