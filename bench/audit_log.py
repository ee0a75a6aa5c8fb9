"""Who wrote what, by the API server's audit log."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import yaml

_VERBS: Final = ["create", "update", "patch", "delete", "deletecollection"]
_FAILED: Final = 300


class AuditedWrite(NamedTuple):
    """A write that the API server took."""

    user: str
    verb: str
    resource: str
    """Plural, with the subresource: `lvsnodes/status`."""
    name: str


@dataclass(kw_only=True)
class AuditLog:
    """The log of one API server, read on from where it was read last."""

    directory: Path
    _read: int = 0

    def flags(self) -> tuple[str, ...]:
        """What kube-apiserver is to be started with."""
        policy = self.directory / "audit-policy.yaml"
        kind = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"]}
        rules = [{"level": "Metadata", "verbs": _VERBS}, {"level": "None"}]
        policy.write_text(yaml.safe_dump({**kind, "rules": rules}), encoding="ascii")
        self._file.touch()
        return (f"--audit-policy-file={policy}", f"--audit-log-path={self._file}", "--audit-log-mode=blocking")

    def news(self) -> list[AuditedWrite]:
        """What was written since the last look; the log has a write before its answer is sent."""
        with self._file.open("rb") as log:
            log.seek(self._read)
            text = log.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return list(_writes(whole.decode()))

    @property
    def _file(self) -> Path:
        return self.directory / "audit.log"


def _writes(text: str) -> Iterator[AuditedWrite]:
    for line in text.splitlines():
        event = json.loads(line)
        asked = event.get("objectRef") or {}
        if event["responseStatus"]["code"] < _FAILED:
            resource = "/".join(filter(None, (asked.get("resource"), asked.get("subresource"))))
            yield AuditedWrite(event["user"]["username"], event["verb"], resource, asked.get("name", ""))
