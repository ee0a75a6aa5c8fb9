"""The operator: accepts services, resolves pools, writes what the agents act on."""
