"""`make images-twice`: both images built twice from nothing, and whatever differs between the two named.

The second build takes as much else as it can: a copy of the files at another place with other modes and times, another
name of the machine, another time zone and language.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lvs_lab import host_packages
from lvs_lab.artifacts import CHECKOUT, PACKAGE
from lvs_lab.host_commands import run
from lvs_lab.image_build import CONTEXT, Images
from lvs_lab.image_differences import differences, read_contents
from lvs_lab.other_checkout import images_of

_ELSEWHERE: Final = {"TZ": "Pacific/Kiritimati", "LC_ALL": "C.UTF-8"}
_OTHER_NAME: Final = ["unshare", "--uts", "sh", "-c", 'hostname another-machine && exec "$@"', "sh"]
_OTHER_TIME: Final = 1_000_000_000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoBuilds:
    """Two builds of the same files."""

    first: Images
    second: Images

    def differences(self) -> list[str]:
        """What differs, image by image; none where they are the same, bit for bit."""
        pairs = {
            "operator": (self.first.operator, self.second.operator),
            "node agent": (self.first.node_agent, self.second.node_agent),
        }
        found = []
        for which, (one, other) in pairs.items():
            found += [f"{which}: {difference}" for difference in differences(one.archive, other.archive)]
            if one.sbom.read_bytes() != other.sbom.read_bytes():
                found.append(f"{which}: the lists of contents")
        return found

    def describe(self) -> str:
        """What was built: id and layers of each image of the first build."""
        lines = []
        for image in (self.first.operator, self.first.node_agent):
            contents = read_contents(image.archive)
            lines.append(f"{image.reference}  {image.megabytes:.1f} MB unpacked  {contents.image_id}")
            lines += [f"  layer {number} {layer}" for number, layer in enumerate(contents.layers, start=1)]
        return "\n".join(lines)


@contextmanager
def built_twice() -> Iterator[TwoBuilds]:
    """Both builds, each in a cache of its own, for as long as the context lasts. Raises LabError."""
    with tempfile.TemporaryDirectory(prefix="lvs-lab-twice-", dir="/var/tmp") as temporary:
        caches = [Path(temporary) / name for name in ("first", "second")]
        try:
            copy = _copy_of_the_files(Path(temporary) / "elsewhere" / "checkout")
            first = images_of(CHECKOUT, environment={"LVS_LAB_CACHE": str(caches[0])})
            elsewhere = {**_ELSEWHERE, "LVS_LAB_CACHE": str(caches[1])}
            second = images_of(copy, environment=elsewhere, prefix=_OTHER_NAME)
            yield TwoBuilds(first=first, second=second)
        finally:
            for cache in caches:  # buildah leaves its store mounted
                run(["umount", "--recursive", str(cache / "buildah" / "store" / "overlay")], check=False)


def _copy_of_the_files(target: Path) -> Path:
    """What images are built from and by, as somebody with another umask has it."""
    for entry in [*CONTEXT, str(PACKAGE.relative_to(CHECKOUT))]:
        source, copy = CHECKOUT / entry, target / entry
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, copy_function=_copied_as_another)
        else:
            _copied_as_another(source, copy)
    return target


def _copied_as_another(source: str | Path, target: str | Path) -> None:
    shutil.copyfile(source, target)
    executable = Path(source).stat().st_mode & 0o100
    Path(target).chmod(0o700 if executable else 0o600)
    os.utime(target, (_OTHER_TIME, _OTHER_TIME))


def main() -> int:
    """Say what was built and what differs: 1 where something does."""
    host_packages.prepare()
    with built_twice() as builds:
        found = builds.differences()
        print(builds.describe())
    print("\n".join(found) if found else "built twice: the same, bit for bit")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
