"""Where two images differ: their configurations field by field, their layers file by file, each by name."""

import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lvs_lab.errors import LabError
from lvs_lab.images import file_hash

Json = Any  # a JSON value


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageContents:
    """A docker archive, read."""

    config: Json
    """The image's configuration; its hash is the image's id."""
    image_id: str
    layers: tuple[str, ...]
    """The SHA-256 of each layer, uncompressed."""


def read_contents(archive: Path) -> ImageContents:
    """What a docker archive says of itself, with the layers' hashes counted anew. Raises LabError."""
    with tarfile.open(archive) as image:
        (manifest,) = json.load(_opened(image, "manifest.json"))
        config = _opened(image, manifest["Config"]).read()
        layers = tuple(
            f"sha256:{hashlib.file_digest(_opened(image, name), 'sha256').hexdigest()}"  # type: ignore[arg-type]  # typeshed asks for readinto, which IO[bytes] does not promise
            for name in manifest["Layers"]
        )
    return ImageContents(
        config=json.loads(config), image_id=f"sha256:{hashlib.sha256(config).hexdigest()}", layers=layers
    )


def differences(first: Path, second: Path) -> list[str]:
    """What differs between two docker archives; none where they are the same, bit for bit. Raises LabError."""
    one, other = read_contents(first), read_contents(second)
    found = list(_of_values("configuration", one.config, other.config))
    if len(one.layers) != len(other.layers):
        return [*found, f"layers: {len(one.layers)} and {len(other.layers)}"]
    for number, (here, there) in enumerate(zip(one.layers, other.layers, strict=True)):
        if here != there:
            found += _of_layers(f"layer {number + 1}", read_layer(first, number), read_layer(second, number))
    if not found and file_hash(first) != file_hash(second):
        found.append("the archives around the same image")
    return found


def _of_values(place: str, one: Json, other: Json) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from _of_values(f"{place}.{key}", one.get(key), other.get(key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (here, there) in enumerate(zip(one, other, strict=True)):
            yield from _of_values(f"{place}[{number}]", here, there)
    elif one != other:
        yield f"{place}: {one!r} and {other!r}"


def read_layer(archive: Path, number: int) -> dict[str, dict[str, object]]:
    """What is in a layer, the first of which is 0: of each entry by its path what tar keeps, and its content's SHA-256.

    Raises LabError.
    """
    entries: dict[str, dict[str, object]] = {}
    with tarfile.open(archive) as image:
        (manifest,) = json.load(_opened(image, "manifest.json"))
        with tarfile.open(fileobj=_opened(image, manifest["Layers"][number])) as layer:
            for member in layer:
                content = hashlib.file_digest(_opened(layer, member), "sha256") if member.isreg() else None  # type: ignore[arg-type]  # typeshed asks for readinto, which IO[bytes] does not promise
                entries[member.name] = {
                    "type": member.type,
                    "mode": oct(member.mode),
                    "owner": (member.uid, member.gid, member.uname, member.gname),
                    "time": member.mtime,
                    "link": member.linkname,
                    "device": (member.devmajor, member.devminor),
                    "attributes": member.pax_headers,
                    "size": member.size,
                    "content": content.hexdigest() if content else "",
                }
    return entries


def _of_layers(
    place: str, one: Mapping[str, Mapping[str, object]], other: Mapping[str, Mapping[str, object]]
) -> list[str]:
    found = []
    for path in sorted(one.keys() | other.keys()):
        if path not in one or path not in other:
            found.append(f"{place}: {path}: only in the {'first' if path in one else 'second'}")
            continue
        fields = [
            f"{field} {value} and {other[path][field]}"
            for field, value in one[path].items()
            if value != other[path][field]
        ]
        found += [f"{place}: {path}: {', '.join(fields)}"] if fields else []
    if not found:
        found.append(f"{place}: " + ("the order of its entries" if list(one) != list(other) else "how tar wrote it"))
    return found


def _opened(archive: tarfile.TarFile, name: str | tarfile.TarInfo) -> IO[bytes]:
    try:
        file = archive.extractfile(name)
    except KeyError as error:
        raise LabError(f"{archive.name!r}: no image archive: {error}") from error
    if file is None:
        raise LabError(f"{name!r} in {archive.name!r} is no file")
    return file
