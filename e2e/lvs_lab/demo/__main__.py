"""`python -m lvs_lab.demo`, or `make demo`; `KEEP=1` leaves the lab up."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from lvs_lab.artifacts import cache_root, locked
from lvs_lab.demo.aftermath import gather
from lvs_lab.demo.cluster import CLIENT, VIP
from lvs_lab.demo.narrator import Narrator
from lvs_lab.demo.story import CHAPTERS, INTRODUCTION, NAME, VICTIM, Story
from lvs_lab.errors import LabError
from lvs_lab.lab import Lab, lab_names, take_down

_FIRST_TIME = {
    "image-operator": "both container images             2 minutes",
    "kernel": "the nodes' kernel                 5 minutes",
    "debian": "the nodes' Debian                30 seconds",
    "kube": "etcd, Kubernetes                  5 minutes",
    "helm": "Helm                             90 seconds",
}
_LAB = f".venv/bin/lvs-lab --name {NAME}"
_NEXT = f"""
The lab stays up (KEEP=1). It is yours:
    {_LAB} kubectl get lvs
    {_LAB} kubectl edit lvsvirtualservice web        # scheduler: wrr, lc, sh ...; applied in place
    {_LAB} kubectl edit lvsrealserverpool web        # weight, health check
    {_LAB} exec {CLIENT} -- curl -s http://{VIP}/
    {_LAB} exec director-1 -- ipvsadm -Ln --stats
    {_LAB} power-off {VICTIM}                        # and power-on
    {_LAB} down                                      # nothing is left
"""


def main() -> int:
    """0 when everything was as told; else 1, and what to look at."""
    keep = os.environ.get("KEEP", "") not in {"", "0"}
    signal.signal(signal.SIGTERM, _leave)
    narrator = Narrator(CHAPTERS)
    print(INTRODUCTION.strip("\n"), flush=True)
    _tell_what_is_built_first()
    try:
        with locked("demo-runs", busy="another `make demo` runs on this machine; wait for its end"):
            return _run(narrator, keep=keep)
    except LabError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


def _run(narrator: Narrator, *, keep: bool) -> int:
    if NAME in lab_names():
        print(f"A lab of an earlier run is taken down first ({_LAB}).", flush=True)
        take_down(NAME)
    try:
        Story(narrator).tell()
    except LabError as error:
        print(f"\nThe demo failed after {narrator.seconds:.0f} s: {error}", file=sys.stderr)
        _tell_what_to_look_at()
        return _end(1, keep=keep)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return _end(130, keep=False)
    except Exception:  # a fault of the demo itself: it is told with its traceback, after the lab was taken down
        _end(1, keep=keep)
        raise
    print(f"\nThat was it, in {narrator.seconds:.0f} s.", flush=True)
    return _end(0, keep=keep)


def _end(code: int, *, keep: bool) -> int:
    if keep and NAME in lab_names():
        print(_NEXT.rstrip())
        return code
    take_down(NAME)
    left = "" if NAME not in lab_names() else " Something of it is left: lvs-lab status."
    print(f"All of the lab is down again.{left}" + ("" if code else " KEEP=1 make demo leaves it up to play with."))
    return 1 if left else code


def _tell_what_is_built_first() -> None:
    """A cold run says beforehand what takes its time."""
    root = cache_root()
    missing = [what for kind, what in _FIRST_TIME.items() if not (root / kind).is_dir()]
    if not missing:
        return
    print(f"\nFirst run here. Built before anything is seen, and kept in {root}:")
    for what in missing:
        print(f"    {what}")
    print("The times are for two cores. Later runs take under two minutes.", flush=True)


def _tell_what_to_look_at() -> None:
    if NAME not in lab_names():
        return
    try:
        directory = gather(Lab(NAME))
    except LabError as error:
        print(f"Nothing could be gathered from the lab: {error}", file=sys.stderr)
        return
    print(f"To look at: objects, events, logs and each node's tables are in {directory};", file=sys.stderr)
    print("begin with objects.txt, whose conditions say why. KEEP=1 leaves the lab up.", file=sys.stderr)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
