"""What a user of the plug-in can do wrong or meet, each with what to do."""


class CliError(Exception):
    """A sentence for the user; exit code 1."""
