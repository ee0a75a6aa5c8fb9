"""The program that makes connections at a fixed rate, and answers them (load/main.go), for this machine and guests."""

import os
from pathlib import Path

from lvs_lab.artifacts import PACKAGE, artifact, cache_root, digest
from lvs_lab.progress import run_logged

_SOURCE = PACKAGE / "load"


def load_program() -> Path:
    """The compiled program."""

    def build(target: Path) -> None:
        environment = dict(os.environ, CGO_ENABLED="0", GOTOOLCHAIN="local", GOFLAGS="-trimpath")
        log = cache_root() / "logs" / "lab-load.log"
        log.unlink(missing_ok=True)
        run_logged(
            ["go", "build", "-ldflags=-s -w", "-o", str(target / "lab-load"), "."], log, cwd=_SOURCE, env=environment
        )

    return artifact("lab-load", digest(_SOURCE), build, title="load generator: compiling", expected="10 s") / "lab-load"
