"""The files for GitOps tools: health of recorded objects, one text wherever it stands, CRDs that fit an annotation."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvs_api.kinds import ALL_KINDS
from lvs_lab.artifacts import CHECKOUT
from support.health_checks import GITOPS, LUA, argo_health, flux_expressions, flux_health, kstatus

USER_KINDS = ("LvsVirtualService", "LvsRealServerPool", "LvsDirectorGroup", "LvsAddressPool")
RECORDED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "judged_objects.json").read_text())
LARGEST_ANNOTATION = 256 * 1024
"""Client-side apply keeps the whole object in one; apimachinery `TotalAnnotationSizeLimitB`."""


@pytest.mark.parametrize("one", RECORDED, ids=lambda one: one["title"])
def test_recorded_objects_are_judged(one: dict[str, Any]) -> None:
    raw = one["object"]
    assert (kstatus(raw), argo_health(raw)[0], flux_health(raw)) == (one["kstatus"], one["argo"], one["flux"])
    assert one["says"] in argo_health(raw)[1]


def test_every_judgement_is_among_them() -> None:
    assert {one["argo"] for one in RECORDED} == {"Healthy", "Progressing", "Degraded"}
    assert {one["flux"] for one in RECORDED} == {"Current", "InProgress", "Failed"}
    assert {one["object"]["kind"] for one in RECORDED} == set(USER_KINDS)


def test_argo_cd_has_the_script_for_each_kind_that_users_write() -> None:
    data = yaml.safe_load((GITOPS / "argocd" / "argocd-cm.yaml").read_text())["data"]
    for kind in USER_KINDS:
        assert data[f"resource.customizations.health.lvs-operator.io_{kind}"] == LUA.read_text()
    (excluded,) = yaml.safe_load(data["resource.exclusions"])
    assert set(excluded["kinds"]) == {kind.name for kind in ALL_KINDS} - set(USER_KINDS)


def test_flux_has_expressions_for_each_kind_that_users_write() -> None:
    for kind in USER_KINDS:
        assert set(flux_expressions(kind)) == {"current", "failed"}


@pytest.mark.parametrize("crd", sorted((CHECKOUT / "crds").glob("*.yaml")), ids=lambda path: path.stem)
def test_crds_fit_into_an_annotation(crd: Path) -> None:
    assert len(json.dumps(yaml.safe_load(crd.read_text()))) < LARGEST_ANNOTATION
