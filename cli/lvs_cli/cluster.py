"""Our objects, with the user's own kubeconfig."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar, cast

import httpx2
import yaml
from lightkube.config.client_adapter import Client, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig
from lightkube.core.exceptions import ConfigError

from lvs_api.api_group import GROUP, VERSION
from lvs_api.base import ApiModel
from lvs_api.kinds import Kind
from lvs_api.objects import ApiObject, parse_object
from lvs_api.violations import InvalidObject
from lvs_cli.errors import CliError

SpecT = TypeVar("SpecT", bound=ApiModel)
StatusT = TypeVar("StatusT", bound=ApiModel)


PAGE_SIZE: Final = 500
TIMEOUT_SECONDS: Final = 15.0
MERGE_PATCH: Final = "application/merge-patch+json"
_NO_KUBECONFIG: Final = (ConfigError, OSError, yaml.YAMLError, LookupError, AttributeError, TypeError, ValueError)
"""What reading a file ends in that is no kubeconfig: lightkube takes the shape of one for granted."""


class Cluster:
    """The API server that the kubeconfig names. Every failure is a CliError."""

    def __init__(self, *, context: str | None = None) -> None:
        try:
            single = KubeConfig.from_env().get(context_name=context)
            if single is None:
                raise CliError("the kubeconfig cannot be used: it names no context")
            self.namespace = str(single.namespace)
            self._http = Client(single, ConnectionParams(timeout=httpx2.Timeout(TIMEOUT_SECONDS), trust_env=True))
        except _NO_KUBECONFIG as error:
            said = str(error) if isinstance(error, ConfigError | OSError) else f"{type(error).__name__}: {error}"
            line = " ".join(said.split())
            raise CliError(f"the kubeconfig cannot be used ({line}); `kubectl config view` shows it") from error

    def list(self, kind: Kind[SpecT, StatusT], *, namespace: str | None = None) -> list[ApiObject[SpecT, StatusT]]:
        """Every object of a kind, sorted by name; of one namespace, or of all when None."""
        scope = f"namespaces/{namespace}/" if kind.namespaced and namespace else ""
        path = f"apis/{GROUP}/{VERSION}/{scope}{kind.plural}"
        parameters = {"limit": str(PAGE_SIZE)}
        found: list[ApiObject[SpecT, StatusT]] = []
        with _said_plainly():
            while True:
                page = self._get(path, parameters)
                named = {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind.name}
                found += [parse_object(kind, raw | named) for raw in page["items"]]
                if not (rest := page["metadata"].get("continue")):
                    return sorted(found, key=lambda obj: (obj.metadata.namespace or "", obj.metadata.name))
                parameters["continue"] = rest

    def annotate(self, kind: Kind[SpecT, StatusT], name: str, annotation: str, value: str | None) -> None:
        """Set one annotation of a cluster-scoped object; None: take it away."""
        with _said_plainly():
            response = self._http.request(
                "PATCH",
                f"apis/{GROUP}/{VERSION}/{kind.plural}/{name}",
                json={"metadata": {"annotations": {annotation: value}}},
                headers={"Content-Type": MERGE_PATCH},
            )
            self._answer(response)

    def pods_by_node(self, namespace: str, selector: str) -> dict[str, str]:
        """The running pod of a selector on each node; on a node with several, as while one is replaced, any."""
        path, parameters = f"api/v1/namespaces/{namespace}/pods", {"limit": str(PAGE_SIZE), "labelSelector": selector}
        found: dict[str, str] = {}
        with _said_plainly():
            while True:
                page = self._get(path, parameters)
                for pod in page["items"]:
                    if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]:
                        found[pod["spec"]["nodeName"]] = pod["metadata"]["name"]
                if not (rest := page["metadata"].get("continue")):
                    return found
                parameters["continue"] = rest

    def read(self, path: str) -> bytes:
        """What a path of the API server answers, such as a proxied one."""
        with _said_plainly():
            response = self._http.request("GET", path)
            if not response.is_success:
                raise CliError(f"the API server says {response.status_code}: {_message(response)}")
            return response.content

    def _get(self, path: str, parameters: dict[str, str]) -> dict[str, Any]:
        return self._answer(self._http.request("GET", path, params=parameters))

    def _answer(self, response: httpx2.Response) -> dict[str, Any]:
        if response.status_code == httpx2.codes.NOT_FOUND:
            raise CliError(f"the API server does not know {GROUP}/{VERSION}: is lvs-operator installed?")
        if not response.is_success:
            raise CliError(f"the API server refused ({response.status_code}): {_message(response)}")
        try:
            body = response.json()
        except ValueError as error:
            raise CliError(f"what answers at {response.url.host} is no Kubernetes API server: {error}") from error
        return cast("dict[str, Any]", body)


def _message(response: httpx2.Response) -> str:
    """What a Status says, else the beginning of the text, on one line."""
    try:
        body = response.json()
    except ValueError:
        body = None
    said = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(said or response.text)[:300].split())


@contextmanager
def _said_plainly() -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        raise CliError(f"the kubeconfig's user cannot log in: {error}") from error
    except httpx2.TransportError as error:
        raise CliError(f"the API server does not answer: {error}") from error
    except InvalidObject as error:
        raise CliError(f"an object is not of this plug-in's version: {error}") from error
