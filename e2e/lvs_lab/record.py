"""What a lab notes of itself when it comes up, so that any later process finds it."""

import json
from dataclasses import dataclass
from pathlib import Path

from lvs_lab.errors import NotUpError
from lvs_lab.guest import GuestImage
from lvs_lab.kernel_build import GuestKernel
from lvs_lab.places import RUN_ROOT, Places
from lvs_lab.topology import Topology, parse_topology

_TOPOLOGY = "topology.yaml"
_ARTIFACTS = "artifacts.json"
_BUILT = "network-built"


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifacts:
    """The built things that a lab runs on."""

    image: GuestImage
    kube: Path | None
    """The directory of the Kubernetes programs; none in a lab without a control plane."""


def write(places: Places, topology_text: str, artifacts: Artifacts) -> None:
    """Note topology and artifacts."""
    places.run.mkdir(parents=True, exist_ok=True)
    (places.run / _TOPOLOGY).write_text(topology_text)
    kernel = artifacts.image.kernel
    noted = {
        "kernel": str(kernel.image),
        "modules": str(kernel.modules),
        "release": kernel.release,
        "root": str(artifacts.image.root),
        "kube": None if artifacts.kube is None else str(artifacts.kube),
    }
    (places.run / _ARTIFACTS).write_text(json.dumps(noted))


def read_topology(places: Places) -> Topology:
    """The topology of a running lab."""
    return parse_topology(_read(places, _TOPOLOGY))


def read_artifacts(places: Places) -> Artifacts:
    """The artifacts of a running lab."""
    noted = json.loads(_read(places, _ARTIFACTS))
    kernel = GuestKernel(image=Path(noted["kernel"]), modules=Path(noted["modules"]), release=noted["release"])
    kube = noted["kube"]
    return Artifacts(
        image=GuestImage(kernel=kernel, root=Path(noted["root"])), kube=None if kube is None else Path(kube)
    )


def note_built(places: Places) -> None:
    """Note that all of the network was made; from then on programs are started."""
    (places.run / _BUILT).touch()


def is_built(places: Places) -> bool:
    """Whether all of the network was made once."""
    return (places.run / _BUILT).exists()


def labs() -> list[str]:
    """The names of all labs that have left a directory here."""
    return sorted(entry.name for entry in RUN_ROOT.iterdir() if entry.is_dir()) if RUN_ROOT.is_dir() else []


def _read(places: Places, name: str) -> str:
    try:
        return (places.run / name).read_text()
    except FileNotFoundError as error:
        there = ", ".join(labs()) or "none"
        raise NotUpError(f"no lab called {places.lab!r} is up (there: {there}); `lvs-lab up` starts one") from error
