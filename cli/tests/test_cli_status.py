"""The lines of `kubectl lvs status`."""

from pathlib import Path

import pytest

from lvs_api.conditions import EPOCH
from lvs_api.kinds import VIRTUAL_SERVICE
from lvs_api.objects import parse_object
from lvs_cli.__main__ import main
from lvs_cli.output import table
from lvs_cli.status import Service, row


def service(**status: object) -> Service:
    return parse_object(
        VIRTUAL_SERVICE,
        {
            "apiVersion": "lvs-operator.io/v1alpha1",
            "kind": "LvsVirtualService",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "addresses": ["192.168.4.15"],
                "ports": [{"name": "http", "port": 80}],
                "realServerPoolRef": {"name": "web"},
            },
            **({"status": status} if status else {}),
        },
    )


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": EPOCH}


def test_a_service_that_nobody_has_seen() -> None:
    assert row(service()) == (
        "shop", "web", "192.168.4.15", "80/TCP", "-", "Unknown", "-", "not seen by the operator yet",
    )  # fmt: skip


def test_a_service_that_is_served() -> None:
    served = service(
        directors=[{"node": "d1", "state": "Active"}, {"node": "d2", "state": "Standby"}],
        realServers={"total": 3, "ready": 2, "draining": 0},
        conditions=[condition("Ready", "True", "Ready")],
    )
    assert row(served)[4:] == ("d1", "True", "2/3", "")


def test_the_first_cause_is_named() -> None:
    refused = service(
        conditions=[
            condition("Ready", "False", "PoolNotFound", "later"),
            condition("ResolvedRefs", "False", "PoolNotFound", "LvsRealServerPool shop/web does not exist"),
        ]
    )
    assert row(refused)[-1] == "PoolNotFound: LvsRealServerPool shop/web does not exist"


def test_columns_are_aligned() -> None:
    assert table(("A", "B"), [("long", "x"), ("s", "")]) == "A      B\nlong   x\ns"


def test_a_missing_kubeconfig_is_said_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    assert main(["status"]) == 1
    assert capsys.readouterr().err.startswith("error: the kubeconfig cannot be used")
