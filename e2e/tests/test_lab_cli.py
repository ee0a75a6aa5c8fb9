"""How `lvs-lab` takes its words apart."""

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


def test_exec_without_a_command_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exec", "d1"]) == 1
    assert capsys.readouterr().err == "lvs-lab: exec: say what to run: lvs-lab exec NODE -- COMMAND\n"
