"""How `lvs-lab` takes its words apart."""

import os
from pathlib import Path

import pytest

from lvs_lab.cli import main, split_words


@pytest.mark.parametrize(
    ("typed", "ours", "theirs"),
    [
        ("exec d1 -- ls -la", "exec d1", "ls -la"),
        ("exec d1 --name x -- sh -c kubectl", "exec d1 --name x", "sh -c kubectl"),
        ("exec d1 -- kubectl get", "exec d1", "kubectl get"),
        ("kubectl -n default get pods", "kubectl", "-n default get pods"),
        ("kubectl --name x exec p -- ls", "kubectl --name x", "exec p -- ls"),
        ("--name x helm list -A", "--name x helm", "list -A"),
        ("link d1 loss=5% delay=20ms --device eth1", "link d1 loss=5% delay=20ms --device eth1", ""),
    ],
)
def test_words_of_other_programs_are_left_alone(typed: str, ours: str, theirs: str) -> None:
    assert split_words(typed.split()) == (ours.split(), theirs.split())


@pytest.mark.parametrize("typed", ["", "fly", "exec", "link d1", "serve d1 --port x"])
def test_what_can_not_be_meant_is_refused_with_usage(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(typed.split())
    assert ended.value.code == 2
    assert "usage: lvs-lab" in capsys.readouterr().err


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who runs these tests does not matter to what they look at."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.mark.usefixtures("root")
def test_exec_without_a_command_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exec", "d1"]) == 1
    assert capsys.readouterr().err == "lvs-lab: exec: say what to run: lvs-lab exec NODE -- COMMAND\n"


@pytest.mark.usefixtures("root")
def test_a_topology_that_is_no_text_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    assert main(["up", "--topology", str(file)]) == 1
    assert capsys.readouterr().err.startswith(f"lvs-lab: --topology {file}: can not be read: ")


@pytest.mark.usefixtures("root")
def test_images_that_can_not_be_taken_are_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", "--topology", "kubelet", "--image", str(tmp_path / "absent")]) == 1
    assert capsys.readouterr().err == f"lvs-lab: --image {tmp_path / 'absent'}: there is no such file\n"
    (tmp_path / "there").touch()
    assert main(["up", "--image", str(tmp_path / "there")]) == 1
    assert "no node with a kubelet" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["up", "down", "status", "prepare"])
def test_whoever_is_not_root_is_told(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main([verb]) == 1
    assert capsys.readouterr().err.endswith("run it as root\n")
