"""One agent per state directory: two would take each other's entries for their own, also in namespaces of their own.

The kernel frees the lock when the process ends, and nothing is written for it: a full or read-only disk has it too.
"""

import fcntl
import logging
import os
from pathlib import Path

from lvs_agent.errors import StateInUse

_log = logging.getLogger(__name__)


class StateLock:
    """Held for the life of the agent."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take it, or raise StateInUse. A directory that can not be made or opened is nobody's; its files will tell."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise StateInUse(
                f"another lvs-agent works with the state directory {self._directory}: stop it, or give this one "
                "another directory by --state-dir"
            ) from error
        except OSError as error:
            _log.warning("the state directory %s is not locked: %s", self._directory, error.strerror)

    def release(self) -> None:
        """Give it back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
