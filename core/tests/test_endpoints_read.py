"""EndpointSlices as they are read, and what becomes of one that cannot be."""

from typing import Any

import pytest
from core_conditions import condition
from endpoint_objects import HTTP, Raw, brief, endpoint_slice, pods_cluster, tell

from lvs_api.conditions import ConditionType
from lvs_core.endpoints import endpoint_slice_from_raw

ONE, TWO, THREE = "10.1.0.1", "10.1.0.2", "10.1.0.3"


def test_addresses_that_no_host_has_are_left_out() -> None:
    raw = endpoint_slice({"169.254.1.1": None, "127.0.0.1": None, ONE: None}, HTTP)
    raw["endpoints"].append({"addresses": [TWO, THREE]})
    assert [one.address for one in endpoint_slice_from_raw(raw).endpoints] == [ONE, TWO]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"endpoints": {"10.1.0.1": {}}}, "endpoints"),
        ({"endpoints": ["10.1.0.1"]}, "endpoints"),
        ({"endpoints": [{"addresses": ["10.1.0.1"], "conditions": ["ready"]}]}, "conditions"),
        ({"ports": {"http": 8080}}, "ports"),
    ],
    ids=str,
)
def test_what_cannot_be_read_freezes_what_runs(changes: dict[str, Any], field: str) -> None:
    cluster = pods_cluster()
    good: Raw = endpoint_slice({ONE: None, TWO: None}, HTTP)
    tell(cluster, good)
    cluster.settle()
    before = brief(cluster)
    assert before == {ONE: "8080 1", TWO: "8080 1"}
    tell(cluster, {**good, **changes}, endpoint_slice({THREE: None}, HTTP, name="pods-2"))
    cluster.settle()
    assert brief(cluster) == before
    said = condition(cluster, ConditionType.RESOLVED_REFS)
    assert said.reason == "EndpointsUnknown"
    assert f"EndpointSlice default/pods-1 of Service default/pods can not be read: {field}: " in said.message
    tell(cluster, endpoint_slice({THREE: None}, HTTP, name="pods-2"))
    cluster.settle()
    assert brief(cluster) == {THREE: "8080 1"}
