"""The command `lvs-lab`: every verb of the lab from a shell."""

# ruff: noqa: PLC0415 - a verb imports what it needs when it runs, so that `exec` is quick

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lvs_lab.errors import LabError

if TYPE_CHECKING:
    from lvs_lab.lab import Lab

DEFAULT_NAME = "lab"
_PASSED_ON = ("kubectl", "helm")
_Verb = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; an error that the lab raises on purpose is told in one line."""
    ours, theirs = split_words(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(ours)
    options.words = [*getattr(options, "words", []), *theirs]
    verb: _Verb = options.verb
    try:
        _require_root()
        return verb(options)
    except LabError as error:
        print(f"lvs-lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _require_root() -> None:
    if os.geteuid() != 0:
        raise LabError("a lab is made of namespaces, mounts and processes of root: run it as root")


def split_words(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is ours to parse, and what belongs to another program: all after `--`, or after `kubectl` and `helm`."""
    words = list(arguments)
    start = next((number for number, word in enumerate(words) if word in _PASSED_ON), None)
    if start is not None and "--" not in words[:start]:
        end = start + 1
        if words[end : end + 1] == ["--name"]:
            end += 2
        return words[:end], words[end:]
    if "--" in words:
        end = words.index("--")
        return words[:end], words[end + 1 :]
    return words, []


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lvs-lab", description="Nodes with real kernels and a real control plane on this machine."
    )
    parser.add_argument(
        "--name",
        default=os.environ.get("LVS_LAB_NAME", DEFAULT_NAME),
        help="which lab (default: $LVS_LAB_NAME, or 'lab')",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, run: _Verb, text: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text)
        made.add_argument("--name", default=argparse.SUPPRESS, help="which lab")
        made.set_defaults(verb=run)
        return made

    def node_verb(name: str, run: _Verb, text: str) -> argparse.ArgumentParser:
        made = verb(name, run, text)
        made.add_argument("node", metavar="NODE")
        return made

    verb("prepare", _prepare, "install the Debian packages the lab needs and build everything, without starting a lab")
    up = verb("up", _up, "bring a lab up; again: start what is missing")
    up.add_argument(
        "--topology",
        action="append",
        default=[],
        metavar="FILE",
        help="a topology file, or the name of a standard one (default: plain)",
    )
    up.add_argument(
        "--image",
        action="append",
        default=[],
        type=Path,
        metavar="TAR",
        help="a docker archive for kubelet nodes; may be repeated",
    )
    verb("deploy", _deploy, "lvs-operator on the plain nodes: the chart's objects, operator and agents as programs")
    verb("down", _down, "take a lab down: nothing of it is left").add_argument(
        "--all", action="store_true", help="every lab on this machine"
    )
    verb("status", _status, "what is up")
    for name, run, text in (("kubectl", _kubectl, "kubectl as admin"), ("helm", _helm, "helm as admin")):
        verb(name, run, text)
    command = node_verb("exec", _exec, "run a command on a machine: its exit code, stdout and stderr apart")
    command.add_argument("words", nargs="*", metavar="-- COMMAND")
    node_verb("shell", _shell, "an interactive shell on a machine")
    serve = node_verb("serve", _serve, "a small server on a machine that answers with its name")
    serve.add_argument("--address", default="*", help="address to bind; may appear later (default: all)")
    serve.add_argument("--port", type=int, default=80)
    protocol = serve.add_mutually_exclusive_group()
    for name, text in (("udp", "answer datagrams instead of HTTP"), ("sctp", "speak HTTP over SCTP; guests only")):
        protocol.add_argument(f"--{name}", dest="protocol", action="store_const", const=name, default="tcp", help=text)
    serve.add_argument("--stop", action="store_true", help="end it")
    link = node_verb(
        "link", _link, "the state of a card: up, down, silent, apart, or loss=PERCENT, delay=TIME and jitter=TIME"
    )
    link.add_argument("words", nargs="+", metavar="up|down|silent|apart|loss=…|delay=…|jitter=…")
    link.add_argument("--device", default="eth0")
    capture = node_verb("capture", _capture, "tcpdump on a machine until interrupted")
    capture.add_argument("--device", default="eth0")
    capture.add_argument("words", nargs="*", metavar="-- FILTER")
    for name, text in (
        ("power-off", "cut a guest's power"),
        ("power-on", "boot a guest that has no power; its state directory is the one it had"),
        ("pause", "stop a guest where it is"),
        ("resume", "let a paused guest go on"),
    ):
        node_verb(name, _power(name.replace("-", "_")), text)
    prune = verb("prune", _prune, "remove built things that no lab has used for a while")
    prune.add_argument("--days", type=float, default=14, help="how long (default: 14)")
    load = verb("load-image", _load_image, "import a docker archive on all kubelet nodes")
    load.add_argument("archive", type=Path, metavar="TAR")
    return parser


def _prepare(_: argparse.Namespace) -> int:
    from lvs_lab import host_packages
    from lvs_lab.images import pause_image
    from lvs_lab.kernel_build import guest_kernel
    from lvs_lab.kube_tools import helm_program, kind_program, kube_programs, promql_program
    from lvs_lab.load_program import load_program
    from lvs_lab.python_packages import agent_packages
    from lvs_lab.root_fs import guest_root

    host_packages.prepare()
    guest_root(guest_kernel())
    builds = (agent_packages, pause_image, kube_programs, helm_program, promql_program, kind_program, load_program)
    for build in builds:
        build()
    helm_program(3)
    return 0


def _up(options: argparse.Namespace) -> int:
    import time

    from lvs_lab.lab import Lab, standard_topology
    from lvs_lab.topology import merge_topologies

    start = time.monotonic()
    texts = [
        _read_topology(Path(name)) if Path(name).is_file() else standard_topology(name)
        for name in options.topology or ["plain"]
    ]
    lab = Lab.up(options.name, merge_topologies(texts), images=options.image)
    names = ", ".join(machine.name for machine in lab.topology.machines)
    print(f"lab {lab.name!r} is up after {time.monotonic() - start:.1f} s: {names}")
    return 0


def _read_topology(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"--topology {file}: can not be read: {error}") from error


def _deploy(options: argparse.Namespace) -> int:
    from lvs_lab.plain_deployment import deploy

    nodes = deploy(_lab(options))
    print(f"lab {options.name!r}: the operator runs, and agents on {', '.join(nodes)}")
    return 0


def _down(options: argparse.Namespace) -> int:
    from lvs_lab.lab import lab_names, take_down

    for name in lab_names() if options.all else [options.name]:
        print(f"lab {name!r} {'is down' if take_down(name) else 'was not up'}")
    return 0


def _status(options: argparse.Namespace) -> int:
    from lvs_lab.lab import lab_names
    from lvs_lab.status import describe

    there = lab_names()
    print(f"labs: {', '.join(there) or 'none'}")
    if options.name in there:
        print(describe(options.name), end="")
    return 0


def _kubectl(options: argparse.Namespace) -> int:
    from lvs_lab.host_commands import in_namespace

    lab = _lab(options)
    command, environment = lab.control_plane.attached_kubectl(options.words)
    command = in_namespace(lab.places.api, command)
    os.execvpe(command[0], command, environment)  # noqa: S606 - kubectl takes over the terminal


def _helm(options: argparse.Namespace) -> int:
    from lvs_lab.host_commands import in_namespace

    lab = _lab(options)
    command = in_namespace(lab.places.api, lab.helm_command(options.words))
    os.execvpe(command[0], command, lab.helm_environment())  # noqa: S606 - helm takes over the terminal


def _exec(options: argparse.Namespace) -> int:
    words = options.words
    if not words:
        raise LabError("exec: say what to run: lvs-lab exec NODE -- COMMAND")
    return _run_attached(options, words)


def _shell(options: argparse.Namespace) -> int:
    from lvs_lab.terminal import interactive

    machine = _lab(options).machine(options.node)
    return interactive(machine)


def _capture(options: argparse.Namespace) -> int:
    return _run_attached(options, ["tcpdump", "-n", "-e", "-l", "-i", options.device, *options.words])


def _run_attached(options: argparse.Namespace, words: list[str]) -> int:
    from lvs_lab.terminal import attached

    return attached(_lab(options).machine(options.node), words)


def _serve(options: argparse.Namespace) -> int:
    machine = _lab(options).machine(options.node)
    what = f"{options.node}: {options.protocol} on {options.address} port {options.port}"
    if options.stop:
        machine.server(port=options.port, address=options.address, protocol=options.protocol).stop()
        print(f"{what}: ended")
    else:
        machine.serve(port=options.port, address=options.address, protocol=options.protocol)
        print(f"{what}: answers")
    return 0


def _link(options: argparse.Namespace) -> int:
    _lab(options).machine(options.node).link(*options.words, device=options.device)
    print(f"{options.node} {options.device}: {shlex.join(options.words)}")
    return 0


def _power(method: str) -> _Verb:
    def run(options: argparse.Namespace) -> int:
        getattr(_lab(options).guest(options.node), method)()
        print(f"{options.node}: {method.replace('_', ' ')} done")
        return 0

    return run


def _prune(options: argparse.Namespace) -> int:
    from lvs_lab.artifacts import forget_unused
    from lvs_lab.lab import lab_names

    if lab_names():
        raise LabError(f"prune: labs are up and use built things: {', '.join(lab_names())}")
    for gone in forget_unused(options.days):
        print(f"removed {gone}")
    return 0


def _load_image(options: argparse.Namespace) -> int:
    _lab(options).load_image(options.archive)
    return 0


def _lab(options: argparse.Namespace) -> "Lab":
    from lvs_lab.lab import Lab

    return Lab(options.name)
