"""What the agent keeps on disk: what is its own, and the last view; what a disk that takes nothing holds up."""
