"""/analytics: the figures over all achievements, and the return that their claims amount to."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from threads_agent_dagster.api.bodies import Day, In, Out, SmallId, StrictRoute
from threads_agent_dagster.api.dependencies import EngineDep
from threads_agent_dagster.api.identities import Author, Everyone, WhoseDep
from threads_agent_dagster.api.portfolio import Figures, NamedFigures
from threads_agent_dagster.api.security import Editor, Viewer
from threads_agent_dagster.db import portfolio as db
from threads_agent_dagster.db import themes
from threads_agent_dagster.db.identities import Whose
from threads_agent_dagster.domain.business_value import Assumptions, BusinessValue, roi
from threads_agent_dagster.domain.claims import Claim

router = APIRouter(prefix="/analytics", tags=["analytics"], route_class=StrictRoute)


async def _scope(
    whose: WhoseDep,
    since: Annotated[Day | None, Query(description="completed on this UTC date or later")] = None,
    until: Annotated[Day | None, Query(description="completed on this UTC date or earlier")] = None,
) -> db.Scope:
    return db.Scope(whose, since, until)


ScopeDep = Annotated[db.Scope, Depends(_scope)]
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


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


class Theme(Figures):
    """Achievements about the same thing; `label` is made of words of their titles."""

    id: int
    label: str
    words: list[str]
    first_completed_at: datetime | None
    last_completed_at: datetime | None


class Themes(Out):
    """The largest first; what is like nothing else belongs to none."""

    items: list[Theme]


class AssumptionsIn(In):
    """What turns claims into a year's figure: conventions, none of them measured."""

    hourly_rate: Positive = 100.0
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "USD"
    working_days_per_year: Annotated[float, Field(gt=0, le=366)] = 250.0
    working_weeks_per_year: Annotated[float, Field(gt=0, le=53)] = 50.0
    months_per_year: Annotated[float, Field(gt=0, le=12)] = 12.0
    hours_per_working_day: Annotated[float, Field(gt=0, le=24)] = 8.0
    minimum_confidence: Annotated[float, Field(ge=0, le=1)] = 0.6


class RoiIn(In):
    """Achievements that are named count whoever's they are; without `cost` there is a value and no return."""

    cost: Positive | None = None
    assumptions: AssumptionsIn = AssumptionsIn()
    achievement_ids: Annotated[list[SmallId], Field(max_length=1000)] | None = None
    author: Author | None = None
    everyone: Everyone = False

    def whose(self) -> Whose:
        return Whose(self.author, everyone=self.everyone or self.achievement_ids is not None)


class RoiLine(Out):
    """What one claim is worth in a year; null: left out, and `reckoning` says why."""

    quote: str
    reckoning: str
    per_year: float | None


class Roi(Out):
    """`per_year` in `currency`, null where nothing was claimed."""

    currency: str
    per_year: float | None
    cost: float | None
    roi_pct: float | None
    payback_years: float | None
    lines: list[RoiLine]
    assumptions: AssumptionsIn


@router.get("/impact")
def impact(scope: ScopeDep, engine: EngineDep, _: Viewer) -> Impact:
    with engine.connect() as connection:
        categories = [NamedFigures.model_validate(dict(row)) for row in db.categories(connection, scope)]
        ranges = [ScoreRange.model_validate(dict(row)) for row in db.distribution(connection, scope)]
    return Impact(categories=categories, distribution=ranges)


@router.get("/timeline")
def timeline(
    scope: ScopeDep, engine: EngineDep, _: Viewer, unit: Literal["day", "week", "month", "year"] = "month"
) -> Timeline:
    with engine.connect() as connection:
        rows = db.timeline(connection, unit, scope)
    return Timeline(unit=unit, items=[Period.model_validate(dict(row)) for row in rows])


@router.get("/themes")
def list_themes(engine: EngineDep, _: Viewer) -> Themes:
    with engine.connect() as connection:
        return Themes(items=[Theme.model_validate(dict(row)) for row in themes.figures(connection)])


@router.post("/roi")
def reckon(asked: RoiIn, engine: EngineDep, _: Editor) -> Roi:
    """Stores nothing."""
    with engine.connect() as connection:
        documents = db.business_values(connection, asked.whose(), asked.achievement_ids)
    values = [BusinessValue(tuple(Claim(**claim) for claim in document["claims"])) for document in documents]
    return Roi.model_validate(asdict(roi(values, asked.cost, Assumptions(**asked.assumptions.model_dump()))))
