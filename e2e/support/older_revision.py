"""An older revision of this repository: its files beside the checkout, its images built by its own code."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lvs_lab.artifacts import CHECKOUT
from lvs_lab.host_commands import run
from lvs_lab.image_build import Images, build_images
from lvs_lab.other_checkout import images_of
from support.upgrade_option import GIT


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """What a release consists of."""

    name: str
    checkout: Path
    images: Images

    @property
    def chart(self) -> str:
        """The chart's directory, as Helm takes it."""
        return str(self.checkout / "charts" / "lvs-operator")

    @property
    def quick_start(self) -> Path:
        """The manifest of its quick start."""
        return self.checkout / "examples" / "quick-start" / "web.yaml"


def present_version() -> Version:
    """That of the checkout. Raises LabError."""
    return Version(name="the checkout", checkout=CHECKOUT, images=build_images())


@contextmanager
def older_version(revision: str) -> Iterator[Version]:
    """That of a revision, for as long as the context lasts; its images stay in the cache. Raises LabError."""
    commit = run([*GIT, "rev-parse", "--short", f"{revision}^{{commit}}"]).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="lvs-older-") as temporary:
        checkout, packed = Path(temporary) / "checkout", Path(temporary) / "checkout.tar"
        checkout.mkdir()
        run([*GIT, "archive", f"--output={packed}", commit])
        run(["tar", "--extract", f"--file={packed}", f"--directory={checkout}"])
        name = revision if revision.startswith(commit) else f"{revision} ({commit})"
        yield Version(name=name, checkout=checkout, images=images_of(checkout))
