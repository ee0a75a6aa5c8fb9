"""The manifest of the agents' DaemonSet that the operator is given."""

from pathlib import Path

import pytest

from lvs_operator.agent_daemonset import ANNOTATION_DIGEST, read_template
from lvs_operator.errors import SettingsError

GOOD = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agents, namespace: elsewhere}
spec:
  selector: {matchLabels: {a: b}}
  updateStrategy: {type: OnDelete}
  template:
    metadata: {labels: {a: b}}
    spec: {containers: [{name: agent, image: i}], nodeSelector: null}
"""


def test_what_places_the_pods_is_the_operators(tmp_path: Path) -> None:
    file = tmp_path / "ds.yaml"
    file.write_text(GOOD)
    manifest = read_template(file, "here")
    assert manifest["metadata"]["namespace"] == "here"
    pod = manifest["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"lvs-operator.io/node-agent": "wanted"}
    assert pod["hostNetwork"] is True
    assert pod["containers"] == [{"name": "agent", "image": "i"}]
    assert manifest["spec"]["updateStrategy"] == {"type": "OnDelete"}  # the administrator's choice stays


def test_a_manifest_that_lost_something_is_told_from_the_one_before(tmp_path: Path) -> None:
    """All that it has left is in the DaemonSet already."""
    file = tmp_path / "ds.yaml"

    def digest(text: str) -> str:
        file.write_text(text)
        return str(read_template(file, "here")["metadata"]["annotations"][ANNOTATION_DIGEST])

    whole = GOOD.replace("image: i", "image: i, args: [run, --more]")
    less = whole.replace(", --more", "")
    assert digest(whole) == digest(whole)
    assert digest(whole) != digest(less)
    assert digest(GOOD.replace("elsewhere}", "elsewhere, annotations: {a: b}}")) != digest(GOOD)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not YAML"),
        ("apiVersion: apps/v1\nkind: Deployment", "not one apps/v1 DaemonSet"),
        ("- a", "not one apps/v1 DaemonSet"),
        ("apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: x}", "required"),
        ("apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {}\nspec: {template: {spec: {}}}", "required"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "ds.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=rf"ds\.yaml: .*{said}"):
        read_template(file, "here")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="none: No such file"):
        read_template(tmp_path / "none", "here")
