"""Files in the agent's state directory: whole or not at all, readable by the owner only, with a checksum."""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from lvs_agent.errors import StateFileDamaged, StateNotWritten


def write_state(path: Path, format_version: int, body: dict[str, Any]) -> None:
    """Replace the file by one with this content; after a power cut there is the old one or the new one.

    Raises StateNotWritten; the old file is in place then, unless the error says that the new one is.
    """
    write_state_text(path, format_version, json.dumps(body, separators=(",", ":"), sort_keys=True))


def write_state_text(path: Path, format_version: int, text: str) -> None:
    """The same with a content that is JSON already."""
    try:
        _replace(path, f"{format_version} {_digest(text)}\n{text}\n")
    except OSError as error:
        raise StateNotWritten(f"{path}: {_why(error)}") from error
    try:
        _sync_directory(path.parent)
    except OSError as error:
        raise StateNotWritten(f"{path.parent}: {_why(error)}", is_in_place=True) from error


def _replace(path: Path, content: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # made with mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_state(path: Path, format_version: int) -> dict[str, Any] | None:
    """The content of the file; None when there is none. Raises StateFileDamaged where it is not what was written."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateFileDamaged(f"{path}: {_why(error)}") from error
    except UnicodeDecodeError as error:
        raise StateFileDamaged(f"{path}: it is not text") from error
    head, _, rest = text.partition("\n")
    body_text = rest.removesuffix("\n")
    found_format, _, digest = head.partition(" ")
    if digest != _digest(body_text):
        raise StateFileDamaged(f"{path}: its checksum is wrong")
    if found_format != str(format_version):
        raise StateFileDamaged(
            f"{path}: another version of the agent wrote it, in format {found_format}; this one reads {format_version}"
        )
    body: dict[str, Any] = json.loads(body_text)
    return body


def set_aside(path: Path, aside: Path) -> None:
    """Give a damaged file another name, for a person to look at, unless somebody took it away.

    Raises StateNotWritten.
    """
    try:
        path.replace(aside)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StateNotWritten(f"{path} can not be renamed to {aside.name}: {_why(error)}") from error


def _why(error: OSError) -> str:
    return error.strerror or str(error)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
