"""/portfolio and /analytics on the achievements app: what is ready to be shown, and the figures over it all."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from threads_agent_dagster.api.achievements import Category, Listed
from threads_agent_dagster.api.bodies import Day, Name, Out, Page, StrictRoute
from threads_agent_dagster.api.dependencies import EngineDep
from threads_agent_dagster.api.pages import PagingDep, page_of
from threads_agent_dagster.api.security import Viewer
from threads_agent_dagster.db import portfolio as db

router = APIRouter(tags=["portfolio"], route_class=StrictRoute)

Since = Annotated[Day | None, Query(description="completed on this UTC date or later")]
Until = Annotated[Day | None, Query(description="completed on this UTC date or earlier")]


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


class ScoreRange(Out):
    """Scores from `at_least` up to, not including, ten more; the last range includes 100."""

    at_least: int
    achievements: int


class Impact(Out):
    categories: list[NamedFigures]
    distribution: list[ScoreRange]


class Period(Figures):
    """`start` is the first UTC date of the period; periods in which nothing was completed are left out."""

    start: date


class Timeline(Out):
    unit: str
    items: list[Period]


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


@router.get("/analytics/impact")
def impact(engine: EngineDep, _: Viewer, since: Since = None, until: Until = None) -> Impact:
    with engine.connect() as connection:
        categories = [NamedFigures.model_validate(dict(row)) for row in db.categories(connection, since, until)]
        ranges = [ScoreRange.model_validate(dict(row)) for row in db.distribution(connection, since, until)]
    return Impact(categories=categories, distribution=ranges)


@router.get("/analytics/timeline")
def timeline(
    engine: EngineDep,
    _: Viewer,
    unit: Literal["day", "week", "month", "year"] = "month",
    since: Since = None,
    until: Until = None,
) -> Timeline:
    with engine.connect() as connection:
        rows = db.timeline(connection, unit, since, until)
    return Timeline(unit=unit, items=[Period.model_validate(dict(row)) for row in rows])
