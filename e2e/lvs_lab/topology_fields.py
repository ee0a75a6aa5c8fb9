"""Take values out of parsed YAML one by one; what is wrong, missing or left over is an error that names the field."""

from collections.abc import Iterator, Sequence

import yaml

from lvs_lab.errors import TopologyError


def parse_yaml(text: str, where: str) -> object:
    """The document in a text."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TopologyError(f"{where}: {error}") from error


class Fields:
    """The fields of one mapping, each taken once."""

    def __init__(self, raw: object, where: str) -> None:
        if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
            raise TopologyError(f"{where}: a mapping is wanted, not {type(raw).__name__}")
        self._rest: dict[str, object] = dict(raw)
        self.where = where

    def text(self, key: str, *, default: str | None = None) -> str:
        """A text."""
        value = self._take(key, default)
        if not isinstance(value, str):
            raise TopologyError(f"{self.where}.{key}: a text is wanted, not {value!r}")
        return value

    def choice(self, key: str, choices: Sequence[str], *, default: str) -> str:
        """One of some texts."""
        value = self.text(key, default=default)
        if value not in choices:
            raise TopologyError(f"{self.where}.{key}: {value!r} is none of {', '.join(choices)}")
        return value

    def boolean(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise TopologyError(f"{self.where}.{key}: true or false is wanted, not {value!r}")
        return value

    def integer(self, key: str, *, default: int, least: int) -> int:
        """A whole number."""
        value = self._take(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise TopologyError(f"{self.where}.{key}: a whole number from {least} is wanted, not {value!r}")
        return value

    def items(self, key: str) -> list[object]:
        """A list of anything; a missing one is empty."""
        value = self._take(key, [])
        if not isinstance(value, list):
            raise TopologyError(f"{self.where}.{key}: a list is wanted, not {value!r}")
        return value

    def text_list(self, key: str, *, default: Sequence[str] | None = None) -> list[str]:
        """A list of texts."""
        value = self._take(key, None if default is None else list(default))
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise TopologyError(f"{self.where}.{key}: a list of texts is wanted, not {value!r}")
        return value

    def text_pairs(self, key: str) -> tuple[tuple[str, str], ...]:
        """A mapping of texts to texts; a missing one is empty."""
        value = self._take(key, {})
        if not isinstance(value, dict) or not all(isinstance(k, str) and isinstance(v, str) for k, v in value.items()):
            raise TopologyError(f"{self.where}.{key}: a mapping of texts to (quoted) texts is wanted, not {value!r}")
        return tuple(value.items())

    def mapping(self, key: str) -> "Fields":
        """An inner mapping; a missing one is empty."""
        return Fields(self._take(key, {}), f"{self.where}.{key}")

    def mappings(self, key: str) -> Iterator[tuple[str, "Fields"]]:
        """The inner mappings of a mapping by their names; a missing one is empty."""
        where = f"{self.where}.{key}"
        value = self._take(key, {})
        if not isinstance(value, dict):
            raise TopologyError(f"{where}: a mapping is wanted, not {value!r}")
        for name, inner in value.items():
            yield str(name), Fields(inner, f"{where}.{name}")

    def rest(self) -> dict[str, object]:
        """What was not taken."""
        return self._rest

    def refuse_rest(self) -> None:
        """Call when all is taken: a field that nobody asked for is a mistake of the writer."""
        if self._rest:
            raise TopologyError(f"{self.where}: unknown field {', '.join(sorted(self._rest))}")

    def _take(self, key: str, default: object) -> object:
        value = self._rest.pop(key, default)
        if value is None:
            raise TopologyError(f"{self.where}.{key}: is missing")
        return value
