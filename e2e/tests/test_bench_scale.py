"""What the measurement of the control loop makes and reads by itself."""

import json
from pathlib import Path

import pytest

from bench.audit_log import AuditedWrite, AuditLog
from bench.commit_latency import endpoints, our_objects, servers, their_objects
from bench.control_loop import is_of
from bench.large_table import Shape
from bench.many_objects import ManyObjects
from lvs_api.kinds import REAL_SERVER_POOL, VIRTUAL_SERVICE
from lvs_api.objects import find_violations, parse_object

FEW = ManyObjects(shape=Shape(services=3, real_servers=10))


def test_the_objects_are_good_and_share_no_address() -> None:
    addresses: list[str] = []
    for pool, service in FEW.pairs():
        read_pool, read_service = parse_object(REAL_SERVER_POOL, pool), parse_object(VIRTUAL_SERVICE, service)
        assert (*find_violations(read_pool), *find_violations(read_service)) == ()
        addresses += [*(read_service.spec.addresses or ()), *(one.address for one in read_pool.spec.real_servers or ())]
    assert len(set(addresses)) == len(addresses) == 3 * 11


def test_objects_on_their_way_to_a_kernel_are_good() -> None:
    texts = [json.loads(text) for text in our_objects(range(1000), 10)]
    for raw in texts:
        kind = REAL_SERVER_POOL if raw["kind"] == "LvsRealServerPool" else VIRTUAL_SERVICE
        assert find_violations(parse_object(kind, {**raw, "metadata": {**raw["metadata"], "uid": "1"}})) == ()
    assert len(texts) == len(list(their_objects(range(1000), 10))) == 2000
    assert [one["address"] for one in servers(7, 12)] == [one["addresses"][0] for one in endpoints(7, 12)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("many-1", True),
        ("many-1-0a1b2c3d-0", True),
        ("many-1.18b0", True),
        ("many-10", False),
        ("many-10-0a1b-0", False),
    ],
)
def test_objects_are_of_the_service_whose_name_they_carry(name: str, expected: bool) -> None:
    assert is_of("many-1", name) is expected


def event(verb: str, resource: str, code: int = 200, **more: str) -> str:
    asked = {"resource": resource, "name": "many-1", **more}
    return json.dumps({"user": {"username": "u"}, "verb": verb, "objectRef": asked, "responseStatus": {"code": code}})


def test_the_audit_log_is_read_on_by_whole_lines_and_without_refusals(tmp_path: Path) -> None:
    audit = AuditLog(directory=tmp_path)
    audit.flags()
    log = tmp_path / "audit.log"
    status = event("patch", "lvsnodes", subresource="status")
    log.write_text(f"{event('create', 'lvsnodes')}\n{event('patch', 'lvsnodes', 409)}\n{status[:20]}")
    assert audit.news() == [AuditedWrite("u", "create", "lvsnodes", "many-1")]
    log.write_text(f"{log.read_text()}{status[20:]}\n")
    assert audit.news() == [AuditedWrite("u", "patch", "lvsnodes/status", "many-1")]
    assert audit.news() == []
