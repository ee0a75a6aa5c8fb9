"""The lines of `kubectl lvs status`."""

from dataclasses import replace
from pathlib import Path

import pytest

from lvs_api.conditions import EPOCH
from lvs_api.kinds import VIRTUAL_SERVICE
from lvs_api.objects import parse_object
from lvs_api.virtual_service import AddressPoolReference
from lvs_cli.__main__ import main
from lvs_cli.output import table
from lvs_cli.service_words import Service
from lvs_cli.status import row


def service(generation: int = 1, **status: object) -> Service:
    return parse_object(
        VIRTUAL_SERVICE,
        {
            "apiVersion": "lvs-operator.io/v1alpha1",
            "kind": "LvsVirtualService",
            "metadata": {"name": "web", "namespace": "shop", "generation": generation},
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


def test_a_service_whose_address_is_given_shows_it() -> None:
    asking = service(addresses=["192.168.4.70"])
    reference = AddressPoolReference(name="public")
    spec = asking.spec.model_copy(update={"addresses": None, "address_pool_ref": reference})
    assert row(replace(asking, spec=spec))[2] == "192.168.4.70"
    assert row(replace(asking, spec=spec, status=None))[2] == "-"


def test_a_service_that_is_served() -> None:
    served = service(
        directors=[{"node": "d1", "state": "Active"}, {"node": "d2", "state": "Standby"}],
        realServers={"total": 3, "ready": 2, "draining": 0},
        observedGeneration=1,
        conditions=[condition("Ready", "True", "Ready")],
    )
    assert row(served)[4:] == ("d1", "True", "2/3", "")


def test_a_service_that_waits_for_its_pool_says_so() -> None:
    """The operator's own word on readiness, for it knows which condition is the cause."""
    waiting = service(
        observedGeneration=1,
        conditions=[
            condition("Accepted", "Unknown", "Pending", "Cannot be judged until its references are found"),
            condition("ResolvedRefs", "False", "PoolNotFound", "LvsRealServerPool shop/web does not exist"),
            condition("Programmed", "False", "NotProgrammed", "Nothing has been accepted yet"),
            condition("Ready", "False", "PoolNotFound", "Not ResolvedRefs: LvsRealServerPool shop/web does not exist"),
        ],
    )
    assert row(waiting)[5] == "False"
    assert row(waiting)[-1] == "PoolNotFound: Not ResolvedRefs: LvsRealServerPool shop/web does not exist"


def test_a_service_that_is_ready_with_a_reservation_names_it() -> None:
    ready = condition("Ready", "True", "MembersNotReady", "1 of 2 real servers take connections")
    assert row(service(observedGeneration=1, conditions=[ready]))[-1] == (
        "MembersNotReady: 1 of 2 real servers take connections"
    )


def test_an_edit_that_is_not_carried_out_is_told() -> None:
    edited = service(generation=2, observedGeneration=1, conditions=[condition("Ready", "True", "Ready")])
    assert row(edited)[-1] == "the last edit is not carried out yet"


def test_columns_are_aligned() -> None:
    assert table(("A", "B"), [("long", "x"), ("s", "")]) == "A      B\nlong   x\ns"


CLUSTER = "clusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'%s}}]\ncurrent-context: a\n"
CONTEXT = "contexts: [{name: a, context: {cluster: a, user: u}}]\n"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "no mapping",
        "{ not: [yaml",
        CLUSTER % "",
        CLUSTER % "" + CONTEXT,
        CLUSTER % ", certificate-authority: /nowhere/ca.crt" + CONTEXT + "users: [{name: u, user: {token: x}}]",
    ],
    ids=["absent", "empty", "text", "not-yaml", "no-context", "no-user", "no-authority"],
)
def test_a_kubeconfig_that_cannot_be_used_is_said_without_a_traceback(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config"
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(file))
    assert main(["status"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: the kubeconfig cannot be used (")
    assert said.count("\n") == 1
