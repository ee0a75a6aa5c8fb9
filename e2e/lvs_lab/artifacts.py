"""The cache of what the lab builds: one directory per artifact, named by the hash of all it was built from."""

import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lvs_lab.errors import LabError
from lvs_lab.progress import step

PACKAGE = Path(__file__).parent
CHECKOUT = PACKAGE.parent.parent


def cache_root() -> Path:
    """Where artifacts are kept: `$LVS_LAB_CACHE`, or a directory of the user, never the checkout."""
    configured = os.environ.get("LVS_LAB_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "lvs-lab"


def digest(*parts: str | bytes | Path) -> str:
    """The short hash of texts and of files and directories with their names, in the order given."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for file in (
                [part]
                if part.is_file()
                else sorted(p for p in part.rglob("*") if p.is_file() and p.parent.name != "__pycache__")
            ):
                total.update(f"{file.relative_to(part.parent)}\0".encode())
                total.update(hashlib.sha256(file.read_bytes()).digest())
        else:
            data = part.encode() if isinstance(part, str) else part
            total.update(hashlib.sha256(data).digest())
    return total.hexdigest()[:16]


@contextmanager
def locked(name: str, *, busy: str | None = None) -> Iterator[None]:
    """Hold a lock among all labs and builds of this cache; it ends with the process, however that ends.

    With `busy`, one that another process holds is a LabError that says so; else it is waited for.
    """
    path = cache_root() / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError as error:
            raise LabError(busy) from error
        yield


def artifact(kind: str, key: str, build: Callable[[Path], None], *, title: str, expected: str = "") -> Path:
    """The directory of an artifact, built first where it is missing.

    A build fills a temporary directory that is renamed when it is whole, so an interrupted one leaves nothing that
    could be taken for an artifact; the next build of that key removes its remains.
    """
    final = cache_root() / kind / key
    if final.is_dir():
        os.utime(final)
        return final
    with locked(f"{kind}-{key}"):
        if final.is_dir():
            return final
        partial = final.with_name(f".{key}.partial")
        remove_tree(partial)
        partial.mkdir(parents=True)
        with step(title, expected):
            build(partial)
        partial.rename(final)
    return final


def remove_tree(path: Path) -> None:
    """Remove a directory and all below it; a missing one is fine."""
    if path.exists():
        shutil.rmtree(path)


def forget_unused(older_than_days: float) -> list[Path]:
    """Remove artifacts that nobody asked for in so many days, and what interrupted builds left; return what went."""
    limit = time.time() - older_than_days * 86400
    gone = []
    for lock in (cache_root() / "locks").glob("*.lock"):
        if lock.stat().st_mtime < limit:  # its time is that of the last who asked for it
            lock.unlink()
    for entry in cache_root().glob("*/*"):
        if re.fullmatch(r"[0-9a-f]{16}|\.[0-9a-f]{16}\.partial", entry.name) and entry.stat().st_mtime < limit:
            remove_tree(entry)
            gone.append(entry)
    return gone
