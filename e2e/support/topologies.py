"""Several set-ups in one lab: topologies joined by concatenation."""

from pathlib import Path
from typing import Any

import yaml

from lvs_lab.topology import parse_topology

_TOPOLOGIES = Path(__file__).parents[1] / "lvs_lab" / "topologies"


def joined(*names: str) -> str:
    """One topology file with all machines and segments of several; they must not share names."""
    whole: dict[str, Any] = {"segments": [], "nodes": {}, "routers": {}, "clients": {}}
    for name in names:
        one = yaml.safe_load((_TOPOLOGIES / f"{name}.yaml").read_text())
        whole["segments"] += one.pop("segments")
        for part, machines in one.items():
            shared = whole[part].keys() & machines.keys()
            assert not shared, f"{name}: {', '.join(shared)} is also in another topology"
            whole[part] |= machines
    text = yaml.safe_dump(whole, sort_keys=False)
    parse_topology(text, where="+".join(names))
    return text
