"""How the process of a training says why it has no run. Apart, so that the service imports nothing that trains."""

REFUSED = 1
"""Exit status for what the request itself is to blame for."""
UNTRACKED = 3
"""Exit status for an MLflow that did not take the run."""
