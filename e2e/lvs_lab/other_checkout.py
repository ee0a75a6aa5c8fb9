"""The images of another checkout, built by its own code in the Python environment of this one."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from lvs_lab.host_commands import run
from lvs_lab.image_build import Image, Images
from lvs_lab.progress import step

_BUILD_SECONDS: Final = 3600.0
# build_images() and the names of an image's parts have been there from the first revision on.
_BUILD: Final = """
import json
from lvs_lab.image_build import build_images
images = build_images()
found = {which: getattr(images, which) for which in ("operator", "node_agent")}
print(json.dumps({which: [one.repository, one.tag, str(one.archive)] for which, one in found.items()}))
"""


def images_of(checkout: Path, *, environment: Mapping[str, str] | None = None, prefix: Sequence[str] = ()) -> Images:
    """Both images of a checkout, with `environment` beside this process's, by a command that `prefix` begins.

    Raises LabError with what its build said.
    """
    whole = {**os.environ, "PYTHONPATH": str(checkout / "e2e"), **(environment or {})}
    with step(f"images of {checkout}", "some minutes"):
        done = run([*prefix, sys.executable, "-P", "-c", _BUILD], env=whole, timeout=_BUILD_SECONDS)
    found = json.loads(done.stdout.splitlines()[-1])
    operator, node_agent = (
        Image(repository=repository, tag=tag, archive=Path(archive))
        for repository, tag, archive in (found["operator"], found["node_agent"])
    )
    return Images(operator=operator, node_agent=node_agent)
