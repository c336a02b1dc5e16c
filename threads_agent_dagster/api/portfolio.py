"""/portfolio: what is ready to be shown, and the figures over it."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter

from threads_agent_dagster.api.achievements import Category, Listed
from threads_agent_dagster.api.bodies import Name, Out, Page, StrictRoute
from threads_agent_dagster.api.dependencies import EngineDep
from threads_agent_dagster.api.pages import PagingDep, page_of
from threads_agent_dagster.api.security import Viewer
from threads_agent_dagster.db import portfolio as db

router = APIRouter(tags=["portfolio"], route_class=StrictRoute)


class Figures(Out):
    """Measures are null where nothing was measured."""

    achievements: int
    avg_impact: float | None
    max_impact: float | None
    time_saved_hours: float | None
    portfolio_ready: int


class NamedFigures(Figures):
    name: str | None


class Stats(Figures):
    first_completed_at: datetime | None
    last_completed_at: datetime | None
    sections: list[NamedFigures]
    categories: list[NamedFigures]


@router.get("/portfolio/ready")
def list_ready(
    paging: PagingDep, engine: EngineDep, _: Viewer, category: Category | None = None, section: Name | None = None
) -> Page[Listed]:
    window = paging.window(db.BY_PRIORITY)
    with engine.connect() as connection:
        rows = db.ready(connection, category, section, window)
    return page_of(Listed, rows, db.BY_PRIORITY, window)


@router.get("/portfolio/stats")
def stats(engine: EngineDep, _: Viewer) -> Stats:
    with engine.connect() as connection:
        parts = {
            "sections": [dict(row) for row in db.sections(connection)],
            "categories": [dict(row) for row in db.categories(connection, None, None)],
        }
        return Stats.model_validate(dict(db.stats(connection)) | parts)
