"""Container images for kubelet nodes: unpacked once on this machine, laid under every node's containerd."""

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

from lvs_lab.artifacts import PACKAGE, artifact, cache_root, digest
from lvs_lab.errors import LabError
from lvs_lab.progress import run_logged

PAUSE_IMAGE = "localhost/lvs-lab-pause:1"
_SOURCES = PACKAGE / "images"


def pause_image() -> Path:
    """A docker archive with the sandbox image, which holds one small static program."""

    def build(target: Path) -> None:
        log = cache_root() / "logs" / "pause.log"
        run_logged(["gcc", "-O2", "-static", "-s", "-o", str(target / "pause"), str(_SOURCES / "pause.c")], log)
        _write_archive(target / "pause.tar", PAUSE_IMAGE, target / "pause")

    return artifact("pause-image", digest(_SOURCES / "pause.c", PAUSE_IMAGE), build, title="pause image") / "pause.tar"


def _write_archive(tar: Path, name: str, program: Path) -> None:
    """A docker archive of one layer with one program, which is what the container runs."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as files:
        info = tarfile.TarInfo(program.name)
        data = program.read_bytes()
        info.size, info.mode = len(data), 0o755
        files.addfile(info, io.BytesIO(data))
    layer_id = hashlib.sha256(layer.getvalue()).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": [f"/{program.name}"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_id}"]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": [f"{layer_id}.tar"]}]).encode()
    with tarfile.open(tar, mode="w") as archive:
        for file_name, data in (
            (f"{layer_id}.tar", layer.getvalue()),
            (config_name, config),
            ("manifest.json", manifest),
        ):
            info = tarfile.TarInfo(file_name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def image_store(root: Path, archives: Sequence[Path]) -> Path:
    """A containerd directory with the pause image and these docker archives, for guests of that root."""
    absent = [str(archive) for archive in archives if not archive.is_file()]
    if absent:
        raise LabError(f"no such image archive: {', '.join(absent)}")
    everything = [pause_image(), *(archive.resolve() for archive in archives)]
    hashes = [file_hash(archive) for archive in everything]

    def build(target: Path) -> None:
        log = cache_root() / "logs" / "image-store.log"
        log.unlink(missing_ok=True)
        store = target / "containerd"
        store.mkdir()
        script = ["sh", str(_SOURCES / "import.sh"), str(root), str(store), *map(str, everything)]
        run_logged(["unshare", "--mount", "--pid", "--fork", "--net", *script], log)

    key = digest(root.parent.name, _SOURCES / "import.sh", *hashes)
    return artifact("image-store", key, build, title=f"unpacking {len(everything)} container images") / "containerd"


def file_hash(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
