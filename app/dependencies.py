"""What endpoints ask for, read from the request's state."""

from typing import Annotated

from fastapi import Depends, Request

from app.lifecycle import Lifecycle


def lifecycle(request: Request) -> Lifecycle:
    """The worker's lifecycle, put into the state by the lifespan."""
    found: Lifecycle = request.state.lifecycle
    return found


LifecycleDep = Annotated[Lifecycle, Depends(lifecycle)]
