"""Seams to the kernel: one narrow protocol each, the real one and a fake."""
