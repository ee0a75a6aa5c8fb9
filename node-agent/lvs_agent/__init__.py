"""The node agent: makes one node what the objects say."""
