"""Bringing what the kernel holds to what it shall be: read, decide, write in order, verify; each thing by itself."""
