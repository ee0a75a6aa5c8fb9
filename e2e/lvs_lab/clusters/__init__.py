"""Clusters with real kubelets for the same tests: the lab's own, one by kind, or one that is there already."""
