"""Kubernetes' programs, Helm, kind and Prometheus' engine, compiled from Go modules of ours with `tool` lines."""

import os
import re
from pathlib import Path

from lvs_lab.artifacts import PACKAGE, artifact, cache_root, digest
from lvs_lab.errors import BuildError
from lvs_lab.host_commands import run
from lvs_lab.progress import run_logged

_KUBE_MODULE = PACKAGE / "kube_tools"
_HELM_MODULES = {3: PACKAGE / "helm3_tool", 4: PACKAGE / "helm_tool"}
_TOLD_OF_KUBERNETES = 3
"""The Helm that does not find out by itself for which version of Kubernetes it was built."""
_PROMQL_MODULE = PACKAGE / "promql_tool"
_KIND_MODULE = PACKAGE / "kind_tool"
KUBE_PROGRAMS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "kube-proxy",
)


def kube_programs() -> Path:
    """The directory with etcd, the control plane, kubectl, kubelet and kube-proxy."""
    version = _required("k8s.io/kubernetes", _KUBE_MODULE)
    major, minor = re.findall(r"\d+", version)[:2]
    prefix = "-X k8s.io/component-base/version."
    # Without these /version is no semantic version, and Helm's checks of it break.
    flags = f"-s -w {prefix}gitVersion={version} {prefix}gitMajor={major} {prefix}gitMinor={minor}"

    def build(target: Path) -> None:
        _go_build_tools(_KUBE_MODULE, target, flags, "kube-tools")
        (target / "server").rename(target / "etcd")  # go.etcd.io/etcd/server/v3 names its program after its directory
        absent = [name for name in KUBE_PROGRAMS if not (target / name).is_file()]
        if absent:
            raise BuildError(f"the tool lines of {_KUBE_MODULE.name}/go.mod did not make {', '.join(absent)}")

    key = digest(_KUBE_MODULE, flags, _go_version())
    return artifact("kube", key, build, title=f"Kubernetes {version}: compiling", expected="5 minutes cold on 2 cores")


def helm_program(major: int = 4) -> Path:
    """The path of helm; there is also Helm 3, which many clusters are still installed with."""
    module, path = _HELM_MODULES[major], f"helm.sh/helm/v{major}"
    version = _required(path, module)
    flags = f"-s -w -X {path}/internal/version.version={version}"
    if major == _TOLD_OF_KUBERNETES:
        # Without these it renders as for Kubernetes 1.20.
        _, minor, _ = re.findall(r"\d+", _required("k8s.io/client-go", module))
        for package in ("chartutil", "lint/rules"):
            flags += f" -X {path}/pkg/{package}.k8sVersionMajor=1 -X {path}/pkg/{package}.k8sVersionMinor={minor}"
    return _only_tool(module, "helm", flags, title=f"Helm {version}: compiling", expected="100 s cold")


def kind_program() -> Path:
    """The path of kind, which makes clusters where docker is there."""
    version = _required("sigs.k8s.io/kind", _KIND_MODULE)
    return _only_tool(_KIND_MODULE, "kind", "-s -w", title=f"kind {version}: compiling", expected="45 s cold")


def promql_program() -> Path:
    """The path of the program that evaluates PromQL, our own around Prometheus' engine."""
    version = _required("github.com/prometheus/prometheus", _PROMQL_MODULE)
    title = f"Prometheus' engine {version}: compiling"
    return _only_tool(_PROMQL_MODULE, "promql-tool", "-s -w", title=title, expected="100 s cold")


def _only_tool(module: Path, name: str, flags: str, *, title: str, expected: str) -> Path:
    """The program that a module has one `tool` line for."""
    key = digest(module, flags, _go_version())
    directory = artifact(
        name, key, lambda target: _go_build_tools(module, target, flags, name), title=title, expected=expected
    )
    return directory / name


def _go_build_tools(module: Path, target: Path, flags: str, log_name: str) -> None:
    log = cache_root() / "logs" / f"{log_name}.log"
    log.unlink(missing_ok=True)
    environment = dict(os.environ, CGO_ENABLED="0", GOTOOLCHAIN="local", GOFLAGS="-mod=readonly")
    run_logged(
        ["go", "build", "-trimpath", f"-ldflags={flags}", "-o", f"{target}/", "tool"], log, cwd=module, env=environment
    )


def _required(path: str, module: Path) -> str:
    found = re.search(rf"^(?:require)?\s*{re.escape(path)} (v\S+)", (module / "go.mod").read_text(), re.MULTILINE)
    if not found:
        raise BuildError(f"{module.name}/go.mod does not require {path}")
    return found[1]


def _go_version() -> str:
    return run(["go", "env", "GOVERSION"]).stdout.strip()
