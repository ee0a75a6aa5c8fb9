"""Write what is generated from the types: CRDs, the chart's copies of them, the API reference.

`python -m lvs_api.generate` writes, `--check` compares and names what differs. A tool of the checkout: it is the only
module here that touches files, and the only one that needs PyYAML.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from lvs_api.api_group import GROUP
from lvs_api.api_reference import api_reference
from lvs_api.crd_manifest import crd_manifest
from lvs_api.kinds import ALL_KINDS
from lvs_api.structural_schema import Schema

REPOSITORY: Final = Path(__file__).parents[2]
CHART_CRDS: Final = Path("charts/lvs-operator/templates/crds")
_HEADER: Final = "# Generated from crds/lvs_api by `make generate`; do not edit.\n"
_CHART_ANNOTATION: Final = """  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
"""


class _PlainDumper(yaml.SafeDumper):
    """YAML without anchors: the same rules in two places are written twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401, ARG002 -- the signature of the base class
        return True


def generated_files() -> Iterator[tuple[Path, str]]:
    """Every generated file: its path in the repository and its text."""
    for kind in ALL_KINDS:
        name = f"{GROUP}_{kind.plural}.yaml"
        text = _to_yaml(crd_manifest(kind))
        yield Path("crds") / name, _HEADER + text
        yield CHART_CRDS / name, _chart_copy(text)
    yield Path("docs/reference/api.md"), api_reference(ALL_KINDS)


def _to_yaml(manifest: Schema) -> str:
    return yaml.dump(manifest, Dumper=_PlainDumper, sort_keys=False, width=110, allow_unicode=True)


def _chart_copy(text: str) -> str:
    """The CRD as a template: left out by `crds.enabled=false`, kept on uninstall by `crds.keep`."""
    if "{{" in text:
        raise ValueError("a description holds {{, which Helm would read")
    before, after = text.split("\nspec:\n", maxsplit=1)
    return f"{_HEADER}{{{{- if .Values.crds.enabled }}}}\n{before}\n{_CHART_ANNOTATION}spec:\n{after}{{{{- end }}}}\n"


def main(arguments: list[str] | None = None) -> int:
    """Write or compare; the exit code is 1 where something differs."""
    parser = argparse.ArgumentParser(prog="python -m lvs_api.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args(arguments).check
    stale = [(path, text) for path, text in generated_files() if _present(path) != text]
    for path, text in stale:
        sys.stderr.write(f"{path}: {'differs from the types: run make generate' if check else 'written'}\n")
        if not check:
            (REPOSITORY / path).parent.mkdir(parents=True, exist_ok=True)
            (REPOSITORY / path).write_text(text, encoding="utf-8")
    return 1 if check and stale else 0


def _present(path: Path) -> str | None:
    file = REPOSITORY / path
    return file.read_text(encoding="utf-8") if file.exists() else None


if __name__ == "__main__":
    sys.exit(main())
