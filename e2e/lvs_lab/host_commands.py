"""Run programs on this machine, in a network namespace where asked."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lvs_lab.errors import CommandError, HostError

NETNS_DIRECTORY = Path("/run/netns")


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether it ended with 0."""
        return self.returncode == 0


def in_namespace(netns: str | None, argv: Sequence[str]) -> list[str]:
    """The command line that runs a command in a named network namespace (and nothing else of it: mounts stay ours)."""
    return list(argv) if netns is None else ["nsenter", f"--net={NETNS_DIRECTORY / netns}", "--", *argv]


def run(
    argv: Sequence[str],
    *,
    netns: str | None = None,
    stdin: str | None = None,
    check: bool = True,
    timeout: float = 120,
    env: Mapping[str, str] | None = None,
) -> Completed:
    """Run a command to its end; with `check`, anything but 0 raises `CommandError` with what it wrote."""
    try:
        done = subprocess.run(
            in_namespace(netns, argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
            env=None if env is None else dict(env),
        )
    except FileNotFoundError as error:
        raise HostError(f"{error.filename} is not installed; `lvs-lab prepare` installs what the lab needs") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{' '.join(argv)} did not end within {timeout:g} s", returncode=124, stderr="") from error
    if check and done.returncode != 0:
        what = (done.stderr or done.stdout).strip()
        raise CommandError(
            f"{' '.join(argv)} ended with {done.returncode}: {what}", returncode=done.returncode, stderr=done.stderr
        )
    return Completed(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)
