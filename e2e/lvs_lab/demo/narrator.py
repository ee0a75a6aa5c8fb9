"""How the demo speaks: chapters, sentences, commands with what they print, lines of a timeline, bars."""

import textwrap
import time
from collections.abc import Mapping

WIDTH = 100
_BAR_WIDTH = 40


class Narrator:
    """Writes to standard output; long steps of the lab show their progress on standard error."""

    def __init__(self, chapters: int) -> None:
        self._chapters = chapters
        self._chapter = 0
        self._begin = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the demo began."""
        return time.monotonic() - self._begin

    def chapter(self, title: str) -> None:
        """Begin the next part."""
        self._chapter += 1
        head = f"[{self._chapter}/{self._chapters}] {title} "
        clock = f" {self.seconds:.0f} s"
        _write(f"\n{head}{'-' * (WIDTH - len(head) - len(clock))}{clock}")

    def say(self, text: str) -> None:
        """A paragraph."""
        _write(textwrap.fill(" ".join(text.split()), WIDTH))

    def show(self, text: str) -> None:
        """Something as it is, indented."""
        _write("\n".join(f"    {line}".rstrip() for line in text.rstrip("\n").splitlines()))

    def command(self, command: str, output: str, *, on: str = "") -> None:
        """A command as one would type it, the machine it ran on, and what it printed."""
        _write(f"  {on}$ {command}")
        self.show(output)

    def moment(self, since: float, text: str) -> None:
        """One line of a timeline: seconds since a point of the monotonic clock, and what was seen."""
        _write(f"    {time.monotonic() - since:5.1f} s  {text}")

    def bars(self, counts: Mapping[str, int]) -> None:
        """Counts by name, with bars."""
        most = max(counts.values(), default=0)
        width = max(map(len, counts), default=0)
        for name, count in sorted(counts.items()):
            bar = "#" * round(_BAR_WIDTH * count / most) if most else ""
            _write(f"    {name:<{width}} {count:>5}  {bar}".rstrip())


def _write(text: str) -> None:
    print(text, flush=True)
