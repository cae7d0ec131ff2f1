"""The page for people: `api/site/web/`, plain files without a build step, served at `/` and below `/web/`."""

import os
from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_FOLDER = Path(__file__).parent / "web"
_HEADERS = {
    # blob: is how pictures reach an <img>, for they need the key in a header.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    # Asked for again each time, answered with 304: no browser mixes the modules of two versions.
    "Cache-Control": "no-cache",
}


class _Files(StaticFiles):
    """The files with their headers; an ETag each."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_HEADERS)
        return response


def add_page(app: FastAPI) -> None:
    """Serve the page at / and what it loads at /web/."""
    files = _Files(directory=_FOLDER)

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)

    app.mount("/web", files)
