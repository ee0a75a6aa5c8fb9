"""`python -m lvs_lab.demo.on_kind`, or `make demo-kind`: the demo on a cluster of containers, where docker is there.

`KEEP=1` leaves the cluster up.
"""

import os
import sys

from lvs_lab.clusters.docker import why_no_docker
from lvs_lab.clusters.kind import KindSettings, open_kind
from lvs_lab.demo.kind_story import CHAPTERS, KindStory
from lvs_lab.demo.narrator import Narrator
from lvs_lab.errors import LabError

_NAME = "lvs-demo"
_SERVERS = 2
_DIRECTORS = 1


def main() -> int:
    """0 when everything was as told; else 1, and why."""
    if reason := why_no_docker():
        print(f"The demo on kind can not run: {reason}", file=sys.stderr)
        print("`make demo` needs no docker: it brings machines with kernels of their own.", file=sys.stderr)
        return 1
    keep = os.environ.get("KEEP", "") not in {"", "0"}
    narrator = Narrator(CHAPTERS)
    narrator.chapter("A cluster")
    narrator.say(
        f"""kind makes a control plane, {_DIRECTORS} director and {_SERVERS} nodes for web servers, each a container;
        docker builds both images from this checkout. The first time takes minutes."""
    )
    settings = KindSettings(name=_NAME, directors=_DIRECTORS, servers=_SERVERS, keep=keep)
    try:
        with open_kind(settings) as cluster:
            KindStory(narrator, cluster).tell()
    except LabError as error:
        print(f"\nThe demo failed after {narrator.seconds:.0f} s: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    print(
        f"\nThat was it, in {narrator.seconds:.0f} s." + ("" if keep else " The cluster is deleted again."), flush=True
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
