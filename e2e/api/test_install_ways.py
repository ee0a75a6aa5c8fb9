"""Helm 3, Helm 4, kubectl: each installs the chart into a cluster of its own, and what is there then does not drift.

And one takes over what another has left.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from lvs_api.testing import real_server_pool
from lvs_lab.artifacts import CHECKOUT
from lvs_lab.plain_manifests import INSTALL, write_manifests
from support.api_server import ApiServer, running_api_server
from support.chart_release import CHART, HELM_MAJORS, RELEASE, is_hook, render, run_helm
from support.operator_process import NAMESPACE

Json = dict[str, Any]
Key = tuple[str, str, str]
OPTIONS: Final = ("--set=flowSchema.enabled=true,networkPolicy.enabled=true",)
HELM_WITHOUT_SERVER_SIDE_APPLY: Final = 3
"""And the next goes on without where this one has installed."""
OF_THE_API_SERVER: Final = {"resourceVersion", "managedFields", "creationTimestamp", "uid"}
"""What says of an object who wrote it and when, and not what it is."""
OTHER: Final = "balancer"
OTHER_NAMESPACE: Final = "balancing"
OWNER: Final = {"meta.helm.sh/release-name": OTHER, "meta.helm.sh/release-namespace": OTHER_NAMESPACE}
INSTALL_OTHER: Final = ("install", OTHER, CHART, f"--namespace={OTHER_NAMESPACE}", "--create-namespace", *OPTIONS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """A cluster, and how the chart comes into it."""

    server: ApiServer
    apply: Callable[[], None]
    """Install, or upgrade to the same."""


def helm(server: ApiServer, major: int, *arguments: str) -> str:
    """Helm at an API server; it must succeed."""
    environment = {"KUBECONFIG": str(server.kubeconfig)}
    done = run_helm(server.directory, *arguments, environment=environment, major=major)
    assert done.returncode == 0, done.stderr
    return done.stdout


def kubectl(server: ApiServer, *arguments: str, stdin: str | None = None) -> str:
    """Likewise kubectl."""
    done = server.kubectl(*arguments, stdin=stdin)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def by_helm(server: ApiServer, *majors: int) -> Callable[[], None]:
    """Install with the first, upgrade with the last."""

    def apply() -> None:
        listed = json.loads(helm(server, majors[-1], "list", f"--namespace={NAMESPACE}", "--output=json"))
        major = majors[-1] if listed else majors[0]
        helm(server, major, "upgrade", "--install", RELEASE, CHART, f"--namespace={NAMESPACE}", *_CREATE, *OPTIONS)

    return apply


def by_kubectl(server: ApiServer, mode: str) -> Callable[[], None]:
    """Apply the files of `make manifests`."""
    crds, install = write_manifests(server.directory / "dist", *OPTIONS)

    def apply() -> None:
        kubectl(server, "apply", mode, f"--filename={crds}")
        kubectl(server, "wait", "--for=condition=Established", "--timeout=60s", f"--filename={crds}")
        kubectl(server, "apply", mode, f"--filename={install}")

    return apply


_CREATE: Final = ("--create-namespace",)
WAYS: Final[dict[str, Callable[[ApiServer], Callable[[], None]]]] = {
    "helm-3": lambda server: by_helm(server, 3),
    "helm-4": lambda server: by_helm(server, 4),
    "helm-3-then-4": lambda server: by_helm(server, 3, 4),
    "kubectl-client-side": lambda server: by_kubectl(server, "--server-side=false"),
    "kubectl-server-side": lambda server: by_kubectl(server, "--server-side=true"),
}


@pytest.fixture(scope="module", params=list(WAYS))
def way(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """The chart is there already."""
    directory = tmp_path_factory.mktemp(request.param)
    with running_api_server(directory, extra_flags=("--allow-privileged=true",)) as server:
        made = Way(server=server, apply=WAYS[request.param](server))
        made.apply()
        yield made


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the chart says, as one file: hooks come and go, but the group is there to stay."""
    objects = render(tmp_path_factory.mktemp("rendered"), *OPTIONS)
    return yaml.safe_dump_all([one for one in objects if not is_hook(one) or one["kind"] == "LvsDirectorGroup"])


def seen(server: ApiServer, rendered: str) -> dict[Key, Json]:
    """Every object of the release as it is in the cluster, without what the API server says of itself."""
    found = json.loads(kubectl(server, "get", "--filename=-", "--output=json", stdin=rendered))["items"]
    objects = {}
    for raw in found:
        metadata = {key: value for key, value in raw["metadata"].items() if key not in OF_THE_API_SERVER}
        # The group is made by a hook first, and from the upgrade on it is an object like others.
        noted = {key: value for key, value in metadata.pop("annotations", {}).items() if "helm.sh/hook" not in key}
        metadata["annotations"] = noted
        key = (raw["kind"], metadata.get("namespace", ""), metadata["name"])
        objects[key] = {**raw, "metadata": metadata, "status": None}
    return objects


def test_what_is_there_is_what_the_chart_says(way: Way, rendered: str) -> None:
    texts = [one for one in yaml.safe_load_all(rendered) if one["kind"] != "LvsDirectorGroup"]
    flags = ("--server-side", "--force-conflicts", "--field-manager=looker", "--filename=-")
    assert kubectl(way.server, "diff", *flags, stdin=yaml.safe_dump_all(texts)) == ""
    (wanted,) = [one for one in yaml.safe_load_all(rendered) if one["kind"] == "LvsDirectorGroup"]
    assert wanted["spec"].items() <= group_spec(way.server).items()


def test_doing_it_again_changes_nothing(way: Way, rendered: str) -> None:
    before = seen(way.server, rendered)
    assert len(before) == len(list(yaml.safe_load_all(rendered)))
    way.apply()
    assert seen(way.server, rendered) == before


def test_a_director_that_stands_aside_by_hand_still_does_when_the_chart_comes_again(way: Way) -> None:
    stands_aside(way.server, '["lb1"]')
    way.apply()
    assert group_spec(way.server)["maintenance"] == ["lb1"]
    stands_aside(way.server, "null")


def stands_aside(server: ApiServer, nodes: str) -> None:
    """As the page on fail-over says it."""
    patch = f'{{"spec": {{"maintenance": {nodes}}}}}'
    kubectl(server, "patch", "lvsdirectorgroup", "default", "--type=merge", f"--patch={patch}")


def group_spec(server: ApiServer) -> Json:
    """What the chart's group says."""
    spec: Json = json.loads(kubectl(server, "get", "lvsdirectorgroup", "default", "--output=json"))["spec"]
    return spec


@pytest.mark.parametrize(("first", "last"), [(3, 3), (3, 4), (4, 4)])
def test_values_of_the_group_that_the_first_upgrade_would_lose_are_refused(
    tmp_path: Path, first: int, last: int
) -> None:
    with running_api_server(tmp_path, extra_flags=("--allow-privileged=true",)) as server:
        by_helm(server, first)()
        stands_aside(server, '["lb1"]')
        values = "--set=directorGroup.interface=bond0,directorGroup.sysctls.conntrack=false"
        upgrade = ("upgrade", RELEASE, CHART, f"--namespace={NAMESPACE}", *OPTIONS, values)
        if first == HELM_WITHOUT_SERVER_SIDE_APPLY:
            environment = {"KUBECONFIG": str(server.kubeconfig)}
            refused = run_helm(server.directory, *upgrade, environment=environment, major=last)
            assert refused.returncode != 0
            assert "LvsDirectorGroup default has something else in interface, sysctls, and" in refused.stderr
            assert "interface" not in group_spec(server)
            by_helm(server, first, last)()
        helm(server, last, *upgrade)
        assert group_spec(server)["interface"] == "bond0"
        assert group_spec(server)["sysctls"] == {"conntrack": False}
        assert group_spec(server)["maintenance"] == ["lb1"]


@pytest.mark.parametrize("major", HELM_MAJORS)
def test_helm_takes_everything_away_but_what_is_to_stay(tmp_path: Path, rendered: str, major: int) -> None:
    with running_api_server(tmp_path, extra_flags=("--allow-privileged=true",)) as server:
        apply = by_helm(server, major)
        for _ in range(2):
            apply()
        helm(server, major, "uninstall", RELEASE, f"--namespace={NAMESPACE}", "--no-hooks")  # nobody runs Jobs here
        left = kubectl(server, "get", "--ignore-not-found", "--filename=-", "--output=name", stdin=rendered).split()
        assert {name.partition(".")[0] for name in left} == {"customresourcedefinition", "lvsdirectorgroup"}


# --- one after another ---------------------------------------------------------------------------------------------


def crds(server: ApiServer) -> dict[str, Json]:
    """By name, what says of each whether it is the same and whose it is."""
    found = json.loads(kubectl(server, "get", f"--filename={CHECKOUT / 'crds'}", "--output=json"))["items"]
    of_interest = ("uid", "generation", "annotations")
    return {one["metadata"]["name"]: {key: one["metadata"][key] for key in of_interest} for one in found}


def leave(server: ApiServer, way: str) -> None:
    """Install and uninstall; the CRDs stay, and with Helm, where no hook is run, the group."""
    WAYS[way](server)()
    kubectl(server, "wait", "--for=condition=Established", "--timeout=60s", f"--filename={CHECKOUT / 'crds'}")
    if way.startswith("helm"):
        helm(server, int(way[-1]), "uninstall", RELEASE, f"--namespace={NAMESPACE}", "--no-hooks")
    else:
        kubectl(server, "delete", "--wait=false", f"--filename={server.directory / 'dist' / INSTALL}")


def by_flag(_: ApiServer) -> tuple[str, ...]:
    """Helm is told."""
    return ("--take-ownership",)


def by_hand(server: ApiServer) -> tuple[str, ...]:
    """The objects are: the commands of docs/how-to/install.md."""
    group = kubectl(server, "get", "lvsdirectorgroup", "default", "--ignore-not-found", "--output=name").split()
    for objects in ([f"--filename={CHECKOUT / 'crds'}"], group):
        if objects:
            owner = [f"{key}={value}" for key, value in OWNER.items()]
            kubectl(server, "annotate", "--overwrite", *objects, *owner)
            kubectl(server, "label", "--overwrite", *objects, "app.kubernetes.io/managed-by=Helm")
    return ()


@pytest.mark.parametrize(
    ("left_by", "major", "take"),
    [
        ("helm-3", 4, by_flag),
        ("helm-4", 3, by_hand),
        ("kubectl-client-side", 3, by_flag),
        ("kubectl-server-side", 4, by_hand),
    ],
)
def test_a_release_of_another_name_has_to_take_what_is_left(
    tmp_path: Path, left_by: str, major: int, take: Callable[[ApiServer], tuple[str, ...]]
) -> None:
    with running_api_server(tmp_path, extra_flags=("--allow-privileged=true",)) as server:
        leave(server, left_by)
        pool = server.create(real_server_pool()).raise_for_status()
        before = crds(server)
        environment = {"KUBECONFIG": str(server.kubeconfig)}
        refused = run_helm(server.directory, *INSTALL_OTHER, environment=environment, major=major)
        assert (refused.returncode, "invalid ownership metadata" in refused.stderr) == (1, True), refused.stderr
        assert json.loads(helm(server, major, "list", "--all-namespaces", "--output=json")) == []
        assert crds(server) == before

        helm(server, major, *INSTALL_OTHER, *take(server))
        after = crds(server)
        assert after == {name: {**one, "annotations": {**one["annotations"], **OWNER}} for name, one in before.items()}
        assert server.get(pool).raise_for_status()["metadata"]["uid"] == pool["metadata"]["uid"]
        in_other = f"--namespace={OTHER_NAMESPACE}"
        assert f"deployment.apps/{OTHER}-{RELEASE}" in kubectl(server, "get", "deployments", in_other, "--output=name")
        helm(server, major, "upgrade", OTHER, CHART, in_other, *OPTIONS)
        helm(server, major, "uninstall", OTHER, in_other, "--no-hooks")
        assert crds(server).keys() == before.keys()


@pytest.mark.parametrize(("mode", "major"), [("--server-side=false", 4), ("--server-side=true", 3)])
def test_helm_takes_over_what_kubectl_brought_and_nothing_is_restarted(tmp_path: Path, mode: str, major: int) -> None:
    with running_api_server(tmp_path, extra_flags=("--allow-privileged=true",)) as server:
        by_kubectl(server, mode)()

        def operator() -> tuple[str, Json]:
            raw = json.loads(kubectl(server, "get", "deployment", RELEASE, f"--namespace={NAMESPACE}", "--output=json"))
            return raw["metadata"]["uid"], raw["spec"]["template"]

        before = operator()
        # Helm 4 applies on the server, and what kubectl applied is kubectl's there.
        take = ("--take-ownership", *(["--force-conflicts"] if major > HELM_WITHOUT_SERVER_SIDE_APPLY else []))
        helm(server, major, "install", RELEASE, CHART, f"--namespace={NAMESPACE}", *take, *OPTIONS)
        assert operator() == before
