"""The API of lvs-operator: its kinds as types, and the manifests made from them."""
