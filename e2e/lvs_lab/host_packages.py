"""The Debian packages that the lab itself needs on this machine, installed in one explicit step."""

import os
import shutil
from pathlib import Path

from lvs_lab.artifacts import cache_root, locked
from lvs_lab.errors import HostError
from lvs_lab.host_commands import run
from lvs_lab.progress import run_logged, step

PACKAGES = (
    "bc", "bison", "buildah", "ca-certificates", "cpio", "curl", "dpkg-dev", "ethtool", "flex", "gcc", "iproute2",
    "iptables", "iputils-arping", "iputils-ping", "kmod", "libc6-dev", "libelf-dev", "libssl-dev", "make", "mmdebstrap",
    "openssl", "patch", "tcpdump", "util-linux", "xz-utils",
)  # fmt: skip
PROGRAMS = ("go",)


def missing(packages: tuple[str, ...] = PACKAGES) -> list[str]:
    """Which of the packages are not installed."""
    shown = run(["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *packages], check=False)
    present = {line.split()[0] for line in shown.stdout.splitlines() if line.endswith(" installed")}
    return [package for package in packages if package not in present]


def prepare() -> None:
    """Install what is missing; a second call finds nothing to do and takes no time."""
    if os.geteuid() != 0:
        raise HostError("the lab makes network namespaces and mounts: run it as root")
    if not Path("/dev/net/tun").exists():
        raise HostError("/dev/net/tun is missing: the guests' network cards are taps")
    for program in PROGRAMS:
        if shutil.which(program) is None:
            raise HostError(f"{program} is not installed, or not on PATH (the control plane is compiled with it)")
    wanted = missing()
    if not wanted:
        return
    log = cache_root() / "logs" / "host-packages.log"
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    with locked("host-packages"), step(f"apt: installing {len(wanted)} Debian packages", "under a minute"):
        run_logged(["apt-get", "--quiet", "update"], log, env=environment)
        install = ["apt-get", "--quiet", "--yes", "--no-install-recommends", "install"]
        run_logged([*install, *missing()], log, env=environment)
