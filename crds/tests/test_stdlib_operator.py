"""The folder `operator/` must never shadow Python's own `operator` module."""

import operator
import sysconfig
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_operator_is_the_standard_library_module() -> None:
    assert Path(str(operator.__file__)).parent == Path(sysconfig.get_paths()["stdlib"])


def test_the_folder_is_not_a_package() -> None:
    assert not (REPOSITORY / "operator" / "__init__.py").exists()
