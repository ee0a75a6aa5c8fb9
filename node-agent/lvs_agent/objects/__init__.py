"""Its objects: from an API server or from files, with what is held of those that went; and what is said back."""
