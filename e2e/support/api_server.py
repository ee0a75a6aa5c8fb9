"""A real API server for tests that need no nodes: etcd and kube-apiserver on loopback ports, up in about four seconds.

Tests take the fixture `api_server` (one for the whole session, with our CRDs installed). A test that stops it, or that
counts its requests, makes one of its own with `running_api_server`.
"""

import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Final

import pytest

from lvs_api.api_group import GROUP
from lvs_api.kinds import ALL_KINDS
from lvs_lab.artifacts import CHECKOUT
from lvs_lab.certificates import Authority
from lvs_lab.errors import LabError
from lvs_lab.kube_tools import kube_programs
from lvs_lab.waiting import wait_for

ADMIN_TOKEN: Final = "admin-of-a-test"  # noqa: S105 -- of a server that lives as long as a test
START_SECONDS: Final = 60
END_SECONDS: Final = 20
KEPT_SECONDS: Final = 30.0
"""A connection that was idle for longer is not used again: the API server closes it after 90 s."""
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the API server answered."""

    status: int
    body: Json

    @property
    def message(self) -> str:
        """What a user reads of a refusal."""
        return str(self.body.get("message", ""))

    @property
    def fields(self) -> list[str]:
        """The fields that a refusal names; an unknown field has no cause of its own and stands in the message."""
        causes = self.body.get("details", {}).get("causes", ())
        return [*(cause.get("field", "") for cause in causes), *re.findall(r'unknown field "([^"]+)"', self.message)]

    def raise_for_status(self) -> Json:
        """The body of a success. Raises AssertionError with the server's words otherwise."""
        assert self.status < 300, f"{self.status}: {self.message}"
        return self.body


@dataclass(kw_only=True)
class ApiServer:
    """A control plane of one machine: how to reach it, and the verbs that stop and start it."""

    directory: Path
    port: int
    etcd_port: int
    programs: Path
    extra_flags: tuple[str, ...] = ()
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _connection: HTTPSConnection | None = None
    _last_request: float = 0.0

    @property
    def url(self) -> str:
        """Its address."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        """The certificate that signs the server's."""
        return self.directory / "ca.crt"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.directory / "admin.kubeconfig"

    @property
    def token(self) -> str:
        """The administrator's bearer token."""
        return ADMIN_TOKEN

    def write_kubeconfig(self, path: Path, *, token: str = ADMIN_TOKEN, url: str | None = None) -> Path:
        """A kubeconfig for another identity, or by way of another address such as a proxy's."""
        text = Authority(directory=self.directory).token_kubeconfig(token, url or self.url)
        path.write_text(text, encoding="utf-8")
        return path

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        token: str = ADMIN_TOKEN,
    ) -> Answer:
        """One request with a JSON answer, over one kept connection."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": content_type}
        payload = None if body is None else json.dumps(body)
        if time.monotonic() - self._last_request > KEPT_SECONDS:
            self._forget_connection()
        self._last_request = time.monotonic()
        connection = self._connection
        if connection is None:
            context = ssl.create_default_context(cafile=str(self.ca_file))
            connection = self._connection = HTTPSConnection("127.0.0.1", self.port, context=context, timeout=30)
        try:
            connection.request(method, path, body=payload, headers=headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, HTTPException):
            self._forget_connection()
            raise
        is_json = response.headers.get_content_type() == "application/json"
        return Answer(status=response.status, body=json.loads(text) if is_json else {"message": text.decode()})

    def create(self, raw: Mapping[str, Any], *, dry_run: bool = False) -> Answer:
        """Create an object of one of our kinds, unknown fields refused as kubectl does."""
        dry = "&dryRun=All" if dry_run else ""
        return self.request("POST", f"{collection_path(raw)}?fieldValidation=Strict{dry}", _as_written(raw))

    def apply(self, raw: Mapping[str, Any], *, manager: str = "test", subresource: str = "") -> Answer:
        """Server-side apply of an object of one of our kinds."""
        path = f"{object_path(raw)}{subresource}?fieldManager={manager}&force=true&fieldValidation=Strict"
        return self.request("PATCH", path, _as_written(raw), content_type=APPLY)

    def replace(self, raw: Mapping[str, Any], *, subresource: str = "", dry_run: bool = False) -> Answer:
        """Replace an object, or with `/status` its status."""
        dry = "&dryRun=All" if dry_run else ""
        return self.request("PUT", f"{object_path(raw)}{subresource}?fieldValidation=Strict{dry}", raw)

    def get(self, raw: Mapping[str, Any]) -> Answer:
        """The object of this kind and name as it is now."""
        return self.request("GET", object_path(raw))

    def delete(self, raw: Mapping[str, Any]) -> Answer:
        """Delete the object of this kind and name."""
        return self.request("DELETE", object_path(raw))

    def kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl as administrator; the caller looks at the exit code."""
        command = [str(self.programs / "kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)

    def install_crds(self, directory: Path = CHECKOUT / "crds") -> None:
        """Apply the generated CRDs and wait until all are established."""
        done = self.kubectl("apply", "--server-side", *(f"--filename={file}" for file in crd_files(directory)))
        assert done.returncode == 0, done.stderr
        names = [f"crd/{kind.plural}.{GROUP}" for kind in ALL_KINDS]

        def established() -> bool:
            # kubectl wait fails at once on a CRD that has no status yet.
            done = self.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
            assert done.returncode == 0, done.stderr
            return True

        wait_for(established, START_SECONDS, "the CRDs to be established")

    def is_ready(self) -> bool:
        """Whether it answers and all its parts are started."""
        try:
            return self.request("GET", "/readyz").status == 200
        except OSError:
            return False

    def start(self) -> None:
        """Start what does not run and wait until the API server is ready."""
        if "etcd" not in self._processes:
            self._spawn("etcd", *self._etcd_flags())
        if "kube-apiserver" not in self._processes:
            self._spawn("kube-apiserver", *self._api_flags())

        def ready() -> bool:
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended with {process.returncode}: {self._last_words(name)}")
            return self.is_ready()

        wait_for(ready, START_SECONDS, "the API server to be ready")

    def start_controllers(self, *controllers: str) -> None:
        """Start kube-controller-manager with some controllers, such as garbage-collector-controller."""
        self._spawn(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            f"--controllers={','.join(controllers)}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--secure-port=0",
            f"--service-account-private-key-file={self.directory / 'sa.key'}",
            f"--root-ca-file={self.ca_file}",
        )

    def stop_api(self) -> None:
        """End the API server; etcd keeps what it knows, `start` brings it back on the same port."""
        self._end("kube-apiserver")

    def signal_api(self, number: signal.Signals) -> None:
        """Signal the API server, such as SIGSTOP for one that is silent."""
        self._processes["kube-apiserver"].send_signal(number)

    def disconnect(self) -> None:
        """Close the kept connection; the next request opens another."""
        self._forget_connection()

    def stop(self) -> None:
        """End everything."""
        for name in reversed(list(self._processes)):
            self._end(name)

    def back_up(self, copy: Path) -> None:
        """Copy what etcd has; everything is ended for it, and started again."""
        self.stop()
        shutil.copytree(self._etcd_data, copy)
        self.start()

    def restore(self, copy: Path) -> None:
        """Put back what etcd had, its revision with it, as a restore does that leaves the revision as it was."""
        self.stop()
        shutil.rmtree(self._etcd_data)
        shutil.copytree(copy, self._etcd_data)
        self.start()

    @property
    def _etcd_data(self) -> Path:
        return self.directory / "etcd"

    def _spawn(self, name: str, *flags: str) -> None:
        # setpriv: a test run that is killed takes its servers along.
        command = ["setpriv", "--pdeathsig", "KILL", str(self.programs / name), *flags]
        with (self.directory / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _end(self, name: str) -> None:
        process = self._processes.pop(name)
        if name == "kube-apiserver":
            self._forget_connection()
        process.kill()
        process.wait(END_SECONDS)

    def _forget_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _last_words(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")[-2000:]

    def _etcd_flags(self) -> tuple[str, ...]:
        peer, client = (f"http://127.0.0.1:{port}" for port in (free_port(), self.etcd_port))
        return (
            f"--data-dir={self._etcd_data}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=error",
        )

    def _api_flags(self) -> tuple[str, ...]:
        return (
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={self.directory / 'server.crt'}",
            f"--tls-private-key-file={self.directory / 'server.key'}",
            f"--token-auth-file={self.directory / 'tokens.csv'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.directory / 'sa.pub'}",
            f"--service-account-signing-key-file={self.directory / 'sa.key'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--profiling=false",
            "--shutdown-delay-duration=0s",
            *self.extra_flags,
        )


def collection_path(raw: Mapping[str, Any]) -> str:
    """The API path of all objects of a raw object's kind in its namespace."""
    kind = next(kind for kind in ALL_KINDS if kind.name == raw["kind"])
    namespace = f"namespaces/{raw['metadata'].get('namespace', 'default')}/" if kind.namespaced else ""
    return f"/apis/{raw['apiVersion']}/{namespace}{kind.plural}"


def object_path(raw: Mapping[str, Any]) -> str:
    """The API path of a raw object."""
    return f"{collection_path(raw)}/{raw['metadata']['name']}"


def _as_written(raw: Mapping[str, Any]) -> Json:
    """The object without the metadata that the API server gives it."""
    given = {"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"}
    metadata = {name: value for name, value in raw["metadata"].items() if name not in given}
    return {**raw, "metadata": metadata}


def crd_files(directory: Path) -> list[Path]:
    """The generated CRDs in a directory."""
    return sorted(directory.glob(f"{GROUP}_*.yaml"))


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_api_server(directory: Path, *, extra_flags: tuple[str, ...] = ()) -> Iterator[ApiServer]:
    """A control plane that lives as long as the context, without CRDs; `extra_flags` go to kube-apiserver."""
    for program in ("openssl", "setpriv"):
        if shutil.which(program) is None:
            raise LabError(f"{program} is not installed")
    directory.mkdir(parents=True, exist_ok=True)
    _write_credentials(directory)
    server = ApiServer(
        directory=directory,
        port=free_port(),
        etcd_port=free_port(),
        programs=kube_programs(),
        extra_flags=extra_flags,
    )
    server.write_kubeconfig(server.kubeconfig)
    with ExitStack() as stack:
        stack.callback(server.stop)
        server.start()
        yield server


def _write_credentials(directory: Path) -> None:
    authority = Authority(directory=directory)
    authority.create()
    authority.issue("server", user="kube-apiserver", group="test", alternative_names=["IP:127.0.0.1"])
    (directory / "tokens.csv").write_text(f'{ADMIN_TOKEN},admin,admin,"system:masters"\n', encoding="ascii")


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """The session's API server with our CRDs; leave in it nothing that other tests could trip over."""
    with running_api_server(tmp_path_factory.mktemp("api-server")) as server:
        server.install_crds()
        yield server
