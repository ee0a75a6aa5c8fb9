"""A certificate authority of the lab's own, and kubeconfig files made with it."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from lvs_lab.host_commands import run

_DAYS = "3650"


@dataclass(frozen=True, kw_only=True, slots=True)
class Authority:
    """The authority, whose files and whose certificates' files lie in one directory."""

    directory: Path

    @property
    def certificate(self) -> Path:
        """The authority's own certificate."""
        return self.directory / "ca.crt"

    def create(self) -> None:
        """Make the authority and the key pair of ServiceAccount tokens."""
        self.directory.mkdir(parents=True, exist_ok=True)
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        files = ["-keyout", str(self.directory / "ca.key"), "-out", str(self.certificate)]
        # Python 3.13 verifies strictly (RFC 5280): an authority without this extension is refused there.
        usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        run(["openssl", "req", "-x509", *curve, *files, *usage, "-days", _DAYS, "-subj", "/CN=lvs-lab"])
        key, public = str(self.directory / "sa.key"), str(self.directory / "sa.pub")
        run(["openssl", "genrsa", "-out", key, "2048"])
        run(["openssl", "rsa", "-in", key, "-pubout", "-out", public])

    def issue(self, name: str, *, user: str, group: str, alternative_names: Sequence[str] = ()) -> None:
        """Make NAME.crt and NAME.key for a user of the API, or for a server with these names (`IP:...`, `DNS:...`)."""
        key, request, certificate = (self.directory / f"{name}.{kind}" for kind in ("key", "csr", "crt"))
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        run(["openssl", "req", *curve, "-keyout", str(key), "-out", str(request), "-subj", f"/O={group}/CN={user}"])
        extensions = "extendedKeyUsage=clientAuth,serverAuth\n"
        if alternative_names:
            extensions += f"subjectAltName={','.join(alternative_names)}\n"
        authority = [
            "-CA",
            str(self.certificate),
            "-CAkey",
            str(self.directory / "ca.key"),
            "-CAcreateserial",
            "-days",
            _DAYS,
        ]
        signing = [
            "openssl",
            "x509",
            "-req",
            "-in",
            str(request),
            *authority,
            "-out",
            str(certificate),
            "-extfile",
            "/dev/stdin",
        ]
        run(signing, stdin=extensions)
        request.unlink()

    def certificate_kubeconfig(self, name: str, server: str) -> str:
        """A kubeconfig with the certificate of that name."""
        user = {
            "client-certificate-data": _base64(self.directory / f"{name}.crt"),
            "client-key-data": _base64(self.directory / f"{name}.key"),
        }
        return self._kubeconfig(user, server)

    def token_kubeconfig(self, token: str, server: str) -> str:
        """A kubeconfig with a ServiceAccount's token."""
        return self._kubeconfig({"token": token}, server)

    def _kubeconfig(self, user: dict[str, str], server: str) -> str:
        cluster = {"server": server, "certificate-authority-data": _base64(self.certificate)}
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "lab", "cluster": cluster}],
                "users": [{"name": "lab", "user": user}],
                "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
                "current-context": "lab",
            }
        )


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
