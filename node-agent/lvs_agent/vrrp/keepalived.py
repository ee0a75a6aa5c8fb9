"""The program keepalived as a process: test a configuration, start, reload, stop, and find one that was left behind."""

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lvs_agent.errors import KeepalivedMissing, StateNotWritten

_PROGRAM: Final = "keepalived"
_TEST_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0
"""It tells its neighbours, takes the addresses away and ends, within about a second."""
_POLL_SECONDS: Final = 0.05
_WORDS: Final = 512


class Keepalived:
    """One keepalived with its files in a directory."""

    def __init__(self, directory: Path, command: Sequence[str] = (_PROGRAM,)) -> None:
        self._directory = directory
        self._command = tuple(command)
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """Of the one that runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def version(self) -> str:
        """As it says, such as `v2.3.3`. Raises KeepalivedMissing."""
        _, said = await self._run("--version")
        words = said.split()
        return words[1] if len(words) > 1 else ""

    async def test(self, text: str) -> str | None:
        """Why it does not take a configuration; None: it does. Raises KeepalivedMissing and StateNotWritten."""
        path = self._write("candidate.conf", text)
        code, said = await self._run("--config-test", "--vrrp", f"--use-file={path}")
        if code == 0:
            return None
        return " ".join(said.split())[:_WORDS] or f"keepalived --config-test ended with {code}"

    def place(self, text: str) -> None:
        """Put the configuration where it reads it. Raises StateNotWritten."""
        self._write("keepalived.conf", text)

    async def start(self) -> None:
        """Start it, in the foreground. Raises KeepalivedMissing."""
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                "--dont-fork",
                "--log-console",
                "--no-syslog",
                "--log-detail",
                "--vrrp",
                # With --vrrp alone there is a pid file for BFD in /run, too: another keepalived's, or not writable.
                "--no_bfd",
                # Whoever ends one of its two processes has both started anew by us, who know what is left on devices.
                "--dont-respawn",
                f"--use-file={self._directory / 'keepalived.conf'}",
                f"--pid={self._directory / 'keepalived.pid'}",
                f"--vrrp_pid={self._directory / 'keepalived_vrrp.pid'}",
                stdin=DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise _missing(error) from error

    def reload(self) -> None:
        """Have it read the configuration again."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGHUP)

    async def ended(self) -> int:
        """Wait for its end; its exit code."""
        if self._process is None:
            raise RuntimeError("keepalived was not started")
        return await self._process.wait()

    async def stop(self) -> bool:
        """Let it hand the addresses over and end; kill it where it does not. Whether it did."""
        process, self._process = self._process, None
        if process is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            self.kill_left()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        return process.returncode == 0

    async def end_left(self) -> bool:
        """End what a supervisor that was killed has left running; whether there was any."""
        left = self._left()
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self._left():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    while self._left():  # noqa: ASYNC110 (a process that is no child of ours sets no event)
                        await asyncio.sleep(_POLL_SECONDS)
        return bool(left)

    def kill_left(self) -> None:
        """Kill every process of it at once."""
        for pid in self._left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _left(self) -> list[int]:
        """Processes that work with our configuration. A pid file may name another program by now, so that is asked."""
        ours = f"--use-file={self._directory / 'keepalived.conf'}".encode()
        found = []
        for name in ("keepalived.pid", "keepalived_vrrp.pid"):
            try:
                pid = int((self._directory / name).read_text(encoding="ascii"))
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except (OSError, ValueError):
                continue
            if ours in words:
                found.append(pid)
        return found

    def _write(self, name: str, text: str) -> Path:
        path = self._directory / name
        new = self._directory / f".{name}"
        try:
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(text)
            new.replace(path)
        except OSError as error:
            raise StateNotWritten(f"{path}: {error.strerror or error}") from error
        return path

    async def _run(self, *arguments: str) -> tuple[int, str]:
        """Exit code and words of a run that ends by itself."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, *arguments, stdin=DEVNULL, stdout=PIPE, stderr=asyncio.subprocess.STDOUT
            )
        except OSError as error:
            raise _missing(error) from error
        try:
            async with asyncio.timeout(_TEST_SECONDS):
                said, _ = await process.communicate()
        except TimeoutError:
            return -1, f"keepalived {arguments[0]} did not end within {_TEST_SECONDS:.0f} s"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, said.decode(errors="replace")


def _missing(error: OSError) -> KeepalivedMissing:
    why = error.strerror or error
    return KeepalivedMissing(f"the program keepalived can not be run ({why}): install keepalived on this node")
