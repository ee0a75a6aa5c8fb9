"""A pod on every node of a cluster that is not ours to log in to: what tests see of the node, they see through it."""

import json
from collections.abc import Mapping
from typing import Any, Final

from lvs_lab.artifacts import PACKAGE

NAMESPACE: Final = "lvs-lab"
NAME: Final = "looker"
PROGRAMS: Final = "/lab"
"""Where the small server of the tests is in such a pod, as in a guest of the lab."""
WAIT: Final = ("python3", "-c", "import signal; signal.pause()")
_SERVE: Final = PACKAGE / "guest" / "serve.py"
_LABELS: Final = {"app": NAME}


def looker_objects(image: str) -> str:
    """The namespace, the programs and the DaemonSet, for `kubectl apply`; the image is the agent's.

    Its pods share the node's network and processes and may do everything on it, as agents do: the namespace says so.
    """
    privileged = {"pod-security.kubernetes.io/enforce": "privileged"}
    container = {
        "name": NAME,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(WAIT),
        "securityContext": {"privileged": True},
        "volumeMounts": [{"name": "programs", "mountPath": PROGRAMS, "readOnly": True}],
    }
    pod = {
        "hostNetwork": True,
        "hostPID": True,
        "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists"}],
        "automountServiceAccountToken": False,
        "containers": [container],
        "volumes": [{"name": "programs", "configMap": {"name": NAME}}],
    }
    template = {"metadata": {"labels": _LABELS}, "spec": pod}
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": privileged}},
        _object("v1", "ConfigMap", data={_SERVE.name: _SERVE.read_text()}),
        _object("apps/v1", "DaemonSet", spec={"selector": {"matchLabels": _LABELS}, "template": template}),
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def lookers_by_node(pods: Mapping[str, Any]) -> dict[str, str]:
    """The pods of a list that are Ready, by node."""
    return {
        pod["spec"]["nodeName"]: pod["metadata"]["name"]
        for pod in pods["items"]
        if "deletionTimestamp" not in pod["metadata"]
        and any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))
    }


def _object(version: str, kind: str, **fields: object) -> dict[str, object]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": NAME, "namespace": NAMESPACE}, **fields}
