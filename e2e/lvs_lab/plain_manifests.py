"""`make manifests`: what Helm would install, as two files for kubectl: the CRDs, and all the rest with its namespace.

They are the documents of `helm template`, word by word. Left out are hooks, which nothing but Helm runs.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from lvs_lab.artifacts import CHECKOUT
from lvs_lab.host_commands import run
from lvs_lab.kube_tools import helm_program

RELEASE = "lvs-operator"
NAMESPACE = "lvs-system"
CRDS, INSTALL = "crds.yaml", "install.yaml"
_HOOK = "helm.sh/hook"
_NAMESPACE = f"""apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    # Agents are privileged pods in the Nodes' network.
    pod-security.kubernetes.io/enforce: privileged
"""


def write_manifests(directory: Path, *options: str) -> tuple[Path, Path]:
    """Write both files; `options` are Helm's, such as `--values=FILE`. Raises CommandError with Helm's words."""
    # The kinds are there when the second file is applied: the default group is an object like others then, and no hook.
    command = [str(helm_program()), "template", RELEASE, str(CHECKOUT / "charts" / RELEASE), f"--namespace={NAMESPACE}"]
    rendered = run([*command, "--api-versions=lvs-operator.io/v1alpha1", *options]).stdout
    kept = [text for text in rendered.removeprefix("---\n").split("\n---\n") if not _is_hook(text)]
    crds = [text for text in kept if _is_crd(text)]
    others = [text for text in kept if not _is_crd(text)]
    directory.mkdir(parents=True, exist_ok=True)
    return _write(directory / CRDS, crds), _write(directory / INSTALL, [_NAMESPACE, *others])


def _is_hook(text: str) -> bool:
    return _HOOK in (yaml.safe_load(text)["metadata"].get("annotations") or {})


def _is_crd(text: str) -> bool:
    return bool(yaml.safe_load(text)["kind"] == "CustomResourceDefinition")


def _write(path: Path, documents: Sequence[str]) -> Path:
    path.write_text("---\n".join(f"{text.rstrip()}\n" for text in documents))
    return path


def main() -> None:
    """Arguments: where to write, then options of Helm."""
    directory, *options = sys.argv[1:]
    for path in write_manifests(Path(directory), *options):
        print(path)


if __name__ == "__main__":
    main()
