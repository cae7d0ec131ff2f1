"""The description of the API as a page: Swagger UI from the package fastapi-offline, so that it needs no other site."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

_PAGE_FOLDER = Path(__file__).parent / "docs_page"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}


def add_docs(app: FastAPI) -> None:
    """Serve the page at /docs and what it loads below."""

    @app.get("/docs", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(_PAGE_FOLDER / "index.html", headers=_HEADERS)

    @app.get("/docs/start.js", include_in_schema=False)
    def start() -> FileResponse:
        return FileResponse(_PAGE_FOLDER / "start.js")

    app.mount("/docs/swagger-ui", StaticFiles(packages=[("fastapi_offline", "static")]))
