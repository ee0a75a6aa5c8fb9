"""The FTP helper without a kernel, for unit tests."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class FakeFtpHelper:
    """`FtpHelper` in memory. `module` is what it would follow once loaded; None: the kernel has no such module."""

    module: frozenset[int] | None = frozenset({21})
    loaded: bool = False
    reads: int = 0
    loads: int = 0

    def ports(self) -> frozenset[int]:
        """Nothing while it is not loaded."""
        self.reads += 1
        return self.module if self.loaded and self.module is not None else frozenset()

    def load(self) -> None:
        """Where there is one it is there then."""
        self.loads += 1
        self.loaded = self.module is not None
