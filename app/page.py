"""The page at `/`: static files, nothing from elsewhere."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "static"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

router = APIRouter(include_in_schema=False)
files = StaticFiles(directory=FOLDER)


@router.get("/")
async def page() -> FileResponse:
    """A text box whose lines are scored as you type."""
    return FileResponse(FOLDER / "index.html", headers=HEADERS)
