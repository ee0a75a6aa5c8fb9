"""The meaning of the objects: pure functions over frozen views."""
