"""The guests' root file system: Debian 13 by mmdebstrap, with our kernel modules, init and exec server laid over it."""

import os
import shutil
from pathlib import Path

from lvs_lab.artifacts import PACKAGE, artifact, cache_root, digest
from lvs_lab.debian_archive import own_archive
from lvs_lab.host_commands import run
from lvs_lab.kernel_build import GuestKernel
from lvs_lab.progress import run_logged

SUITE = "trixie"
PACKAGES = (
    "bash", "ca-certificates", "conntrack", "containerd", "containernetworking-plugins", "curl", "dbus-daemon",
    "ethtool", "iperf3", "iproute2", "ipset", "iptables", "iputils-arping", "iputils-ping", "ipvsadm", "keepalived",
    "kmod", "less", "mount", "ndisc6", "netcat-openbsd", "network-manager", "nftables", "openssl", "procps",
    "python3", "runc", "socat", "systemd", "tcpdump", "util-linux", "vsftpd",
)  # fmt: skip
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
_GUEST_FILES = PACKAGE / "guest"
_EXEC_SOURCE = PACKAGE / "guest_exec"


def guest_root(kernel: GuestKernel) -> Path:
    """The directory that guests of this kernel mount read-only as their root."""
    base, server = _base(), _exec_server()
    key = digest(base.name, server.name, kernel.modules.parent.name, _GUEST_FILES)

    def assemble(target: Path) -> None:
        run(["cp", "--archive", "--link", f"{base}/root/.", str(target / "root")], timeout=300)
        root = target / "root"
        shutil.copytree(kernel.modules / "lib" / "modules", root / "usr" / "lib" / "modules", dirs_exist_ok=True)
        lab = root / "lab"
        (lab / "node").mkdir(parents=True)
        shutil.copy2(server / "guest-exec", lab / "guest-exec")
        for file in _GUEST_FILES.iterdir():
            if file.is_file():
                shutil.copy(file, lab / file.name)
                (lab / file.name).chmod(0o755)

    return artifact("guest-root", key, assemble, title="guest root: laying modules and init over Debian") / "root"


def _base() -> Path:
    def build(target: Path) -> None:
        log = cache_root() / "logs" / "root-fs.log"
        log.unlink(missing_ok=True)
        archive = own_archive()
        run_logged(
            [
                "mmdebstrap",
                "--variant=minbase",
                f"--include={','.join(PACKAGES)}",
                '--aptopt=Apt::Install-Recommends "false"',
                *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
                SUITE,
                str(target / "root"),
                f"deb [signed-by={archive.keyring}] {archive.uri} {SUITE} main",
            ],
            log,
        )

    return artifact(
        "debian",
        digest(SUITE, *PACKAGES, *_LEFT_OUT),
        build,
        title=f"guest root: Debian {SUITE}",
        expected="half a minute",
    )


def _exec_server() -> Path:
    def build(target: Path) -> None:
        environment = dict(os.environ, CGO_ENABLED="0", GOTOOLCHAIN="local", GOFLAGS="-trimpath")
        log = cache_root() / "logs" / "guest-exec.log"
        log.unlink(missing_ok=True)
        command = ["go", "build", "-ldflags=-s -w", "-o", str(target / "guest-exec"), "."]
        run_logged(command, log, cwd=_EXEC_SOURCE, env=environment)

    return artifact("guest-exec", digest(_EXEC_SOURCE), build, title="guest exec server: compiling", expected="10 s")
