"""The guests' kernel: Debian's kernel source, built for user-mode Linux with our options and our patch."""

import os
from dataclasses import dataclass
from pathlib import Path

from lvs_lab import debian_archive
from lvs_lab.artifacts import PACKAGE, artifact, cache_root, digest, remove_tree
from lvs_lab.errors import BuildError
from lvs_lab.progress import run_logged

SERIES = "7.2"
SUITE = "trixie-backports"
_OPTIONS = PACKAGE / "kernel" / "guest.config"
_PATCH = PACKAGE / "kernel" / "lost-wakeup.patch"
_RECIPE = "1"  # raise when the commands below change what comes out


@dataclass(frozen=True, kw_only=True, slots=True)
class GuestKernel:
    """A built kernel."""

    image: Path
    """The program that is the kernel."""
    modules: Path
    """A tree to lay over the guest's root: lib/modules/RELEASE."""
    release: str


def guest_kernel() -> GuestKernel:
    """The kernel, compiled first where the cache lacks it."""
    key = digest(SERIES, SUITE, _RECIPE, _OPTIONS, _PATCH)
    directory = artifact(
        "kernel", key, _build, title=f"guest kernel {SERIES}: compiling", expected="5 to 7 minutes on 2 cores"
    )
    return GuestKernel(
        image=directory / "linux", modules=directory / "modules", release=(directory / "release").read_text().strip()
    )


def _build(target: Path) -> None:
    log = cache_root() / "logs" / "kernel.log"
    log.unlink(missing_ok=True)
    package = debian_archive.download(f"linux-source-{SERIES}", SUITE, target, log)
    unpacked = target / "package"
    run_logged(["dpkg-deb", "--extract", str(package), str(unpacked)], log)
    tarball = unpacked / "usr" / "src" / f"linux-source-{SERIES}.tar.xz"
    run_logged(["tar", "--extract", f"--file={tarball}", f"--directory={target}"], log)
    source = target / f"linux-source-{SERIES}"
    run_logged(["patch", "--strip=1", "--forward", f"--input={_PATCH}"], log, cwd=source)
    make = ["make", "ARCH=um", f"--jobs={os.cpu_count() or 1}"]
    run_logged([*make, "defconfig"], log, cwd=source)
    run_logged(["scripts/kconfig/merge_config.sh", "-m", "-O", ".", ".config", str(_OPTIONS)], log, cwd=source)
    run_logged([*make, "olddefconfig"], log, cwd=source)
    _refuse_lost_options(source / ".config")
    run_logged([*make, "linux", "modules"], log, cwd=source)
    run_logged(
        [*make, f"INSTALL_MOD_PATH={target / 'modules'}", "INSTALL_MOD_STRIP=1", "modules_install"], log, cwd=source
    )
    run_logged(["strip", "-o", str(target / "linux"), "linux"], log, cwd=source)
    (release,) = (target / "modules" / "lib" / "modules").iterdir()
    for link in ("build", "source"):
        (release / link).unlink(missing_ok=True)
    (target / "release").write_text(release.name + "\n")
    for rest in (source, unpacked):
        remove_tree(rest)
    package.unlink()


def _refuse_lost_options(config: Path) -> None:
    """An option that the source no longer knows vanishes silently; name it instead."""
    have = set(config.read_text().splitlines())
    lost = [line for line in _OPTIONS.read_text().splitlines() if line.startswith("CONFIG_") and line not in have]
    if lost:
        raise BuildError(f"the kernel source does not take these options of {_OPTIONS.name}: {', '.join(lost)}")
