"""Health probes: one file each behind one protocol, run in a process of their own."""
