"""The page at `/` and the API's at `/docs`: static files, nothing from elsewhere."""

from pathlib import Path
from string import Template
from typing import Any

import fastapi_swagger
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "static"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # ask each time: after an upgrade no browser may mix old files with new ones
}
TEXT = {
    "main": "text.html",
    "script": "page.js",
    "description": "Type a text and see what the model makes of it.",
    "purpose": "Sentiment of short texts, scored on a CPU as you type.",
}
ROW = {
    "main": "row.html",
    "script": "table.js",
    "description": "Give a row of numbers and see what the model makes of it.",
    "purpose": "A row of numbers, predicted from on a CPU as you type.",
}
"""What fills `frame.html`: two pages that differ in their main part."""


class FreshFiles(StaticFiles):
    """Static files with the page's headers."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """The file, or 304 where the browser has it."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(HEADERS)
        return response


files = FreshFiles(directory=FOLDER, packages=[(fastapi_swagger.__name__, "resources")])


def router(*, docs: bool, tabular: bool) -> APIRouter:
    """Pages whose links are all relative, so that they work under any prefix."""
    routes = APIRouter(include_in_schema=False)
    own = ROW if tabular else TEXT
    main = (FOLDER / own["main"]).read_text(encoding="utf-8")
    html = Template((FOLDER / "frame.html").read_text(encoding="utf-8")).substitute(own, main=main)
    if not docs:
        html = html.replace('href="docs"', 'href="openapi.json"')

    @routes.get("/")
    async def page(request: Request) -> Response:
        """A text box whose lines are scored as you type, or the fields of a row."""
        root = request.scope["root_path"]
        if root and request.scope["raw_path"] == root.encode():  # without the slash, links would lead beside it
            return RedirectResponse(f"{root}/", headers=HEADERS)
        return HTMLResponse(html, headers=HEADERS)

    if docs:

        @routes.get("/docs")
        async def swagger(request: Request) -> Response:
            """The API by Swagger UI, which shows and tries what `/openapi.json` says."""
            if request.scope["raw_path"].endswith(b"/"):
                return RedirectResponse("../docs", headers=HEADERS)
            return FileResponse(FOLDER / "docs.html", headers=HEADERS)

    return routes
