"""Which page answers which path."""

from __future__ import annotations

from dash_app.pages import achievements, experiments, overview, posts
from dash_app.pages.page import Page

PAGES = {page.path: page for page in (overview.PAGE, achievements.PAGE, posts.PAGE, experiments.PAGE)}


def find(path: str | None) -> tuple[Page | None, str | None]:
    """The page of a path, and the item for `/<page>/<item>`; None where there is neither."""
    clean = "/" + (path or "").strip("/")
    if clean in PAGES:
        return PAGES[clean], None
    parent, _, item = clean.rpartition("/")
    page = PAGES.get(parent)
    return (page, item) if page is not None and page.detail is not None else (None, None)
