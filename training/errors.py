"""The one error that a user of the commands sees."""


class TrainingError(Exception):
    """One clear line for the user; the command exits with status 1."""
