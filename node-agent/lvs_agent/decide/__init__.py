"""Decisions of the agent: pure, no clock, no I/O."""
