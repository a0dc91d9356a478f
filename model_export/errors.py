"""The one error that a user of the command sees."""


class ExportError(Exception):
    """One clear line for the user; the command exits with status 1."""
