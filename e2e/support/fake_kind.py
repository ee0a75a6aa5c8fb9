"""`docker`, `kind` and `kubectl` as far as making kind's clusters asks them, for tests without docker.

`fake_kind.py PROGRAM WORDS…`: the files of $FAKE_KIND are what there is; each call is a line of `calls`. Words that the
real programs refuse, in their order and form, are refused here: unknown verbs and options, images and clusters that
there are not, names that are taken, a configuration that is none.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import yaml

STATE = Path(os.environ.get("FAKE_KIND", "/nonexistent"))
NODE_FIELDS = {"role", "labels"}
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "kind",
    "contexts": [{"name": "kind", "context": {"cluster": "kind", "user": "kind"}}],
    "clusters": [{"name": "kind", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "kind", "user": {}}],
}


def install(directory: Path, state: Path) -> None:
    """Put the three, and a helm that nobody calls, into a directory for PATH."""
    for name in ("docker", "kind", "kubectl", "helm"):
        program = directory / name
        program.write_text(f'#!/bin/sh\nFAKE_KIND={state} exec {sys.executable} {__file__} {name} "$@"\n')
        program.chmod(0o755)


def refuse(why: str) -> NoReturn:
    """End with an error."""
    sys.exit(f"Error: {why}")


def there(what: str) -> list[str]:
    """The names of what there is of a kind: images, containers, clusters, loaded images."""
    file = STATE / what
    return file.read_text().split() if file.exists() else []


def keep(what: str, names: list[str]) -> None:
    """Write these down instead."""
    (STATE / what).write_text("".join(f"{name}\n" for name in names))


def parse(words: list[str], *options: str, flags: tuple[str, ...] = (), rest: int = 0) -> argparse.Namespace:
    """Options with values, flags, and at least so many words after them."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for option in options:
        parser.add_argument(option, required=True)
    for flag in flags:
        parser.add_argument(flag, action="store_true", required=True)
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    found = parser.parse_args(words)
    if len(found.rest) < rest:
        refuse(f"{words}: too few words")
    return found


def docker(verb: str, *words: str) -> None:
    """The client and the daemon."""
    if (STATE / "away").exists():
        refuse("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\nIs the docker daemon running?")
    verbs = {
        "version": docker_version,
        "build": docker_build,
        "network": docker_network,
        "run": docker_run,
        "rm": docker_rm,
        "exec": docker_exec,
    }
    if verb not in verbs:
        refuse(f"docker: '{verb}' is not a docker command")
    verbs[verb](list(words))


def docker_version(words: list[str]) -> None:
    """Of the daemon."""
    parse(words, "--format")
    print("28.2.2")


def docker_build(words: list[str]) -> None:
    """A target of the Dockerfile."""
    found = parse(words, "--target", "--tag", rest=1)
    if f" AS {found.target}\n" not in (Path(found.rest[0]) / "Dockerfile").read_text():
        refuse(f"target stage {found.target!r} could not be found")
    keep("images", [*there("images"), found.tag])


def docker_network(words: list[str]) -> None:
    """Kind's, once it has made a cluster."""
    if words != ["inspect", "kind"] or not there("clusters"):
        refuse("no such network")
    ranges = [{"Subnet": "fc00:f853:ccd:e793::/64"}, {"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}]
    print(json.dumps([{"Name": "kind", "IPAM": {"Config": ranges}, "Containers": {}}]))


def docker_run(words: list[str]) -> None:
    """A container."""
    found = parse(words, "--name", "--network", "--cap-add", "--entrypoint", flags=("--detach",), rest=1)
    if found.name in there("containers") or found.rest[0] not in there("images") or found.network != "kind":
        refuse(f"{words}: name in use, no such image or no such network")
    keep("containers", [*there("containers"), found.name])


def docker_rm(words: list[str]) -> None:
    """With `--force` those that are not there are forgiven."""
    found = parse(words, flags=("--force",), rest=1)
    keep("containers", [name for name in there("containers") if name not in found.rest])


def docker_exec(words: list[str]) -> None:
    """On a node: whether its kernel has IPVS."""
    parse(words, flags=("--interactive",), rest=2)
    if (STATE / "no-ipvs").exists():
        refuse("modprobe: FATAL: Module ip_vs not found")


def kind(*words: str) -> None:
    """The command line of kind."""
    match words:
        case ["get", "clusters"]:
            print("\n".join(there("clusters")))
        case ["create", "cluster", *options]:
            found = parse(options, "--name", "--kubeconfig", "--config")
            configuration = yaml.safe_load(Path(found.config).read_text())
            if (configuration["kind"], configuration["apiVersion"]) != ("Cluster", "kind.x-k8s.io/v1alpha4"):
                refuse("unable to decode config")
            if any(not node.keys() <= NODE_FIELDS for node in configuration["nodes"]):
                refuse("unable to decode config: field not found in type v1alpha4.Node")
            if (STATE / "no-room").exists():
                refuse("failed to create cluster")
            (STATE / "nodes").write_text(json.dumps(configuration["nodes"]))
            Path(found.kubeconfig).write_text(yaml.safe_dump(KUBECONFIG))
            keep("clusters", [*there("clusters"), found.name])
        case ["load", "docker-image", *options]:
            found = parse(options, "--name", rest=1)
            if found.name not in there("clusters") or found.rest[0] not in there("images"):
                refuse(f"{words}: no such cluster or image")
            keep("loaded", [*there("loaded"), found.rest[0]])
        case ["delete", "cluster", *options]:
            found = parse(options, "--name")
            keep("clusters", [name for name in there("clusters") if name != found.name])
        case _:
            refuse(f"unknown command {words}")


def nodes() -> list[dict[str, object]]:
    """The nodes as kind names them, and their addresses."""
    made: list[dict[str, object]] = []
    for number, node in enumerate(json.loads((STATE / "nodes").read_text())):
        name = f"kind-{node['role']}{'' if number < 2 else number}"
        addresses = [{"type": "InternalIP", "address": f"172.18.0.{number + 2}"}]
        metadata = {"name": name, "labels": node.get("labels", {})}
        made.append({"metadata": metadata, "status": {"addresses": addresses}})
    return made


def kubectl(kubeconfig: str, *words: str) -> None:
    """What is asked of a cluster that has just been made."""
    if not Path(kubeconfig.removeprefix("--kubeconfig=")).read_text():
        refuse("no configuration has been provided")
    match words:
        case ["get", "nodes", "--output=json"]:
            print(json.dumps({"items": nodes()}))
        case ["wait", "nodes", "--all", "--for=condition=Ready", *_]:
            pass
        case ["apply", "--filename=-"]:
            image = json.load(sys.stdin)["items"][-1]["spec"]["template"]["spec"]["containers"][0]["image"]
            if image not in there("loaded"):
                refuse(f"{image}: ErrImageNeverPull")
        case ["--namespace", "lvs-lab", "get", "pods", "--output=json"]:
            ready = {"conditions": [{"type": "Ready", "status": "True"}]}
            names = [node["metadata"]["name"] for node in nodes()]  # type: ignore[index]  # JSON
            pods = [{"metadata": {"name": f"on-{name}"}, "spec": {"nodeName": name}, "status": ready} for name in names]
            print(json.dumps({"items": pods}))
        case _:
            refuse(f"nobody makes clusters with {words}")


if __name__ == "__main__":
    with (STATE / "calls").open("a") as calls:
        calls.write(f"{' '.join(sys.argv[1:])}\n")
    programs: dict[str, Callable[..., None]] = {"docker": docker, "kind": kind, "kubectl": kubectl}
    programs[sys.argv[1]](*sys.argv[2:])
