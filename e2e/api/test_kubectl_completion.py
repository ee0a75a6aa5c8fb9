"""A real kubectl finds `kubectl_complete-lvs` and offers what the API server has."""

import os
import sys
from pathlib import Path

import pytest

from lvs_api.testing import real_server_pool, virtual_service
from lvs_lab.host_commands import run
from support.api_server import ApiServer

PROGRAMS = {"kubectl-lvs": "lvs_cli", "kubectl_complete-lvs": "lvs_cli.complete"}


@pytest.mark.parametrize(
    ("words", "proposals"),
    [(("zero", ""), ["completed"]), (("zero", "--namespace", ""), ["default"]), (("list", "--so"), ["--sort"])],
)
def test_kubectl_completes(api_server: ApiServer, tmp_path: Path, words: tuple[str, ...], proposals: list[str]) -> None:
    for name, module in PROGRAMS.items():
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    environment = {
        **os.environ,
        "KUBECONFIG": str(api_server.kubeconfig),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }
    objects = [real_server_pool("completed"), virtual_service("completed")]
    for raw in objects:
        api_server.create(raw).raise_for_status()
    try:
        command = [str(api_server.programs / "kubectl"), "__complete", "lvs", *words]
        assert run(command, env=environment).stdout.splitlines() == [*proposals, ":4"]
    finally:
        for raw in objects:
            api_server.delete(raw).raise_for_status()
