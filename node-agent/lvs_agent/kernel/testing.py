"""A network namespace for tests: real links and sysctls without a guest."""

import ctypes
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")
_CLONE_NEWNET = 0x40000000


class NetworkNamespace:
    """A named network namespace, in which functions run on a thread of their own. Needs root."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create(self) -> None:
        """Make it, with lo up."""
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.ip("link", "set", "lo", "up")

    def delete(self) -> None:
        """Delete it, and with it every device inside."""
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def ip(self, *arguments: str) -> str:
        """Run the command ip in it and return what it printed."""
        done = subprocess.run(["ip", "-n", self.name, *arguments], check=True, capture_output=True, text=True)
        return done.stdout

    def run(self, function: Callable[[], Result]) -> Result:
        """Call the function in it and return what it returns, or raise what it raises."""
        result: Future[Result] = Future()

        def work() -> None:
            try:
                self._enter()
                result.set_result(function())
            except BaseException as error:  # noqa: BLE001 (handed on to the caller's thread)
                result.set_exception(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return result.result()

    def _enter(self) -> None:
        with Path(f"/run/netns/{self.name}").open(encoding="ascii") as handle:
            if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"entering {self.name}")
