"""Keeps the agents' DaemonSet as its template says: on exactly the Nodes that need an agent.

The template is a manifest that the chart mounts. What places the pods is set here, for it is the contract with the
labels that the operator writes: the node selector, host network, one pod at a time.
"""

import json
import logging
from collections.abc import Callable, Mapping
from hashlib import sha256
from operator import ne
from pathlib import Path
from typing import Any, Final

import yaml

from lvs_api.api_group import GROUP, LABEL_MANAGED_BY, LABEL_NODE_AGENT, NODE_AGENT_WANTED
from lvs_operator.api_client import FIELD_MANAGER, ApiClient
from lvs_operator.errors import ApiNotFoundError, SettingsError
from lvs_operator.writer import missing_fields

logger = logging.getLogger(__name__)

APPLY: Final = "application/apply-patch+yaml"
ANNOTATION_DIGEST: Final = f"{GROUP}/template-digest"
"""Of the manifest that was applied last: by it a manifest is seen to have lost something."""


def read_template(path: Path, namespace: str) -> dict[str, Any]:
    """The manifest to apply. Raises SettingsError."""
    try:
        manifest = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not YAML: {error}") from error
    if not isinstance(manifest, dict) or (manifest.get("apiVersion"), manifest.get("kind")) != ("apps/v1", "DaemonSet"):
        raise SettingsError(f"{path}: not one apps/v1 DaemonSet")
    try:
        return _completed(manifest, namespace)
    except (KeyError, TypeError) as error:
        raise SettingsError(f"{path}: metadata.name, spec.selector and spec.template.spec are required") from error


def _completed(manifest: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    spec, metadata = manifest["spec"], manifest["metadata"]
    template = spec["template"]
    pod = template["spec"] | {
        "hostNetwork": True,
        "nodeSelector": {**(template["spec"].get("nodeSelector") or {}), LABEL_NODE_AGENT: NODE_AGENT_WANTED},
    }
    labels = {**(metadata.get("labels") or {}), LABEL_MANAGED_BY: "lvs-operator"}
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}
    named = {**metadata, "name": metadata["name"], "namespace": namespace, "labels": labels}
    whole = {"updateStrategy": strategy, **spec, "template": {**template, "spec": pod}}
    digest = sha256(json.dumps([named, whole], sort_keys=True, default=str).encode()).hexdigest()
    named["annotations"] = {**(metadata.get("annotations") or {}), ANNOTATION_DIGEST: digest}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": named, "spec": whole}


class AgentDaemonSet:
    """Looks from time to time and applies the manifest where it is not so."""

    def __init__(self, client: ApiClient, template: Path, namespace: str, may_write: Callable[[], None]) -> None:
        self._client = client
        self._template = template
        self._namespace = namespace
        self._may_write = may_write
        self._settled: tuple[int, Mapping[str, Any]] | None = None
        """Generation and manifest of an apply that left a difference: the server spells something in another way."""

    async def ensure(self) -> bool:
        """Apply where something is missing; True when that was so.

        The template is read anew each time, for it is mounted from a ConfigMap. Raises subclasses of ApiError and
        SettingsError.
        """
        manifest = read_template(self._template, self._namespace)
        metadata = manifest["metadata"]
        path = f"/apis/apps/v1/namespaces/{metadata['namespace']}/daemonsets/{metadata['name']}"
        try:
            found: Mapping[str, Any] = await self._client.get(path)
        except ApiNotFoundError:
            found = {}
        generation = int(found.get("metadata", {}).get("generation") or 0)
        missing = list(missing_fields(manifest, found, "DaemonSet", is_lost=ne))
        if not missing or (generation, manifest) == self._settled:
            return False
        self._may_write()
        logger.info("apply DaemonSet %s: %s", metadata["name"], ", ".join(missing[:3]) if found else "not there")
        parameters = {"fieldManager": FIELD_MANAGER, "force": "true"}
        answer = await self._client.request("PATCH", path, body=manifest, content_type=APPLY, parameters=parameters)
        left = list(missing_fields(manifest, answer, "DaemonSet", is_lost=ne))
        self._settled = (int(answer["metadata"]["generation"]), manifest) if left else None
        return True
