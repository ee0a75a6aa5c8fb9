"""Tell a person what a long step is doing: one line, its elapsed time, and a log file for the rest."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lvs_lab.errors import BuildError

_TELL_EVERY_SECONDS = 30.0
_LOG_TAIL_LINES = 25


@contextmanager
def step(title: str, expected: str = "") -> Iterator[None]:
    """Show a step with its elapsed time: a line that counts on a terminal, a line now and then in a log."""
    terminal = sys.stderr.isatty()
    start = time.monotonic()
    done = threading.Event()
    hint = f" (usually {expected})" if expected else ""

    def tell() -> None:
        while not done.wait(1.0 if terminal else _TELL_EVERY_SECONDS):
            elapsed = time.monotonic() - start
            print(f"\r  {title}: {elapsed:.0f} s{hint} " if terminal else f"  {title}: {elapsed:.0f} s{hint}",
                  end="" if terminal else "\n", file=sys.stderr, flush=True)  # fmt: skip

    if not terminal:
        print(f"  {title} ...{hint}", file=sys.stderr, flush=True)
    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    outcome = "stopped"
    try:
        yield
        outcome = "done"
    finally:
        done.set()
        teller.join()
        clear = "\r\033[K" if terminal else ""
        print(f"{clear}  {title}: {outcome} in {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)


def run_logged(
    argv: Sequence[str], log: Path, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> None:
    """Run one command of a build with its output in a log; the end of the log is part of the error."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        output.write(f"$ {' '.join(argv)}\n".encode())
        output.flush()
        code = subprocess.call(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env=None if env is None else dict(env),
        )
    if code != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
        raise BuildError(f"{argv[0]} ended with {code}; the end of its log:\n{tail}")
