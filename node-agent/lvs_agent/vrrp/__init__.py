"""The VRRP daemon, keepalived: a process of its own that outlives the agent, and what the two tell one another."""
