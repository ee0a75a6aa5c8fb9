"""Two images held against each other: each thing that may differ is named, and nothing where nothing does."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lvs_lab.errors import LabError
from lvs_lab.image_differences import differences, read_contents

Entry = tuple[tarfile.TarInfo, bytes]


def file(name: str, content: bytes = b"content", **fields: Any) -> Entry:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def packed(entries: Sequence[Entry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def image(path: Path, *layers: Sequence[Entry], mtime: int = 0, **config: Any) -> Path:
    written = [packed(layer) for layer in layers]
    manifest = [{"Config": "config.json", "Layers": [f"{number}.tar" for number in range(len(written))]}]
    files = {"manifest.json": json.dumps(manifest).encode(), "config.json": json.dumps(config).encode()}
    files |= {f"{number}.tar": data for number, data in enumerate(written)}
    path.write_bytes(packed([file(name, data, mtime=mtime) for name, data in files.items()]))
    return path


@pytest.fixture
def compared(tmp_path: Path) -> Callable[[Sequence[Entry], Sequence[Entry]], list[str]]:
    def compare(one: Sequence[Entry], other: Sequence[Entry]) -> list[str]:
        same = [file("etc/same")]
        return differences(image(tmp_path / "one", same, one), image(tmp_path / "other", same, other))

    return compare


def test_the_same_image_has_no_differences(tmp_path: Path) -> None:
    one, other = (image(tmp_path / name, [file("a"), file("b")], created="then") for name in ("one", "other"))
    assert differences(one, other) == []


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ([file("a", b"x")], [file("a", b"y")], "layer 2: a: content "),
        ([file("a", mtime=1)], [file("a", mtime=2)], "layer 2: a: time 1 and 2"),
        ([file("a", mode=0o644)], [file("a", mode=0o600)], "layer 2: a: mode 0o644 and 0o600"),
        ([file("a")], [file("a", uid=7)], "layer 2: a: owner (0, 0, '', '') and (7, 0, '', '')"),
        ([file("a")], [file("a"), file("b")], "layer 2: b: only in the second"),
        ([file("a"), file("b")], [file("b")], "layer 2: a: only in the first"),
        ([file("a"), file("b")], [file("b"), file("a")], "layer 2: the order of its entries"),
    ],
)
def test_a_file_that_differs_is_named(
    compared: Callable[[Sequence[Entry], Sequence[Entry]], list[str]],
    one: Sequence[Entry],
    other: Sequence[Entry],
    said: str,
) -> None:
    (found,) = compared(one, other)
    assert found.startswith(said)


def test_fields_of_the_configuration_are_named(tmp_path: Path) -> None:
    one = image(tmp_path / "one", [], created="now", config={"Env": ["A=1", "B=2"]})
    other = image(tmp_path / "other", [], created="later", config={"Env": ["A=1", "B=3"], "User": "0"})
    assert differences(one, other) == [
        "configuration.config.Env[1]: 'B=2' and 'B=3'",
        "configuration.config.User: None and '0'",
        "configuration.created: 'now' and 'later'",
    ]


def test_another_number_of_layers_and_the_archive_itself_are_named(tmp_path: Path) -> None:
    one = image(tmp_path / "one", [])
    assert differences(one, image(tmp_path / "two", [], [])) == ["layers: 1 and 2"]
    assert differences(one, image(tmp_path / "later", [], mtime=9)) == ["the archives around the same image"]


def test_an_image_is_named_by_the_hash_of_its_configuration_and_its_layers_by_their_own(tmp_path: Path) -> None:
    contents = read_contents(image(tmp_path / "one", [file("a")], created="now"))
    assert contents.image_id == "sha256:" + hashlib.sha256(json.dumps({"created": "now"}).encode()).hexdigest()
    assert contents.layers == (f"sha256:{hashlib.sha256(packed([file('a')])).hexdigest()}",)


def test_what_is_no_image_says_so(tmp_path: Path) -> None:
    (tmp_path / "some.tar").write_bytes(packed([file("a")]))
    with pytest.raises(LabError, match=r"some\.tar.*no image archive"):
        differences(tmp_path / "some.tar", tmp_path / "some.tar")
