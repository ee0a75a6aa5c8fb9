"""Our two images, built from the Dockerfile by buildah, without docker and without pulling anything.

From the same packages and files they come out the same, bit for bit: `lvs_lab.image_twice` tries it. The base image
that the Dockerfile names is made here by mmdebstrap from the machine's own Debian archive. How this machine reaches the
Python index (certificates, pip's settings) is passed into the build from outside, by mounts.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lvs_lab import host_packages
from lvs_lab.artifacts import CHECKOUT, artifact, cache_root, digest, locked
from lvs_lab.debian_archive import own_archive
from lvs_lab.host_commands import run
from lvs_lab.progress import run_logged
from lvs_lab.sbom import write_sbom

SUITE = "trixie"
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
_OF_THIS_MACHINE = ("etc/hostname", "etc/resolv.conf", "etc/machine-id", "var/lib/dbus/machine-id")
"""What mmdebstrap copies from here or makes up; containers get theirs from who runs them."""
CONTEXT = (  # what the images are built from
    "Dockerfile",
    ".dockerignore",
    "requirements",
    "packaging",
    "pyproject.toml",
    "crds/lvs_api",
    "core/lvs_core",
    "operator/lvs_operator",
    "node-agent/lvs_agent",
)
_OTHERS = {
    "operator": ("node-agent/lvs_agent", "requirements/node-agent.txt"),
    "node-agent": ("operator/lvs_operator", "requirements/operator.txt"),
}
_OPTIONS = ("--isolation=chroot", "--layers", "--pull-never", "--format=oci", "--identity-label=false")
"""The last two for images that are the same each time: docker's format names the container that it was made in, the
label buildah's version. (Without a history nothing would be found in the cache of layers.)"""
_REPOSITORIES = {"operator": "localhost/lvs-operator", "node-agent": "localhost/lvs-node-agent"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """One built image."""

    repository: str
    """Its name without the tag."""
    tag: str
    """The hash of what it was built from."""
    archive: Path
    """The image as a docker archive, to be imported into a container runtime."""

    @property
    def sbom(self) -> Path:
        """What is in it, as a CycloneDX document; written where it is missing. Raises LabError."""
        path = self.archive.with_name("sbom.cdx.json")
        if not path.exists():
            whole = path.with_suffix(".partial")
            write_sbom(self.archive, whole)
            whole.rename(path)
        return path

    @property
    def megabytes(self) -> float:
        """Its size, unpacked."""
        return self.archive.stat().st_size / 1e6

    def __str__(self) -> str:
        return f"{self.reference}  {self.megabytes:.0f} MB unpacked  {self.archive}  contents: {self.sbom}"

    @property
    def reference(self) -> str:
        """Name and tag, as a pod names it."""
        return f"{self.repository}:{self.tag}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """What the chart installs."""

    operator: Image
    node_agent: Image

    @property
    def archives(self) -> tuple[Path, Path]:
        """Both archives, for `Lab.up`."""
        return (self.node_agent.archive, self.operator.archive)

    def chart_values(self) -> list[str]:
        """Helm's options that make the chart use these images."""
        return [
            f"--set=operator.image.repository={self.operator.repository},operator.image.tag={self.operator.tag}",
            f"--set=nodeAgent.image.repository={self.node_agent.repository},nodeAgent.image.tag={self.node_agent.tag}",
        ]


def build_images() -> Images:
    """Both images of this checkout; built only where something that is in them has changed."""
    base = _base()
    operator, node_agent = (digest(base.parent.name, *_OPTIONS, *_sources(target)) for target in _REPOSITORIES)
    return Images(operator=_image("operator", operator, base), node_agent=_image("node-agent", node_agent, base))


def _image(target: str, key: str, base: Path) -> Image:
    repository = _REPOSITORIES[target]

    def build(directory: Path) -> None:
        log = cache_root() / "logs" / f"image-{target}.log"
        log.unlink(missing_ok=True)
        name = f"{repository}:{key}"
        with locked("buildah"), _pip_mounts() as mounts:
            options = [*_OPTIONS, *mounts, f"--build-arg=BASE={_provide_base(base)}", f"--timestamp={source_date()}"]
            run_logged([*_buildah("build"), *options, f"--target={target}", f"--tag={name}", str(CHECKOUT)], log)
            run_logged([*_buildah("push"), name, f"docker-archive:{directory / 'image.tar'}:{name}"], log)

    expected = "a minute cold, 20 s after a change of code"
    built = artifact(f"image-{target}", key, build, title=f"image {target}: building", expected=expected)
    return Image(repository=repository, tag=key, archive=built / "image.tar")


def _sources(target: str) -> Iterator[str | Path]:
    """Names and files that go into an image."""
    for entry in CONTEXT:
        path = CHECKOUT / entry
        for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
            name = str(file.relative_to(CHECKOUT))
            if "__pycache__" not in file.parts and not name.startswith(_OTHERS[target]):
                yield name
                yield file


def _buildah(verb: str) -> list[str]:
    store = cache_root() / "buildah"
    return ["buildah", f"--root={store}/store", f"--runroot={store}/run", "--storage-driver=overlay", verb]


def _base() -> Path:
    """The file system of the base image, as a tar file."""

    def build(target: Path) -> None:
        archive = own_archive()
        prefix = f"deb [signed-by={archive.keyring}] {archive.uri}"
        sources = [f"{prefix} {suite} main" for suite in (SUITE, f"{SUITE}-updates")]
        excluded = [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
        recommends = '--aptopt=Apt::Install-Recommends "false"'
        bare = '--customize-hook=cd "$1" && rm -f ' + " ".join(_OF_THIS_MACHINE)
        tar = str(target / "root.tar")
        command = ["mmdebstrap", "--variant=minbase", recommends, *excluded, bare, SUITE, tar, *sources]
        environment = dict(os.environ, SOURCE_DATE_EPOCH=str(date))
        run_logged(command, cache_root() / "logs" / "image-base.log", env=environment)

    date = source_date()
    title, key = f"image base: Debian {SUITE}", digest(SUITE, *_LEFT_OUT, *_OF_THIS_MACHINE, str(date))
    return artifact("image-base", key, build, title=title, expected="half a minute") / "root.tar"


def source_date() -> int:
    """The time of everything that a build makes, in seconds since 1970, as the Dockerfile has it."""
    (found,) = re.findall(r"^ARG SOURCE_DATE_EPOCH=(\d+)$", (CHECKOUT / "Dockerfile").read_text(), re.MULTILINE)
    return int(found)


def _provide_base(tar: Path) -> str:
    """Put the base image into buildah's store, if it is not there; its name there."""
    name = f"localhost/lvs-lab-base:{tar.parent.name}"
    if run([*_buildah("inspect"), "--type=image", name], check=False).ok:
        return name
    container = run([*_buildah("from"), "scratch"]).stdout.strip()
    try:
        run([*_buildah("add"), container, str(tar), "/"], timeout=300)
        run([*_buildah("config"), "--cmd=bash", container])
        commit = ["--identity-label=false", f"--timestamp={source_date()}", container, name]
        run([*_buildah("commit"), *commit], timeout=300)
    finally:
        run([*_buildah("rm"), container])
    return name


@contextmanager
def _pip_mounts() -> Iterator[list[str]]:
    """Options that let pip, inside the build, use the settings and certificates that pip has on this machine."""
    settings = _pip_settings()
    paths = sorted(value for value in set(settings.values()) if value.startswith("/") and Path(value).exists())
    inside = {path: f"/run/build-host/{number}" for number, path in enumerate(paths)}
    lines = [f"{name} = {inside.get(value, value)}\n" for name, value in settings.items()]
    with tempfile.TemporaryDirectory(prefix="lvs-lab-image-") as temporary:
        configuration = Path(temporary) / "pip.conf"
        configuration.write_text("".join(["[global]\n", *lines]))
        mounts = {str(configuration): "/etc/pip.conf", **inside}
        yield [f"--volume={outside}:{place}:ro" for outside, place in mounts.items()]


def _pip_settings() -> dict[str, str]:
    """What pip goes by on this machine, from its files and its environment, which wins."""
    listed = run([sys.executable, "-m", "pip", "config", "list"]).stdout
    entries = re.findall(r"^(global|:env:)\.([a-z-]+)='(.*)'$", listed, re.MULTILINE)
    return {name: value for origin in ("global", ":env:") for found, name, value in entries if found == origin}


def main() -> None:
    """`make images`: build what is missing, and say what there is, with a list of what is in it."""
    host_packages.prepare()
    images = build_images()
    print(images.operator, images.node_agent, sep="\n")


if __name__ == "__main__":
    main()
