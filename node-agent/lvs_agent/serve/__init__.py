"""What the agent tells those who ask: health, metrics, its table, its plan; and the counters it zeroes for them."""
