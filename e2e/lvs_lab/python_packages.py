"""What agents in plain guests run on: the locked dependencies for the guests' Python, beside the checkout itself."""

import re
import sys
from pathlib import Path

from lvs_lab.artifacts import CHECKOUT, artifact, cache_root, digest
from lvs_lab.guest_setup import Mount
from lvs_lab.progress import run_logged

GUEST_PYTHON = "3.13"
SOURCE_TARGET = "/opt/lvs/source"
PACKAGES_TARGET = "/opt/lvs/packages"
BYTECODE_TARGET = "/opt/lvs/bytecode"
_SOURCE_DIRECTORIES = ("crds", "core", "node-agent")
_BENCH_DIRECTORY = "bench"


def agent_packages() -> Path:
    """The node agent's dependencies, installed for the guests' Python by the hashed lock."""
    wanted = CHECKOUT / "requirements" / "node-agent.txt"

    def build(target: Path) -> None:
        log = cache_root() / "logs" / "agent-packages.log"
        log.unlink(missing_ok=True)
        uv = Path(sys.executable).with_name("uv")
        options = ["--python-version", GUEST_PYTHON, "--only-binary", ":all:", "--require-hashes", "--quiet"]
        run_logged(
            [str(uv), "pip", "install", *options, "--target", str(target / "packages"), "--requirement", str(wanted)],
            log,
        )

    text = re.sub(r"^\s*#.*\n", "", wanted.read_text(), flags=re.MULTILINE)
    return (
        artifact("agent-packages", digest(GUEST_PYTHON, text), build, title="agent's Python packages for the guests")
        / "packages"
    )


def agent_mounts() -> tuple[Mount, ...]:
    """What a guest must see so that the agent of this checkout runs there."""
    bytecode = cache_root() / "guest-bytecode"
    bytecode.mkdir(parents=True, exist_ok=True)
    return (
        *(
            Mount(source=CHECKOUT / part, target=f"{SOURCE_TARGET}/{part}")
            for part in (*_SOURCE_DIRECTORIES, _BENCH_DIRECTORY)
        ),
        Mount(source=agent_packages(), target=PACKAGES_TARGET),
        Mount(source=bytecode, target=BYTECODE_TARGET, writable=True),
    )


def agent_environment() -> dict[str, str]:
    """The environment that makes the guests' Python find all that."""
    places = [f"{SOURCE_TARGET}/{part}" for part in _SOURCE_DIRECTORIES]
    return {
        "PYTHONPATH": ":".join([*places, PACKAGES_TARGET]),
        "PYTHONPYCACHEPREFIX": BYTECODE_TARGET,
        "PYTHONUNBUFFERED": "1",
    }


def bench_environment() -> dict[str, str]:
    """The same with the measurements beside it."""
    environment = agent_environment()
    return environment | {"PYTHONPATH": f"{environment['PYTHONPATH']}:{SOURCE_TARGET}"}
