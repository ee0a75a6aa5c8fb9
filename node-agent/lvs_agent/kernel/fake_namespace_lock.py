"""The lock of a network namespace without a kernel, for unit tests."""

from dataclasses import dataclass, field

from lvs_agent.errors import NamespaceInUse


@dataclass(kw_only=True)
class FakeNamespaceLock:
    """`NamespaceLock` among the fakes that share `namespace`."""

    namespace: set[str] = field(default_factory=set)
    held: bool = False

    def acquire(self) -> None:
        """Take it, or raise NamespaceInUse."""
        if "agent" in self.namespace:
            raise NamespaceInUse("another lvs-agent works in this network namespace")
        self.namespace.add("agent")
        self.held = True

    def release(self) -> None:
        """Give it back."""
        if self.held:
            self.namespace.discard("agent")
            self.held = False
