"""What tests of the lab itself ask of it: its command as a user types it, whether machines answer, what is left."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lvs_lab.control_plane import NOT_READY_SECONDS
from lvs_lab.host_commands import NETNS_DIRECTORY
from lvs_lab.lab import Lab
from lvs_lab.places import MEMORY_ROOT, RUN_ROOT
from lvs_lab.waiting import wait_for


def lvs_lab(*words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """The command as a user types it."""
    command = [sys.executable, "-m", "lvs_lab", *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=300)


def pings(lab: Lab, address: str) -> bool:
    """Whether any ping of a client of the lab is answered within two seconds."""
    return lab.machine("client").exec(["ping", "-c", "1", "-i", "0.2", "-w", "2", address]).ok


def node_ready(lab: Lab, name: str) -> str:
    """The status of a Node's condition Ready."""
    path = '{.status.conditions[?(@.type=="Ready")].status}'
    return lab.kubectl("get", "node", name, f"--output=jsonpath={path}").stdout


def wait_until_not_ready(lab: Lab, name: str, *, always: Callable[[], object] | None = None) -> None:
    """Wait until the node controller has missed a Node without power; see `wait_for` for `always`."""
    wait_for(
        lambda: node_ready(lab, name) == "Unknown",
        NOT_READY_SECONDS,
        f"{name} to be NotReady",
        interval=0.5,
        always=always,
    )


def left_of(name: str) -> list[str]:
    """Whatever is still there of a lab: namespaces, files, processes."""
    prefix = f"lvs.{name}."
    there = [entry.name for entry in NETNS_DIRECTORY.iterdir() if entry.name.startswith(prefix)]
    there += [str(path) for path in (RUN_ROOT / name, MEMORY_ROOT / f"lvs-lab.{name}") if path.exists()]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            places = (f"{RUN_ROOT}/{name}/", f"{MEMORY_ROOT}/lvs-lab.{name}/")
            if any(place in words for place in places) or words.endswith(f"supervisor\0{name}\0"):
                there.append(words.replace("\0", " "))
    there += [line for line in Path("/proc/mounts").read_text().splitlines() if f"{RUN_ROOT}/{name}" in line]
    return there
