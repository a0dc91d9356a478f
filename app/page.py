"""The page at `/`: static files, nothing from elsewhere."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "static"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # ask each time: after an upgrade no browser may mix old files with new ones
}

router = APIRouter(include_in_schema=False)


class FreshFiles(StaticFiles):
    """Static files with the page's headers."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """The file, or 304 where the browser has it."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(HEADERS)
        return response


files = FreshFiles(directory=FOLDER)


@router.get("/")
async def page() -> FileResponse:
    """A text box whose lines are scored as you type."""
    return FileResponse(FOLDER / "index.html", headers=HEADERS)
