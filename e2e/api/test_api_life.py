"""What the API server makes of our kinds over an object's life: discovery, help, edits, writes that change nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lvs_api.api_group import CATEGORY
from lvs_api.kinds import ALL_KINDS, Kind
from lvs_api.objects import parse_object, to_raw
from lvs_api.testing import director_group, lvs_node, real_server_pool, service_slice, virtual_service
from support.api_case import changed
from support.api_mutations import full_objects, full_statuses
from support.api_server import ApiServer

Raw = dict[str, Any]


@contextmanager
def stored(server: ApiServer, raw: Raw) -> Iterator[Raw]:
    """The object as the API server stored it, until the end of the block."""
    yield server.create(raw).raise_for_status()
    server.delete(raw).raise_for_status()


def path_as_id(part: object) -> str:
    return ".".join(part) if isinstance(part, tuple) else ""


TRANSITIONS = [
    (virtual_service("moved"), ("spec", "directorGroupRef"), {"name": "other"}),
    (service_slice("moved"), ("spec", "serviceRef", "uid"), "another"),
    (service_slice("moved"), ("spec", "directorGroup"), "other"),
    (service_slice("moved", index=1), ("spec", "index"), 2),
]


@pytest.mark.parametrize(("raw", "path", "value"), TRANSITIONS, ids=path_as_id)
def test_what_is_immutable(api_server: ApiServer, raw: Raw, path: tuple[str, ...], value: object) -> None:
    with stored(api_server, raw) as present:
        answer = api_server.replace(changed(present, path, value))
        assert answer.status == 422
        assert ".".join(path[:2]) in answer.fields, answer.message
        assert "immutable" in answer.message


def test_the_default_group_told_and_untold_are_the_same(api_server: ApiServer) -> None:
    with stored(api_server, virtual_service("told")) as present:
        told = changed(present, ("spec", "directorGroupRef"), {"name": "default"})
        untold = changed(api_server.replace(told).raise_for_status(), ("spec",), virtual_service("told")["spec"])
        assert api_server.replace(untold).raise_for_status()["metadata"]["generation"] == 1


EDITS: list[tuple[tuple[str, ...], object]] = [
    (("spec", "scheduler"), "rr"),
    (("spec", "forwarding"), {"method": "Tunnel"}),
    (("spec", "addresses"), ["10.0.0.1", "2001:db8::1"]),
    (("spec", "paused"), True),
    (("spec", "realServerPoolRef", "name"), "another"),
]


@pytest.mark.parametrize(("path", "value"), EDITS, ids=path_as_id)
def test_what_may_be_edited(api_server: ApiServer, path: tuple[str, ...], value: object) -> None:
    with stored(api_server, virtual_service("edited")) as present:
        edited = api_server.replace(changed(present, path, value)).raise_for_status()
        assert edited["metadata"]["generation"] == 2


@pytest.mark.parametrize("raw", full_objects(), ids=lambda raw: raw["kind"])
def test_applying_again_changes_nothing(api_server: ApiServer, raw: Raw) -> None:
    """A default status is not stored at creation, only shown; the first write after that stores it, once."""
    first, second, third = (api_server.apply(raw).raise_for_status() for _ in range(3))
    try:
        assert third == second
        del first["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]
        assert second == first
    finally:
        api_server.delete(raw).raise_for_status()


@pytest.mark.parametrize("raw", full_objects(), ids=lambda raw: raw["kind"])
def test_what_we_write_is_stored_as_written(api_server: ApiServer, raw: Raw) -> None:
    kind = next(kind for kind in ALL_KINDS if kind.name == raw["kind"])
    written = {**raw, "spec": to_raw(parse_object(kind, raw).spec)}
    answer = api_server.create(written, dry_run=True).raise_for_status()
    assert answer["spec"] == written["spec"]
    assert to_raw(parse_object(kind, answer).spec) == written["spec"]


@pytest.mark.parametrize("raw", full_statuses(), ids=lambda raw: raw["kind"])
def test_a_status_written_again_changes_nothing(api_server: ApiServer, raw: Raw) -> None:
    with stored(api_server, raw) as present:
        kind = next(kind for kind in ALL_KINDS if kind.name == raw["kind"])
        status = parse_object(kind, raw).status
        assert status is not None
        first = api_server.replace({**present, "status": to_raw(status)}, subresource="/status").raise_for_status()
        assert first["status"] == to_raw(status)
        second = api_server.replace({**first, "status": to_raw(status)}, subresource="/status").raise_for_status()
        assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_status_and_spec_have_each_their_own_door(api_server: ApiServer) -> None:
    with stored(api_server, virtual_service("doors")) as present:
        by_spec = api_server.replace(changed(present, ("status",), {"realServers": {"total": 9}})).raise_for_status()
        assert "realServers" not in by_spec["status"]
        both = changed(changed(by_spec, ("spec", "scheduler"), "rr"), ("status",), {"realServers": {"total": 9}})
        by_status = api_server.replace(both, subresource="/status").raise_for_status()
        assert by_status["spec"]["scheduler"] == "wlc"
        assert by_status["status"]["realServers"]["total"] == 9


def test_absence_and_null_are_the_same(api_server: ApiServer) -> None:
    spoiled = changed(virtual_service("null"), ("spec", "persistence"), None)
    spoiled = changed(spoiled, ("spec", "scheduler"), None)
    answer = api_server.create(spoiled, dry_run=True).raise_for_status()
    assert "persistence" not in answer["spec"]
    kind = next(kind for kind in ALL_KINDS if kind.name == spoiled["kind"])
    assert parse_object(kind, spoiled).spec == parse_object(kind, answer).spec


def test_the_category_finds_every_kind(api_server: ApiServer) -> None:
    listed = api_server.kubectl("api-resources", f"--categories={CATEGORY}", "--no-headers", "--output=name")
    assert {line.split(".")[0] for line in listed.stdout.split()} == {kind.plural for kind in ALL_KINDS}


@pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.name)
def test_help_and_tables(api_server: ApiServer, kind: Kind[Any, Any]) -> None:
    explained = api_server.kubectl("explain", f"{kind.short_name}.spec")
    assert explained.returncode == 0, explained.stderr
    assert (kind.spec.__doc__ or "?").split(".")[0].split(":")[0] in " ".join(explained.stdout.split())
    table = api_server.kubectl("get", kind.short_name, "--all-namespaces", "--output=wide")
    assert table.returncode == 0, table.stderr


def test_the_table_of_a_service(api_server: ApiServer) -> None:
    raw = full_statuses()[0]
    with stored(api_server, raw) as present:
        api_server.replace({**present, "status": raw["status"]}, subresource="/status").raise_for_status()
        table = api_server.kubectl("get", "lvsvs", raw["metadata"]["name"])
        head, row = (line.split() for line in table.stdout.splitlines())
        shown = dict(zip(head, row, strict=True))
        del shown["AGE"]
        assert shown == {
            "NAME": "status",
            "ADDRESS": '["192.168.4.15"]',
            "SCHEDULER": "wlc",
            "FORWARDING": "DirectRouting",
            "DIRECTOR": "d1",
            "SERVERS": "3",
            "UP": "2",
            "READY": "True",
        }


def test_field_selectors(api_server: ApiServer) -> None:
    with stored(api_server, virtual_service("a")), stored(api_server, virtual_service("b")):
        found = api_server.kubectl("get", "lvsvs", "--field-selector=spec.realServerPoolRef.name=b", "--output=name")
        assert found.stdout.split() == ["lvsvirtualservice.lvs-operator.io/b"], found.stderr


def test_kubectl_wait_is_not_fooled_by_a_fresh_object(api_server: ApiServer) -> None:
    with stored(api_server, virtual_service("waited")):
        waited = api_server.kubectl("wait", "--for=condition=Ready", "--timeout=0s", "lvsvs/waited")
        assert waited.returncode != 0
        unknown = api_server.kubectl("wait", "--for=condition=Ready=Unknown", "--timeout=10s", "lvsvs/waited")
        assert unknown.returncode == 0, unknown.stderr


def test_builders_are_taken(api_server: ApiServer) -> None:
    for raw in (
        virtual_service(),
        real_server_pool(),
        director_group(),
        service_slice(),
        service_slice(index=1),
        lvs_node(),
    ):
        api_server.create(raw, dry_run=True).raise_for_status()
