"""What the service counts of a caller with limits."""

from tests.conftest import Service


def limited(service: Service, name: str) -> float:
    """How often this caller was told to wait."""
    return service.metric(f'valence_key_requests_limited_total{{key="{name}"}}')
