"""The chart where there are no nodes: rendered by real Helm, its rights and policies at an API server, its tokens."""

import os
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from lvs_lab.artifacts import CHECKOUT
from lvs_lab.kube_tools import helm_program
from lvs_lab.waiting import wait_for
from support.api_server import Answer, ApiServer
from support.operator_process import NAMESPACE

CHART: Final = str(CHECKOUT / "charts" / "lvs-operator")
RELEASE: Final = "lvs-operator"
OPERATOR: Final = RELEASE
AGENT: Final = f"{RELEASE}-agent"
RIGHTS: Final = frozenset({"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"})
HELM_MAJORS: Final = (3, 4)
"""The versions of Helm that the chart is for."""
POLICIES: Final = frozenset({"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"})
IN_FORCE_SECONDS: Final = 30.0
LAST_POLICY: Final = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: last}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [namespaces]}]
  validations: [{expression: "object.metadata.name != 'refused'", message: the last policy}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: last}
spec: {policyName: last, validationActions: [Deny]}
"""

Json = dict[str, Any]


def run_helm(
    home: Path, *arguments: str, environment: Mapping[str, str] | None = None, major: int = 4
) -> subprocess.CompletedProcess[str]:
    """Run Helm with a home of its own."""
    command, whole = helm_command(home, *arguments, environment=environment, major=major)
    return subprocess.run(command, env=whole, capture_output=True, text=True, check=False, timeout=120)


def helm_command(
    home: Path, *arguments: str, environment: Mapping[str, str] | None = None, major: int = 4
) -> tuple[list[str], dict[str, str]]:
    """The same for those who start it themselves: command and environment."""
    kept = {f"HELM_{part}_HOME": str(home / part.lower()) for part in ("CACHE", "CONFIG", "DATA")}
    return [str(helm_program(major)), *arguments], {**os.environ, **kept, **(environment or {})}


def render(home: Path, *options: str, major: int = 4) -> list[Json]:
    """The objects of `helm template`."""
    done = run_helm(home, "template", RELEASE, CHART, f"--namespace={NAMESPACE}", *options, major=major)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def is_hook(raw: Mapping[str, Any]) -> bool:
    """Whether Helm makes it only at some moment of a release's life."""
    return "helm.sh/hook" in raw["metadata"].get("annotations", {})


def install_parts(server: ApiServer, kinds: Collection[str], *options: str) -> None:
    """Apply the chart's objects of some kinds; wait until policies that are among them are in force."""
    wanted = [one for one in render(server.directory, *options) if one["kind"] in kinds and not is_hook(one)]
    done = server.kubectl("apply", "--server-side", "--filename=-", stdin=yaml.safe_dump_all(wanted))
    assert done.returncode == 0, done.stderr
    if set(kinds) >= POLICIES:
        _wait_until_in_force(server)


def _wait_until_in_force(server: ApiServer) -> None:
    """Wait until the API server heeds every policy and binding that is there.

    It learns of policies, and of bindings, one by one in the order in which they were made, and puts them together once
    a second (apiserver, policy_source.go): when those that were made last are in force, all are.
    """
    server.kubectl("apply", "--filename=-", stdin=LAST_POLICY).check_returncode()

    def in_force() -> bool:
        answer = server.request("POST", "/api/v1/namespaces?dryRun=All", {"metadata": {"name": "refused"}})
        return "the last policy" in answer.message

    wait_for(in_force, IN_FORCE_SECONDS, "the policies to be in force")
    server.kubectl("delete", "--filename=-", stdin=LAST_POLICY).check_returncode()


def ask_token(server: ApiServer, account: str, *, namespace: str = NAMESPACE, bound_to: Json | None = None) -> Answer:
    """Ask for a token of a ServiceAccount as a kubelet or a person does; `bound_to` has kind and name of an object."""
    spec = {"expirationSeconds": 3600, **({"boundObjectRef": {"apiVersion": "v1", **bound_to}} if bound_to else {})}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    return server.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token", body)


def account_token(server: ApiServer, account: str, *, namespace: str = NAMESPACE, bound_to: Json | None = None) -> str:
    """Such a token. Raises AssertionError where there is no such account or object."""
    token: str = ask_token(server, account, namespace=namespace, bound_to=bound_to).raise_for_status()["status"][
        "token"
    ]
    return token
