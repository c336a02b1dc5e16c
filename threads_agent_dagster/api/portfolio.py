"""/portfolio: what is ready to be shown, the figures over it, and the portfolio as a file."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Response

from threads_agent_dagster.api.achievements import Category, Listed
from threads_agent_dagster.api.bodies import Day, In, Name, Out, Page, StrictRoute
from threads_agent_dagster.api.dependencies import EngineDep
from threads_agent_dagster.api.identities import Author, Everyone, WhoseDep
from threads_agent_dagster.api.pages import PagingDep, page_of
from threads_agent_dagster.api.security import Editor, Viewer
from threads_agent_dagster.db import portfolio as db
from threads_agent_dagster.domain.portfolio_files import Format
from threads_agent_dagster.work import portfolio as work

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
    paging: PagingDep,
    whose: WhoseDep,
    engine: EngineDep,
    _: Viewer,
    category: Category | None = None,
    section: Name | None = None,
) -> Page[Listed]:
    window = paging.window(db.BY_PRIORITY)
    with engine.connect() as connection:
        rows = db.ready(connection, whose, category, section, window)
    return page_of(Listed, rows, db.BY_PRIORITY, window)


@router.get("/portfolio/stats")
def stats(whose: WhoseDep, engine: EngineDep, _: Viewer) -> Stats:
    with engine.connect() as connection:
        parts = {
            "sections": [dict(row) for row in db.sections(connection, whose)],
            "categories": [dict(row) for row in db.categories(connection, db.Scope(whose))],
        }
        return Stats.model_validate(dict(db.stats(connection, whose)) | parts)


class Wanted(In):
    """Which portfolio, and written how. Without `all`, only what is marked ready."""

    format: Format
    section: Name | None = None
    since: Day | None = None
    author: Author | None = None
    all: bool = False
    everyone: Everyone = False

    def selection(self) -> db.Selection:
        return db.Selection(self.author, self.everyone, self.section, self.since, everything=self.all)


@router.post("/portfolio/export", response_class=Response)
def export(wanted: Wanted, engine: EngineDep, _: Editor) -> Response:
    """The file itself, with its evidence."""
    made = work.export(engine, wanted.format, wanted.selection(), datetime.now(UTC))
    headers = {
        "Content-Disposition": f'attachment; filename="{made.name}"',
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return Response(made.body, media_type=made.media_type, headers=headers)
