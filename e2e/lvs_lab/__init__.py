"""The lab: nodes with real kernels and a real control plane on one machine."""
