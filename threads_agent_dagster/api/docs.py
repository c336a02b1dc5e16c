"""`GET /docs`: Swagger UI from this server alone. No script stands in the page, so its policy needs no exception."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, Response

from threads_agent_dagster.errors import NotFound

STATIC: Final = Path(str(files("fastapi_offline"))) / "static"
# Addresses are relative: they hold below any prefix that a proxy adds. Styles stand in attributes of Swagger UI's own.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'"
)
PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>API</title>
<link rel="icon" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START: Final = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true});\n'
FILES: Final = frozenset({"swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"})
PATHS: Final = frozenset({"/docs", "/docs/start.js", *(f"/docs/{name}" for name in FILES)})
FRESH: Final = {"Cache-Control": "public, max-age=3600"}

router = APIRouter(prefix="/docs", include_in_schema=False)


@router.get("")
async def page() -> HTMLResponse:
    """The page."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


@router.get("/start.js")
async def start() -> Response:
    """What fills it."""
    return Response(START, media_type="text/javascript")


@router.get("/{name}")
async def static(name: str) -> FileResponse:
    """Swagger UI's own files."""
    if name not in FILES:
        raise NotFound(f"no file {name!r} here")
    return FileResponse(STATIC / name, headers=FRESH)
